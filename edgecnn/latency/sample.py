"""What was measured of one network, and which of many samples count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from statistics import mean, median
from typing import Any, NamedTuple

from edgecnn.spec import ModelSpec

SLOW = 1.2
"""Beside a reference that was slower than usual by this factor, a sample counts where it is the
only one of its network."""
DISTURBED = 1.6
"""A sample beside a reference that was slower than usual by this factor says little."""


class NodeTime(NamedTuple):
    """A node as the runtime's profiler names it, and its time in ms."""

    op: str
    ms: float


@dataclass(frozen=True)
class Sample:
    """The median latency of a network, and the reference's before and after it, on the mean.

    `spec` is the network's text (`ModelSpec.parse`); `checks` where it takes no part in fitting;
    `seconds` is how much of a calibration's time it took: none where the time was over. `nodes` are
    as the runtime's profiler tells them in the order of execution, () where it tells none.
    """

    spec: str
    latency_ms: float
    reference_ms: tuple[float, float]
    runs: int
    at: str
    checks: bool = False
    seconds: float = 0.0
    nodes: tuple[NodeTime, ...] = ()

    @classmethod
    def taken(
        cls,
        spec: ModelSpec,
        latency_ms: float,
        reference_ms: tuple[float, float],
        runs: int,
        nodes: Sequence[NodeTime] = (),
    ) -> Sample:
        """A sample of now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(str(spec), latency_ms, reference_ms, runs, now, nodes=tuple(nodes))

    @cached_property
    def network(self) -> ModelSpec:
        """The network."""
        return ModelSpec.parse(self.spec)

    @property
    def pace_ms(self) -> float:
        """The reference's latency meanwhile, the slower of both."""
        return max(self.reference_ms)

    def at_pace(self, pace_ms: float, felt: float) -> float:
        """The latency, in ms, as it likely were while the reference took so long.

        `felt` is the share of a difference in pace (of its logarithm) that networks feel; see
        `edgecnn.latency.pace`.
        """
        slower = math.log(mean(self.reference_ms) / pace_ms)
        return self.latency_ms * math.exp(-felt * slower)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sample:
        """Read what `to_dict` wrote. Raises ValueError, KeyError or TypeError."""
        before, after = map(float, data["reference_ms"])
        found = cls(
            spec=str(data["spec"]),
            latency_ms=float(data["latency_ms"]),
            reference_ms=(before, after),
            runs=int(data["runs"]),
            at=str(data["at"]),
            checks=bool(data["checks"]),
            seconds=float(data.get("seconds", 0.0)),
            nodes=tuple(NodeTime(str(op), float(ms)) for op, ms in data.get("nodes", ())),
        )
        if not all(0 < ms < math.inf for ms in (found.latency_ms, before, after)):
            raise ValueError(f"a sample of {found.latency_ms} ms beside {before} and {after} ms")
        if not all(0 <= node.ms < math.inf for node in found.nodes):
            raise ValueError("a node whose time is no time")
        return found


def quiet_pace(samples: Sequence[Sample]) -> float:
    """The reference's latency when the machine is left alone: its lower quartile, in ms."""
    paces = sorted(ms for sample in samples for ms in sample.reference_ms)
    return paces[len(paces) // 4]


def calm(samples: Sequence[Sample]) -> list[Sample]:
    """Those that were hardly disturbed, as the reference shows it."""
    if not samples:
        return []
    limit_ms = DISTURBED * quiet_pace(samples)
    return [sample for sample in samples if sample.pace_ms <= limit_ms]


def undisturbed(samples: Sequence[Sample], felt: float) -> list[Sample]:
    """Of each network the median of its calm samples, of those at the usual pace if there are any.

    Latencies are those of the machine when it is left alone; `felt` of the reference's pace is
    taken off.
    """
    of_networks: dict[str, list[Sample]] = {}
    for sample in calm(samples):
        of_networks.setdefault(sample.spec, []).append(sample)
    quiet_ms = quiet_pace(samples) if samples else 0.0
    found = []
    for of_one in of_networks.values():
        kept = [one for one in of_one if one.pace_ms <= SLOW * quiet_ms] or of_one
        at_pace_ms = median(one.at_pace(quiet_ms, felt) for one in kept)
        found.append(replace(kept[0], latency_ms=at_pace_ms))
    return found
