"""What a search is after, and what it found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgecnn import workload
from edgecnn.errors import SpecError, UsageError, VerdictError
from edgecnn.reward import Reward, front
from edgecnn.search.accuracy import Accuracy, CandidateError, Kind
from edgecnn.space import Choices, Space
from edgecnn.spec import ModelSpec

Aim = Literal["soft", "hard", "pareto"]
Direction = Literal["maximize", "minimize"]
Latency = Callable[[ModelSpec], float]
"""Predicts milliseconds. May raise CandidateError where it does not know a network."""
PREDICTED, MEASURED = "predicted", "measured"
UNJUDGEABLE = (CandidateError, SpecError)


@dataclass(frozen=True)
class Goal:
    """What all workers of a study agree on.

    `aim`: MnasNet's reward, "soft" or "hard" (see `reward.py`), or "pareto": accuracy and latency
    as two objectives. `latency_name` says what predicts, e.g. a table with its digest: figures of
    two tables are not comparable. `latency_kind` is how its figures are marked; where they are
    measured, each takes seconds.

    Raises UsageError on an unknown aim, a target that is not above 0, or a space in which no
    network can be judged.
    """

    space: Space
    target_ms: float
    accuracy: Accuracy
    latency: Latency
    latency_name: str
    aim: Aim = "soft"
    latency_kind: str = PREDICTED

    def __post_init__(self) -> None:
        if self.aim not in get_args(Aim):
            raise UsageError(f"unknown aim {self.aim!r}; allowed: {', '.join(get_args(Aim))}.")
        _ = self.reward  # it checks the target
        if self.accuracy.listed(self.space) == ():
            raise UsageError(
                f"no network of the space {self.space.name} has a {self.accuracy.kind} accuracy. "
                "Train them instead: pass --data."
            )

    @property
    def reward(self) -> Reward:
        """The reward; under "pareto" the hard one, which then only ranks what was found."""
        return Reward.soft(self.target_ms) if self.aim == "soft" else Reward.hard(self.target_ms)

    @property
    def directions(self) -> list[Direction]:
        """Of the objectives: the reward, or accuracy and latency."""
        return ["maximize", "minimize"] if self.aim == "pareto" else ["maximize"]

    def values(self, top1: float, latency_ms: float) -> list[float]:
        """The objectives of a network."""
        if self.aim == "pareto":
            return [top1, latency_ms]
        return [self.reward(top1, latency_ms)]

    @property
    def fingerprint(self) -> dict[str, str]:
        """What has to be equal for all figures of a study to be comparable, by name."""
        return {
            "space": f"{self.space.name} {_digest(self.space)}",
            "target_ms": repr(float(self.target_ms)),
            "aim": self.aim,
            "accuracy": self.accuracy.identity,
            "latency": self.latency_name,
        }

    def network(self, choices: Choices) -> ModelSpec:
        """The network that is judged for these choices, under the space's name for it."""
        return self.accuracy.network(self.space.decode(choices))

    def check(self) -> None:
        """Raise VerdictError where no network of the space meets the target."""
        fastest, latency_ms = _fastest(self)
        if latency_ms > self.target_ms:
            raise VerdictError(
                f"no network of the space {self.space.name} meets {self.target_ms:g} ms: the "
                f"fastest found, {fastest.name}, takes {latency_ms:.3g} ms ({self.latency_kind}). "
                "Raise the target, or take a smaller space or resolution."
            )


def _digest(space: Space) -> str:
    rows = [str(sorted((str(v), str(p)) for p, v in part.variants.items())) for part in space.parts]
    return hashlib.sha256("\n".join((str(space.first), *rows)).encode()).hexdigest()[:12]


def _fastest(goal: Goal) -> tuple[ModelSpec, float]:
    """The first network within the target on the way down from neighbour to neighbour, else the
    last one: a local minimum, and the least of all where layers add up.

    Where latencies are measured, the way down is by multiply-adds, and its end alone is measured.
    """
    listed = goal.accuracy.listed(goal.space)
    if listed is not None:
        return min(_rated(listed, goal.latency), key=lambda pair: pair[1])
    if goal.latency_kind != MEASURED:
        return _descended(goal, goal.latency, goal.target_ms)
    least, _ = _descended(goal, lambda spec: float(workload.from_spec(spec).macs), 0.0)
    return least, goal.latency(least)


def _descended(goal: Goal, cost: Latency, enough: float) -> tuple[ModelSpec, float]:
    choices: Choices = goal.space.choose(lambda name, options: options[0])
    first = goal.network(choices)
    best = next(_rated([first], cost), (first, math.inf))
    while best[1] > enough:
        near = {goal.network(other): other for other in goal.space.neighbours(choices)}
        found = min(_rated(list(near), cost), key=lambda pair: pair[1], default=best)
        if found[1] >= best[1]:
            break
        best, choices = found, near[found[0]]
    return best


def _rated(specs: Sequence[ModelSpec], cost: Latency) -> Iterator[tuple[ModelSpec, float]]:
    """The networks whose cost is known, with it."""
    for spec in specs:
        try:
            yield spec, cost(spec)
        except UNJUDGEABLE:
            continue


@dataclass(frozen=True)
class Found:
    """A network that was judged; `top1` in percent. Both figures are of the kind stated."""

    number: int
    spec: ModelSpec
    top1: float
    top1_kind: Kind
    latency_ms: float
    reward: float
    latency_kind: str = PREDICTED

    def meets(self, target_ms: float) -> bool:
        """Whether it meets a target, by `latency_ms`."""
        return self.latency_ms <= target_ms

    def to_dict(self) -> dict[str, Any]:
        """The JSON document; `spec` is the network's text."""
        return asdict(self) | {
            "name": self.spec.name,
            "spec": str(self.spec),
        }


def ranked(goal: Goal, found: Sequence[Found]) -> tuple[Found, ...]:
    """Different networks, best first: by reward, ties by latency.

    Under "pareto" those within the target by accuracy, the others after them.
    """

    def key(one: Found) -> tuple[float, ...]:
        if goal.aim == "pareto":
            inside = one.meets(goal.target_ms)
            return -inside, -(one.top1 if inside else one.reward), one.latency_ms
        return -one.reward, one.latency_ms

    unique = {(one.spec.resolution, one.spec.blocks): one for one in reversed(found)}
    return tuple(sorted(unique.values(), key=key))


def pareto(goal: Goal, found: Sequence[Found]) -> tuple[Found, ...]:
    """The networks that no other one beats in accuracy and latency, fastest first."""
    return front(ranked(goal, found), lambda one: (one.top1, one.latency_ms))
