"""A network as numbers, fast enough to look at a hundred thousand of them.

Networks of a search space are made of the same rows again and again. `Encoder` lowers, fuses and
numbers each distinct row once; after that a spec costs one look-up a row. A predictor keeps one
latency per number and adds:

    encoder = Encoder("ort", Target.here("fp32"))
    ids = encoder.rows(spec)                  # numbers of rows
    encoder.operators[i]                      # the operators of row i, as numbers
    encoder.signatures[j]                     # what operator j is; `features` gives its figures
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import NamedTuple

from edgecnn.fusion import CONVOLUTIONS, Entry, Rest, Target, canonical_operators, fused, runtime
from edgecnn.layers import Shape, lower_row
from edgecnn.spec import Block, Conventions, ModelSpec
from edgecnn.workload import Operator, Workload, row_operators

_ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "w8a8": 1, "w8a32": 4}
_WEIGHTS = (*CONVOLUTIONS, "linear")
_BIAS_BYTES = 4
_WITHOUT_CONVOLUTION = ("pool", "maxpool", "avgpool", "norm", "dense", "linear")
"""Kinds of rows."""


class Signature(NamedTuple):
    """All of an executed operator that its latency depends on; equal ones take equal time.

    `node` is the runtime's name. `second_shape` is the shape of a second input, () without one; a
    convolution adds it to its result.
    """

    op: str
    node: str
    activation: str
    in_shape: tuple[int, ...]
    second_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    kernel: int
    area: int
    stride: int
    groups: int
    dilation: int


class Features(NamedTuple):
    """An operator's size in figures; heights and widths of vectors are 1.

    Bytes are by the element sizes of the file's precision. `macs` are multiply-adds, 0 where an
    operator has none; `elements` is how many results it computes. Weights include biases.
    """

    channels_in: int
    height_in: int
    width_in: int
    channels_out: int
    height_out: int
    width_out: int
    kernel: int
    area: int
    stride: int
    groups: int
    dilation: int
    elements: int
    macs: int
    input_bytes: int
    output_bytes: int
    weight_bytes: int


def signatures(operators: Sequence[Operator]) -> tuple[Signature, ...]:
    """What executed operators are, without their names and their places in the network."""
    return tuple(_signature(operator, operators) for operator in operators)


def _signature(operator: Operator, all_of_them: Sequence[Operator]) -> Signature:
    second: tuple[int, ...] = ()
    if len(operator.inputs) > 1:
        other = operator.inputs[1]
        # What comes from before the stretch is a shortcut, which has the shape of the result.
        second = all_of_them[other].out_shape if other >= 0 else operator.out_shape
    return Signature(
        operator.op,
        operator.node,
        operator.activation,
        operator.in_shape,
        second,
        operator.out_shape,
        operator.kernel,
        operator.area,
        operator.stride,
        operator.groups,
        operator.dilation,
    )


@lru_cache(maxsize=1 << 18)
def features(of: Signature, precision: str = "fp32") -> Features:
    """The figures of an operator in a file of a precision (`fp32 fp16 w8a8 w8a32`)."""
    size = _ELEMENT_BYTES[precision]
    weight_size = 1 if precision == "w8a32" else size
    channels, filters = _three(of.in_shape)[0], _three(of.out_shape)[0]
    taps = channels // of.groups * of.area if of.op in _WEIGHTS else 0
    results = prod(of.out_shape)
    second = prod(of.second_shape) if of.second_shape else 0
    return Features(
        *_three(of.in_shape),
        *_three(of.out_shape),
        of.kernel,
        of.area,
        of.stride,
        of.groups,
        of.dilation,
        elements=results,
        macs=results * taps,
        input_bytes=(prod(of.in_shape) + second) * size,
        output_bytes=results * size,
        weight_bytes=filters * (taps * weight_size + _BIAS_BYTES) if taps else 0,
    )


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W); a sequence of vectors lies along the width."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[-1], 1, prod(shape[:-1])) if shape else (1, 1, 1)


@dataclass(eq=False, slots=True)
class _Point:
    """A place between two rows: a feature map, and the rows seen to follow on it."""

    shape: Shape
    entry: Entry
    inner: dict[Block, tuple[int, _Point]] = field(default_factory=dict)
    closing: dict[tuple[Block, bool], tuple[int, _Point]] = field(default_factory=dict)


@dataclass
class Encoder:
    """Numbers for rows and operators, as a runtime executes them on a target.

    Numbers count up from 0 in the order of first sight and never change; `operators[row]` are the
    numbers of a row's operators, `signatures[operator]` what that operator is.
    """

    runtime: str
    target: Target
    operators: list[tuple[int, ...]] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    _numbers: dict[Signature, int] = field(default_factory=dict)
    _rows: dict[tuple[int, ...], int] = field(default_factory=dict)
    _points: dict[tuple[Shape, Entry, str], _Point] = field(default_factory=dict)

    def rows(self, spec: ModelSpec) -> list[int]:
        """The numbers of a spec's rows, in order; new ones are lowered and fused.

        Raises:
            SpecError: a feature map is too small for a row.
            UsageError: there is no model of what the runtime fuses at this precision.
        """
        blocks, conventions = spec.blocks, spec.conventions
        start = Shape(spec.input_channels, spec.resolution)
        point = self._point(start, Entry(spec.input_shape), conventions.padding)
        split = len(blocks)
        while split and blocks[split - 1].kind in _WITHOUT_CONVOLUTION:
            split -= 1
        found = []
        # The last row with a convolution, and what follows it, may be executed otherwise.
        for block in blocks[: max(split - 1, 0)]:
            step = point.inner.get(block) or self._inner(point, block, conventions)
            found.append(step[0])
            point = step[1]
        for index in range(max(split - 1, 0), len(blocks)):
            key = (blocks[index], index + 1 == len(blocks))
            step = point.closing.get(key) or self._closing(point, key, conventions)
            found.append(step[0])
            point = step[1]
        return found

    def workload(self, of: Workload) -> list[int]:
        """The numbers of the operators that are executed for a graph, whole.

        Raises:
            UsageError: there is no model of what the runtime fuses at this precision.
        """
        executed = fused(of, self.runtime, self.target).operators
        return [self.number(one) for one in signatures(executed)]

    def number(self, of: Signature) -> int:
        """The number of an operator."""
        found = self._numbers.setdefault(of, len(self.signatures))
        if found == len(self.signatures):
            self.signatures.append(of)
        return found

    def _inner(self, point: _Point, block: Block, conventions: Conventions) -> tuple[int, _Point]:
        step = self._step(point, block, conventions, Rest.CONVOLUTIONS)
        point.inner[block] = step
        return step

    def _closing(
        self, point: _Point, key: tuple[Block, bool], conventions: Conventions
    ) -> tuple[int, _Point]:
        block, is_last = key
        rest = Rest.NOTHING if is_last else Rest.OTHERS
        step = point.closing[key] = self._step(point, block, conventions, rest)
        return step

    def _step(
        self, point: _Point, block: Block, conventions: Conventions, rest: Rest
    ) -> tuple[int, _Point]:
        operators = canonical_operators(row_operators(block, point.shape, conventions))
        done = runtime(self.runtime).fuse(operators, self.target, point.entry, rest)
        numbers = tuple(self.number(one) for one in signatures(done.operators))
        row = self._rows.setdefault(numbers, len(self.operators))
        if row == len(self.operators):
            self.operators.append(numbers)
        _, shape = lower_row(block, point.shape, conventions)
        entry = Entry(operators[-1].out_shape, done.form)
        return row, self._point(shape, entry, conventions.padding)

    def _point(self, shape: Shape, entry: Entry, padding: str) -> _Point:
        key = (shape, entry, padding)
        found = self._points.get(key)
        if found is None:
            found = self._points[key] = _Point(shape, entry)
        return found
