"""From what a model computes to what a runtime executes.

`canonical` gives one form to a network, wherever it was read: from a spec, an ONNX or a TFLite
file. In it batch normalization and layer scale are part of the convolution before them,
x * sigmoid(x) and layer normalization are one operator each, padding belongs to its convolution or
pooling, and what only changes the view, the order or the type of numbers is gone. Operators keep
their own activations apart: who fuses what is a matter of the runtime.

`fused` applies the model of a runtime, which stands in that runtime's own file as a function
`fuse`: the operators that it executes, in its order, under its names (`Operator.node`). The models
are of the versions in each runtime's `FUSED_BY`.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from math import prod
from typing import Any, Protocol, cast

from edgecnn import discovery
from edgecnn.errors import UsageError
from edgecnn.machine import cpuinfo
from edgecnn.workload import FOLDED, Operator, Workload, folded_params

ACTIVATIONS = frozenset({
    "clip", "gelu", "gelu_sigmoid", "gelu_tanh", "hsigmoid", "hswish", "relu", "relu6", "sigmoid",
    "swish", "tanh",
})  # fmt: skip
CONVOLUTIONS = ("conv", "depthwise_conv")
START = "start"
"""The form of the model's input, as the caller gives it."""

_RUNTIMES = "edgecnn.runtimes"
_VIEWS = ("flatten", "quantize", "dequantize", "cast")
_PADDED = (*CONVOLUTIONS, "avg_pool", "max_pool")
LAYER_NORM = "LayerNormalization"
_LAYER_NORMS = (
    # ONNX normalizes over the last axis; a vector needs no way back
    ("transpose", "layer_norm", "transpose"),
    ("transpose", "layer_norm"),
    # TFLite: mean, variance, and (x / deviation - mean / deviation) * weight + bias
    ("reduce_mean", "squared_difference", "reduce_mean", "add", "rsqrt", "mul", "sub", "mul", "add",
     "mul", "add"),
)  # fmt: skip
_GATED = {"sigmoid": "swish", "hsigmoid": "hswish"}


@dataclass(frozen=True)
class Target:
    """What fusions depend on: the precision of the file, the machine, its vector instructions.

    `machine` as `platform.machine()` tells it, `isa` as in `Environment.isa`.
    """

    precision: str = "fp32"
    machine: str = "x86_64"
    isa: frozenset[str] = frozenset({"avx2", "fma"})

    @classmethod
    def here(cls, precision: str = "fp32") -> Target:
        """This machine."""
        return cls(precision, platform.machine(), frozenset(cpuinfo.isa_flags(cpuinfo.read())))


class Rest(Enum):
    """What follows a stretch of operators in its network."""

    CONVOLUTIONS = "convolutions"
    OTHERS = "others"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Entry:
    """The tensor that a stretch of operators starts from: its shape and its form.

    The form is `START` or a word of the runtime's.
    """

    shape: tuple[int, ...]
    form: str = START


@dataclass(frozen=True)
class Fused:
    """Executed operators, and the form of their result."""

    operators: tuple[Operator, ...]
    form: str


class Fuses(Protocol):
    """A runtime with a model of its fusions."""

    FUSED_BY: str
    """Package and version that the model was compared with."""

    def fuse(
        self, operators: Sequence[Operator], target: Target, entry: Entry, rest: Rest
    ) -> Fused:
        """Return what is executed for a stretch of canonical operators.

        -1 in their `inputs` is `entry`. A network in one stretch, and the same network row by row,
        give the same operators.

        Raises:
            UsageError: the runtime has no model of fusions for the target's precision.
        """


@cache
def runtime(name: str) -> Fuses:
    """Return the runtime `name`. Raises UsageError where it has no model of its fusions."""
    if name not in modeled():
        raise UsageError(
            f"there is no model of what runtime {name!r} fuses; allowed: {', '.join(modeled())}."
        )
    return cast(Fuses, discovery.load(_RUNTIMES, name))


@cache
def modeled() -> tuple[str, ...]:
    """Return the names of the runtimes that have a model of their fusions."""
    names = discovery.names(_RUNTIMES)
    return tuple(n for n in names if hasattr(discovery.load(_RUNTIMES, n), "fuse"))


def fused(workload: Workload, runtime_name: str, target: Target) -> Workload:
    """Return the operators that a runtime executes, in its order and under its names.

    Raises:
        UsageError: there is no model of this runtime, or not for this precision.
    """
    operators = canonical(workload).operators
    entry = Entry(workload.input_shape)
    found = runtime(runtime_name).fuse(operators, target, entry, Rest.NOTHING)
    return replace(workload, operators=found.operators, precision=target.precision)


def refuse_precision(name: str, target: Target, allowed: Sequence[str]) -> None:
    """Raise UsageError where a runtime's model does not cover the target's precision."""
    if target.precision not in allowed:
        raise UsageError(
            f"there is no model of what {name} fuses in {target.precision}; "
            f"allowed: {', '.join(allowed)}."
        )


class Draft:
    """Operators in the making, out of a sequence of old ones whose indices stay in use.

    `place` tells for an old operator which new one gives its result; -1 is what they start from, of
    the shape `entering`, by default that which the first of them reads.
    """

    def __init__(self, old: Sequence[Operator], entering: tuple[int, ...] | None = None) -> None:
        self.old = old
        self.new: list[Operator] = []
        self.place: dict[int, int] = {-1: -1}
        self._readers = Counter(source for operator in old for source in set(operator.inputs))
        self._entering = old[0].in_shape if entering is None else entering

    def has_one_reader(self, index: int) -> bool:
        """Whether one operator alone reads an old result; the last result has a reader outside."""
        readers = self._readers[index]
        return readers == 1 if index != len(self.old) - 1 else readers == 0

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of an old result."""
        return self.old[index].out_shape if index >= 0 else self._entering

    def append(self, operator: Operator, inputs: Sequence[int], **changes: Any) -> int:
        """Add a new operator that reads new results; return its index."""
        read = tuple(inputs)
        if changes or read != operator.inputs:
            operator = replace(operator, inputs=read, **changes)
        self.new.append(operator)
        return len(self.new) - 1

    def copy(self, index: int, **changes: Any) -> int:
        """Take an old operator over, its inputs where they now are; return its index."""
        operator = self.old[index]
        at = self.append(operator, [self.place[i] for i in operator.inputs], **changes)
        self.place[index] = at
        return at

    def step(self, index: int, node: str, inputs: Sequence[int]) -> int:
        """Add an old operator as it is executed, under the runtime's name; return its index."""
        return self.append(self.old[index], inputs, node=node)

    def steps(self, index: int, nodes: Sequence[str], inputs: Sequence[int]) -> int:
        """Add an old operator that is executed in steps, each of which reads the one before.

        The last reads the first input as well, as that of x * sigmoid(x) does.
        """
        at = self.step(index, nodes[0], inputs)
        for node in nodes[1:-1]:
            at = self.step(index, node, [at])
        return self.step(index, nodes[-1], [inputs[0], at]) if len(nodes) > 1 else at

    def move(self, index: int, op: str, node: str, at: int) -> int:
        """Add an operator that moves or converts an old result lying `at`; return its index."""
        near = self.old[max(index, 0)]
        shape = self.shape(index)
        moved = Operator(
            f"{near.name}:{node}",
            op,
            (),
            shape,
            shape,
            receptive_field=near.receptive_field,
            jump=near.jump,
            node=node,
        )
        return self.append(moved, [at])

    def absorb(self, at: int, **changes: Any) -> None:
        """Change a new operator that takes over the work of another."""
        self.new[at] = replace(self.new[at], **changes)


def canonical(workload: Workload) -> Workload:
    """The one form of a network; see the head of this file."""
    return replace(workload, operators=canonical_operators(workload.operators))


def canonical_operators(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Canonical form of a stretch of operators, -1 being what comes before it."""
    return _merged(_with_layer_norms(_without_views(operators)))


def _without_views(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    draft = Draft(operators)
    for index, operator in enumerate(operators):
        if operator.op in _VIEWS:
            draft.place[index] = draft.place[operator.inputs[0]]
        else:
            draft.copy(index)
    return tuple(draft.new)


def _with_layer_norms(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Layer normalization as one operator, whatever a format makes it of."""
    draft = Draft(operators)
    for index, operator in enumerate(operators):
        if index in draft.place:
            continue
        parts = _parts_of_layer_norm(draft, index)
        if not parts:
            draft.copy(index)
            continue
        source = operator.inputs[0]
        shape = draft.shape(source)
        at = draft.append(
            draft.old[parts[-1]],
            [draft.place[source]],
            op="layer_norm",
            node=LAYER_NORM,
            in_shape=shape,
            out_shape=shape,
            params=2 * shape[0],
        )
        draft.place.update(dict.fromkeys(parts, at))
    return tuple(draft.new)


def _parts_of_layer_norm(draft: Draft, first: int) -> range | None:
    """The operators from `first` on that are a layer normalization of its input, if they are."""
    source = draft.old[first].inputs[0]
    for pattern in _LAYER_NORMS:
        parts = range(first, first + len(pattern))
        stretch = draft.old[first : parts.stop]
        is_whole = tuple(o.op for o in stretch) == pattern and len(draft.shape(source)) == 3
        if is_whole and all(set(o.inputs) <= {source, *parts} for o in stretch):
            return parts
    return None


def _merged(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    draft = Draft(operators)
    pads: set[int] = set()
    for index, operator in enumerate(operators):
        before = operator.inputs[0]
        if index in draft.place:
            continue
        if operator.op in _MERGES:
            _MERGES[operator.op](draft, index)
        elif operator.op in FOLDED and _takes_normalization(draft, before):
            at = draft.place[index] = draft.place[before]
            draft.absorb(at, params=folded_params(draft.new[at], operator))
        elif operator.op == "pad" and _pads_convolution(draft, index):
            draft.place[index] = draft.place[before]
            pads.add(index)
        elif operator.op in _PADDED and before in pads:
            draft.copy(index, in_shape=operators[before].in_shape)
        elif operator.op in _JOINS:
            _JOINS[operator.op](draft, index)
        else:
            draft.copy(index)
    return tuple(draft.new)


def _merge_gate(draft: Draft, index: int) -> None:
    """sigmoid(x), and the product with x that follows where there is one."""
    operator, old = draft.old[index], draft.old
    both = {index, operator.inputs[0]}
    products = [
        i
        for i in range(index + 1, len(old))
        if old[i].op == "mul" and set(old[i].inputs) == both and draft.has_one_reader(index)
    ]
    if not products:
        draft.copy(index)
        return
    at = draft.copy(index, op=_GATED[operator.op], node="")
    draft.place[products[0]] = at


def _merge_gelu(draft: Draft, index: int) -> None:
    """1.702 x, and x * sigmoid of it where that follows; else a product like others."""
    gates = _only_readers(draft, index, "sigmoid", {index})
    both = {*gates, draft.old[index].inputs[0]}
    products = _only_readers(draft, gates[0], "mul", both) if gates else []
    if not products:
        draft.copy(index, op="mul")
        return
    at = draft.copy(index, op="gelu_sigmoid", node="")
    draft.place[gates[0]] = draft.place[products[0]] = at


_MERGES = dict.fromkeys(_GATED, _merge_gate) | {"gelu_scale": _merge_gelu}


def _only_readers(draft: Draft, index: int, op: str, inputs: set[int]) -> list[int]:
    """The operator, if it is of this kind and reads these, that alone reads an old result."""
    if not draft.has_one_reader(index):
        return []
    later = range(index + 1, len(draft.old))
    return [i for i in later if draft.old[i].op == op and set(draft.old[i].inputs) == inputs]


def _takes_normalization(draft: Draft, before: int) -> bool:
    if before < 0 or not draft.has_one_reader(before):
        return False
    return draft.old[before].op in (*CONVOLUTIONS, "linear")


def _pads_convolution(draft: Draft, index: int) -> bool:
    readers = [o for o in draft.old if index in o.inputs]
    return len(readers) == 1 and readers[0].op in _PADDED


def _join(draft: Draft, index: int) -> None:
    """A join whose result only another join reads is part of that one."""
    if _is_joined_again(draft, index):
        return
    inputs = list(_joined(draft, index))
    shape = draft.shape(inputs[0])
    joined = replace(draft.old[index], in_shape=shape)
    draft.place[index] = draft.append(joined, [draft.place[i] for i in inputs])


def _is_joined_again(draft: Draft, index: int) -> bool:
    readers = [o for o in draft.old if index in o.inputs]
    return len(readers) == 1 and readers[0].op == "concat"


def _joined(draft: Draft, index: int) -> Iterator[int]:
    for source in draft.old[index].inputs:
        if source >= 0 and draft.old[source].op == "concat" and _is_joined_again(draft, source):
            yield from _joined(draft, source)
        else:
            yield source


def _copy_largest_first(draft: Draft, index: int) -> None:
    """Operands of an addition or a product: a gate's factors come second."""
    operator = draft.old[index]
    if len(operator.inputs) != 2:
        draft.copy(index)
        return
    first, second = operator.inputs
    if prod(draft.shape(first)) >= prod(draft.shape(second)):
        draft.copy(index)
        return
    inputs = (draft.place[second], draft.place[first])
    swapped = replace(operator, in_shape=draft.shape(second))
    draft.place[index] = draft.append(swapped, inputs)


_JOINS = {"add": _copy_largest_first, "mul": _copy_largest_first, "concat": _join}
