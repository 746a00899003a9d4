"""What a network costs along its layers: parameters, multiply-adds, memory, and time if known.

Layers are the operators that something executes: the runtime that the time is of, or, without a
time, any runtime that gives activations to the operator before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from edgecnn.errors import UsageError
from edgecnn.fusion import ACTIVATIONS, CONVOLUTIONS, Entry, Rest, Target, canonical, fused
from edgecnn.fusion_rules import Rules, apply
from edgecnn.latency import Predictor
from edgecnn.profile import LayerTime, Profile
from edgecnn.workload import Operator, Workload

MATCHED = 0.5
"""Of a profile's time: so much has to be of nodes that are found in the network, in its order."""
_TAKING = (*CONVOLUTIONS, "linear", "add", "mul")
_ANY = Rules({}, dict.fromkeys(_TAKING, ACTIVATIONS), after_add=True)


@dataclass(frozen=True)
class Times:
    """The time of each layer in ms, None where nothing is known of one.

    `kind` is `measured`, `predicted` or `fitted to published`, `source` says by what, in words.
    `total_ms` is the latency of the whole network. `apart_ms` is of nodes that are no layer here,
    such as those that a profiler tells of and the network does not have.
    """

    kind: str
    source: str
    ms: tuple[float | None, ...]
    total_ms: float
    apart_ms: float = 0.0


@dataclass(frozen=True)
class Anatomy:
    """A network's layers with the bytes of activations alive while each runs (as float32)."""

    name: str
    imgsz: int
    layers: tuple[Operator, ...]
    live_bytes: tuple[int, ...]
    times: Times | None = None

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """Where maps shrink: the side in pixels, and the layer that first makes such a map.

        A squeeze-and-excitation's vectors do not count, since larger maps come after them.
        """
        found: list[tuple[int, int]] = []
        for index, side in enumerate(_largest_to_come(self.layers)):
            if not found or found[-1][0] != side:
                found.append((side, index))
        return tuple(found)


def _largest_to_come(layers: Sequence[Operator]) -> list[int]:
    sides: list[int] = []
    for layer in reversed(layers):
        side = layer.out_shape[-1] if len(layer.out_shape) == 3 else 1
        sides.append(max([side, *sides[-1:]]))
    return sides[::-1]


def plain(workload: Workload) -> Anatomy:
    """The anatomy without times."""
    operators = canonical(workload).operators
    found = apply(_ANY, operators, Entry(workload.input_shape), Rest.NOTHING)
    return _of(workload, found.operators, None)


def predicted(workload: Workload, predictor: Predictor, *, force: bool = False) -> Anatomy:
    """The anatomy with the times that a table predicts.

    Raises:
        OutsideTableError: the network is outside what the table knows, and `force` is not set.
        UsageError: nothing is known of what the table's runtime fuses.
    """
    table = predictor.table
    estimate = predictor.estimate(workload, force=force)
    low, high = estimate.interval_ms
    fitted = "" if estimate.latency_kind == "predicted" else f" ({estimate.latency_kind} figures)"
    times = Times(
        kind=estimate.latency_kind,
        source=(
            f"predicted by table {estimate.table}{fitted}, {estimate.level:.0%} interval {low:.3g} "
            f"to {high:.3g} ms; {table.runtime} {table.precision}, threads {table.threads}, "
            f"{table.device}"
        ),
        ms=tuple(layer.ms for layer in estimate.layers),
        total_ms=estimate.latency_ms,
        apart_ms=max(0.0, estimate.latency_ms - sum(layer.ms for layer in estimate.layers)),
    )
    executed = fused(workload, table.runtime, table.target)
    return _of(workload, executed.operators, times)


def measured(workload: Workload, profile: Profile) -> Anatomy:
    """The anatomy with the times that a runtime's profiler told.

    Raises:
        UsageError: the profile has no times of nodes, is of another network, or of a runtime whose
            fusions are not known.
    """
    if not profile.layers:
        raise UsageError(
            f"the profile of {Path(profile.artifact).name} on {profile.runtime} has no times of "
            "nodes: run `edgecnn profile --per-layer`, on a runtime that tells them (ort, "
            "openvino; the Python packages of LiteRT and ncnn do not)."
        )
    machine = profile.environment
    target = Target(profile.precision or "fp32", machine.machine, frozenset(machine.isa))
    executed = fused(workload, profile.runtime, target).operators
    ms = _aligned(executed, profile.layers)
    known, every = sum(one for one in ms if one is not None), sum(r.ms for r in profile.layers)
    if known < MATCHED * every:
        raise UsageError(
            f"the profile of {Path(profile.artifact).name} is not of {workload.name}: nodes with "
            f"{known / every if every else 0:.0%} of its time are found there, in that order. Pass "
            "the model that was exported and profiled."
        )
    times = Times(
        kind="measured",
        source=(
            f"measured on {profile.device}, {profile.runtime} {target.precision}, threads "
            f"{profile.threads}; layers by the runtime's profiler, which adds to each"
        ),
        ms=ms,
        total_ms=profile.latency.p50,
        apart_ms=max(0.0, every - known),
    )
    return _of(workload, executed, times)


def _aligned(executed: Sequence[Operator], rows: Sequence[LayerTime]) -> tuple[float | None, ...]:
    """The time of each operator whose node the profiler told of, in the same order.

    Profilers leave out a node's domain, some also what took less than a microsecond.
    """
    nodes = [operator.node.rpartition(".")[2] for operator in executed]
    matcher = SequenceMatcher(None, nodes, [row.op for row in rows], autojunk=False)
    found: list[float | None] = [None] * len(nodes)
    for at, of, size in matcher.get_matching_blocks():
        found[at : at + size] = [row.ms for row in rows[of : of + size]]
    return tuple(found)


def _of(workload: Workload, layers: tuple[Operator, ...], times: Times | None) -> Anatomy:
    executed = Workload(workload.name, workload.input_shape, layers)
    return Anatomy(
        name=workload.name,
        imgsz=workload.input_shape[-1],
        layers=layers,
        live_bytes=tuple(live for _, live in executed.liveness()),
        times=times,
    )


def weightiest(values: Sequence[float], layers: Sequence[Operator]) -> tuple[Operator, float]:
    """The layer with the largest of the values, and its share of their sum."""
    total = sum(values)
    index = max(range(len(values)), key=values.__getitem__)
    return layers[index], values[index] / total if total else 0.0


def details(layer: Operator) -> Iterator[str]:
    """Lines that say what a layer is."""
    window = f"{layer.kernel} x {layer.kernel} " if layer.kernel > 1 else ""
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    dilated = f", dilation {layer.dilation}" if layer.dilation > 1 else ""
    function = f", {layer.activation}" if layer.activation != "none" else ""
    yield f"{window}{layer.op}{stride}{dilated}{function}"
    yield f"{_dims(layer.in_shape)} to {_dims(layer.out_shape)}"


def _dims(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
