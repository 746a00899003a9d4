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
from math import log2, prod
from typing import NamedTuple

from edgecnn.fusion import CONVOLUTIONS, Entry, Rest, Target, canonical_operators, fused, runtime
from edgecnn.layers import Shape, lower_row
from edgecnn.spec import Block, Conventions, ModelSpec
from edgecnn.workload import Operator, Workload, row_operators

_ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "w8a8": 1, "w8a32": 4}
_WEIGHTS = (*CONVOLUTIONS, "linear")
_BIAS_BYTES = 4
_RESTS = tuple(Rest)
_CONVOLUTIONS, _OTHERS, _NOTHING = map(_RESTS.index, _RESTS)
_WITHOUT_CONVOLUTION = ("pool", "maxpool", "avgpool", "norm", "dense", "linear")
"""Kinds of rows."""


class Place(NamedTuple):
    """The network that an operator is in: what a run touches, and the weights, in half octaves.

    What was touched since decides what is still in a cache: of its weights, and of its input.
    """

    touched: int = 0
    weights: int = 0

    @classmethod
    def of(cls, touched_bytes: int, weight_bytes: int) -> Place:
        """Of so many bytes in a whole network."""
        return cls(_half_octaves(touched_bytes), _half_octaves(weight_bytes))


NOWHERE = Place()


class Signature(NamedTuple):
    """All of an executed operator that its latency depends on; equal ones take equal time.

    `node` is the runtime's name. `second_shape` is the shape of a second input, () without one; a
    convolution adds it to its result. `place` tells of its network, see `placed`; `NOWHERE` says
    nothing of it.
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
    place: Place = NOWHERE


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


def placed(network: Sequence[Signature], precision: str) -> list[Signature]:
    """The operators of a whole network, each with its place."""
    place = Place.of(*touched_bytes(network, precision))
    return [one._replace(place=place) for one in network]


def touched_bytes(of: Sequence[Signature], precision: str) -> tuple[int, int]:
    """How much operators read and write, and how much of that are weights."""
    found = [features(one._replace(place=NOWHERE), precision) for one in of]
    weights = sum(one.weight_bytes for one in found)
    return weights + sum(one.input_bytes + one.output_bytes for one in found), weights


def _half_octaves(size_bytes: int) -> int:
    return round(2 * log2(max(1, size_bytes)))


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
    """A place between two rows: a feature map, and the rows seen to follow on it.

    For each kind of rest that may lie behind them, by their number.
    """

    shape: Shape
    entry: Entry
    followed: tuple[dict[int, _Step], ...] = field(default_factory=lambda: tuple({} for _ in Rest))


_Step = tuple[int, _Point]
"""The number of a row, and the place behind it."""


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
    _starts: dict[tuple[int, int, str], _Point] = field(default_factory=dict)

    def rows(self, spec: ModelSpec) -> list[int]:
        """The numbers of a spec's rows, in order; new ones are lowered and fused.

        Raises:
            SpecError: a feature map is too small for a row.
            UsageError: there is no model of what the runtime fuses at this precision.
        """
        blocks, conventions = spec.blocks, spec.conventions
        picture = (spec.input_channels, spec.resolution, conventions.padding)
        point = self._starts.get(picture) or self._start(*picture)
        found = []
        for block, rest in zip(blocks, _rests(blocks), strict=True):
            step = point.followed[rest].get(block.number) or self._step(
                point, block, conventions, rest
            )
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

    def _start(self, channels: int, resolution: int, padding: str) -> _Point:
        entry = Entry((channels, resolution, resolution))
        found = self._point(Shape(channels, resolution), entry, padding)
        self._starts[channels, resolution, padding] = found
        return found

    def _step(self, point: _Point, block: Block, conventions: Conventions, rest: int) -> _Step:
        operators = canonical_operators(row_operators(block, point.shape, conventions))
        done = runtime(self.runtime).fuse(operators, self.target, point.entry, _RESTS[rest])
        numbers = tuple(self.number(one) for one in signatures(done.operators))
        row = self._rows.setdefault(numbers, len(self.operators))
        if row == len(self.operators):
            self.operators.append(numbers)
        _, shape = lower_row(block, point.shape, conventions)
        entry = Entry(operators[-1].out_shape, done.form)
        step = row, self._point(shape, entry, conventions.padding)
        point.followed[rest][block.number] = step
        return step

    def _point(self, shape: Shape, entry: Entry, padding: str) -> _Point:
        key = (shape, entry, padding)
        found = self._points.get(key)
        if found is None:
            found = self._points[key] = _Point(shape, entry)
        return found


def _rests(blocks: Sequence[Block]) -> list[int]:
    """What lies behind each row: the last one with a convolution may be executed otherwise."""
    last = len(blocks) - 1
    while last > 0 and blocks[last].kind in _WITHOUT_CONVOLUTION:
        last -= 1
    return [_CONVOLUTIONS] * last + [_OTHERS] * (len(blocks) - 1 - last) + [_NOTHING]
