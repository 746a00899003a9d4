"""The values of a measurement: what is measured, how long, and how candidates compare."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL, Device
from edgecnn.errors import EdgecnnError, MeasurementError, UsageError
from edgecnn.profile import MeasuredKey, Profile, Target


@dataclass(frozen=True)
class Candidate:
    """One file on one runtime and device with a stated number of threads."""

    artifact: Artifact
    runtime: str
    device: Device = LOCAL
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise UsageError(f"--num-threads is {self.threads}; it must be at least 1.")

    @property
    def key(self) -> MeasuredKey:
        """What is measured: the same as :attr:`edgecnn.profile.Profile.key` of its profile."""
        return (self.artifact.sha256, self.runtime, str(self.device), self.threads)

    @property
    def identity(self) -> dict[str, Any]:
        """The fields by which a profile, or a rehearsal, says what it is of."""
        artifact = self.artifact
        return {
            "artifact": str(artifact.path),
            "sha256": artifact.sha256,
            "name": artifact.name,
            "format": artifact.format,
            "precision": None if artifact.recipe is None else str(artifact.recipe),
            "device": str(self.device),
            "runtime": self.runtime,
            "threads": self.threads,
        }

    def __str__(self) -> str:
        return f"{self.artifact.path.name} on {self.runtime}, threads {self.threads}"


@dataclass(frozen=True)
class Plan:
    """How long and what to measure.

    Timed runs go on until there are ``min_runs`` of them, taking ``min_seconds``, in at least
    ``rounds`` rounds per candidate; ``deadline_s`` ends them earlier. ``sustained_s`` replaces the
    rounds by runs back to back for that long, one candidate after the other. ``pin`` names the
    processors to run on (see :func:`edgecnn.machine.clusters.resolve`); ``energy_s`` measures the
    board's power for so long at rest and at work, where a meter can be read.
    """

    min_runs: int = 50
    min_seconds: float = 2.0
    rounds: int = 8
    warmup_seconds: float = 10.0
    warmup_tolerance: float = 0.03
    per_layer: bool = False
    stages: bool = True
    sustained_s: float | None = None
    pin: str | None = None
    energy_s: float | None = 5.0
    deadline_s: float | None = None
    target: Target = field(default_factory=Target)

    def __post_init__(self) -> None:
        if self.min_runs < 1 or self.rounds < 1:
            raise UsageError("a plan needs at least one run and one round.")
        if self.sustained_s is not None and self.sustained_s <= 0:
            raise UsageError(f"--sustained is {self.sustained_s} seconds; it must be above 0.")


@dataclass(frozen=True)
class Failure:
    """A candidate that could not be measured, and why."""

    candidate: Candidate
    error: EdgecnnError


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of paired rounds, and its 95 % interval (order statistics)."""

    median: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Comparison:
    """Candidates that were measured in turn: their profiles in the order of the candidates."""

    profiles: tuple[Profile, ...]
    failures: tuple[Failure, ...]
    interrupted: bool = False

    def ranked(self) -> tuple[Profile, ...]:
        """Return the profiles, the fastest median first."""
        return tuple(sorted(self.profiles, key=lambda profile: profile.latency.p50))

    def require_any(self) -> "Comparison":
        """Return self.

        Raises:
            EdgecnnError: nothing was measured; the only failure itself where there is one.
        """
        if self.profiles:
            return self
        if self.interrupted:
            raise KeyboardInterrupt
        if len(self.failures) == 1:
            raise self.failures[0].error
        reasons = "".join(f"\n  {f.candidate.runtime}: {f.error}" for f in self.failures)
        kinds = {type(failure.error) for failure in self.failures}
        kind = kinds.pop() if len(kinds) == 1 else MeasurementError
        raise kind(f"none of {len(self.failures)} candidates could be measured:{reasons}")


def paired_ratio(numerator: Profile, denominator: Profile) -> Ratio:
    """Compare two profiles of one interleaved run, round by round."""
    return median_ratio(numerator.round_medians_ms(), denominator.round_medians_ms())


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Return the median of the ratios of pairs; surplus values at the end have no pair."""
    ratios = sorted(a / b for a, b in zip(numerators, denominators, strict=False))
    skip = _ranks_outside_median_interval(len(ratios))
    return Ratio(statistics.median(ratios), ratios[skip], ratios[-1 - skip], len(ratios))


def _ranks_outside_median_interval(count: int) -> int:
    """Return how many values at each end the 95 % sign-test interval of a median leaves out."""
    tail, skip = 0.0, 0
    while (tail := tail + math.comb(count, skip) / 2**count) <= 0.025:
        skip += 1
    return max(0, skip - 1)
