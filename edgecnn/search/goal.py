"""What a search is after, and what it found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgecnn.errors import SpecError, UsageError, VerdictError
from edgecnn.reward import Reward, front
from edgecnn.search.accuracy import Accuracy, CandidateError, Kind
from edgecnn.space import Choices, Space
from edgecnn.spec import ModelSpec

Aim = Literal["soft", "hard", "pareto"]
Direction = Literal["maximize", "minimize"]
Latency = Callable[[ModelSpec], float]
"""Predicts milliseconds. May raise CandidateError where it does not know a network."""
UNJUDGEABLE = (CandidateError, SpecError)


@dataclass(frozen=True)
class Goal:
    """What all workers of a study agree on.

    `aim`: MnasNet's reward, "soft" or "hard" (see `reward.py`), or "pareto": accuracy and latency
    as two objectives. `latency_name` says what predicts, e.g. a table with its digest: figures of
    two tables are not comparable.

    Raises UsageError on an unknown aim, a target that is not above 0, or a space in which no
    network can be judged.
    """

    space: Space
    target_ms: float
    accuracy: Accuracy
    latency: Latency
    latency_name: str
    aim: Aim = "soft"

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
        """Raise VerdictError where no network of the space is predicted to meet the target."""
        fastest, latency_ms = _fastest(self)
        if latency_ms > self.target_ms:
            raise VerdictError(
                f"no network of the space {self.space.name} meets {self.target_ms:g} ms: the "
                f"fastest found, {fastest.name}, takes {latency_ms:.3g} ms (predicted). Raise the "
                "target, or take a smaller space or resolution."
            )


def _digest(space: Space) -> str:
    rows = [str(sorted((str(v), str(p)) for p, v in part.variants.items())) for part in space.parts]
    return hashlib.sha256("\n".join((str(space.first), *rows)).encode()).hexdigest()[:12]


def _fastest(goal: Goal) -> tuple[ModelSpec, float]:
    """The first network within the target on the way down from neighbour to neighbour, else the
    last one: a local minimum, and the least of all where layers add up."""
    listed = goal.accuracy.listed(goal.space)
    if listed is not None:
        return min(_timed(goal, listed), key=lambda pair: pair[1])
    choices: Choices = goal.space.choose(lambda name, options: options[0])
    best = goal.network(choices), goal.latency(goal.network(choices))
    while best[1] > goal.target_ms:
        near = {goal.network(other): other for other in goal.space.neighbours(choices)}
        found = min(_timed(goal, list(near)), key=lambda pair: pair[1], default=best)
        if found[1] >= best[1]:
            break
        best, choices = found, near[found[0]]
    return best


def _timed(goal: Goal, specs: Sequence[ModelSpec]) -> Iterator[tuple[ModelSpec, float]]:
    for spec in specs:
        try:
            yield spec, goal.latency(spec)
        except UNJUDGEABLE:
            continue


@dataclass(frozen=True)
class Found:
    """A network that was judged; the latency is predicted, `top1` (percent) is of `top1_kind`."""

    number: int
    spec: ModelSpec
    top1: float
    top1_kind: Kind
    latency_ms: float
    reward: float

    def meets(self, target_ms: float) -> bool:
        """Whether it is predicted to meet a target."""
        return self.latency_ms <= target_ms

    def to_dict(self) -> dict[str, Any]:
        """The JSON document; `spec` is the network's text."""
        return asdict(self) | {
            "name": self.spec.name,
            "spec": str(self.spec),
            "latency_kind": "predicted",
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
