"""What to try next: Optuna's samplers, and regularized evolution as one.

Every sampler starts afresh for each trial, from the seed and the trial's number. So two workers
with one seed do not try the same, and a search that was interrupted goes on as it would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from edgecnn.errors import UsageError
from edgecnn.search.workers import counts
from edgecnn.space import Space

Params = Mapping[str, str]
NAMES = ("tpe", "nsga2", "random", "evolution")


@dataclass(frozen=True)
class Sampling:
    """Which sampler, its seed, and the sizes that evolution needs.

    `population` is that of nsga2 and evolution, `tournament` the number that evolution draws from
    it to find a parent. Real et al. have 100 and 25, for 20,000 networks; these are for a hundred.

    Raises UsageError on an unknown name or a size without sense.
    """

    name: str = "tpe"
    seed: int = 0
    population: int = 20
    tournament: int = 5

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UsageError(f"unknown sampler {self.name!r}; allowed: {', '.join(NAMES)}.")
        if not (self.population >= 2 and 1 <= self.tournament <= self.population):
            raise UsageError(
                f"population {self.population} and tournament {self.tournament}: allowed are a "
                "population of at least 2, and a tournament of 1 up to the population."
            )


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """All choices of a space for Optuna, in their order.

    Choices that others close take part as well, without effect. Optuna's samplers learn about a
    choice together with others only where every trial has it.
    """
    return {name: CategoricalDistribution(options) for name, options in space.parameters()}


def choices(space: Space, params: Params) -> dict[str, str]:
    """The network's open choices among all parameters of a trial."""
    return space.choose(lambda name, options: params[name])


def params_of(space: Space, chosen: Params) -> dict[str, str]:
    """All parameters of a network: closed choices take their first option."""
    return {name: chosen.get(name, options[0]) for name, options in space.parameters()}


def make(sampling: Sampling, space: Space, listed: Sequence[Params] = ()) -> BaseSampler:
    """The sampler; where networks are `listed`, those in turn, whatever its name."""
    if listed:
        return Proposing(space, lambda study, trial: _in_turn(study, trial, listed))
    if sampling.name == "evolution":
        return Proposing(space, lambda study, trial: _child(study, trial, space, sampling))
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: TPESampler(seed=seed),
        "nsga2": lambda seed: NSGAIISampler(population_size=sampling.population, seed=seed),
        "random": lambda seed: RandomSampler(seed),
    }
    return Afresh(makers[sampling.name], sampling.seed)


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


class Afresh(BaseSampler):
    """One of Optuna's samplers, made anew for each trial."""

    def __init__(self, maker: Callable[[int], BaseSampler], seed: int) -> None:
        self._maker, self._first = maker, seed
        self._sampler = maker(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As Optuna's; called once, at the begin of a trial."""
        self._sampler = self._maker(_seed(self._first, trial.number))
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, dist: BaseDistribution
    ) -> Any:
        """As Optuna's."""
        return self._sampler.sample_independent(study, trial, param_name, dist)


class Proposing(BaseSampler):
    """A sampler that proposes whole networks of a space."""

    def __init__(
        self, space: Space, propose: Callable[[optuna.Study, FrozenTrial], Params]
    ) -> None:
        self._space, self._propose = space, propose

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices: the proposal has an option for each."""
        return distributions(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The proposal."""
        return dict(self._propose(study, trial))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, dist: BaseDistribution
    ) -> Any:
        """Never asked: every choice is part of the proposal."""
        raise AssertionError(param_name)


def _child(study: optuna.Study, trial: FrozenTrial, space: Space, sampling: Sampling) -> Params:
    """Regularized evolution: Real et al., AAAI 2019 (arXiv 1802.01548), Algorithm 1.

    A random network until there is a population; then a mutation of the best of a tournament,
    drawn with replacement. The population is the youngest `population` judged networks, in the
    order in which they were judged: the oldest dies, not the worst.
    """
    random = Random(_seed(sampling.seed, trial.number))  # noqa: S311 (no secrets)
    judged = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    judged.sort(key=lambda t: (t.datetime_complete or t.datetime_start, t.number))
    if len(judged) < sampling.population:
        return params_of(space, space.sample(random))
    population = judged[-sampling.population :]
    drawn = [random.choice(population) for _ in range(sampling.tournament)]
    parent = max(drawn, key=lambda t: (t.values or [0.0])[0])
    return params_of(space, space.mutate(choices(space, parent.params), random))


def _in_turn(study: optuna.Study, trial: FrozenTrial, listed: Sequence[Params]) -> Params:
    trials = study.get_trials(deepcopy=False)
    taken = sum(counts(other) and other.number < trial.number for other in trials)
    return listed[taken % len(listed)]
