"""A search under way: its trials in a storage, and the loop of one worker."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.pruners import MedianPruner
from optuna.trial import FrozenTrial, TrialState

from edgecnn.errors import UsageError, VerdictError
from edgecnn.search import samplers, storage
from edgecnn.search.accuracy import CandidateError
from edgecnn.search.goal import UNJUDGEABLE, Found, Goal, pareto, ranked
from edgecnn.search.workers import (
    PROBLEM,
    Beating,
    Pace,
    Witness,
    counts,
    finished,
    retire,
    surplus,
)

GOAL, NETWORK, TOP1, LATENCY = "goal", "network", "top1", "latency_ms"
HOPELESS_AFTER = 20


@dataclass(frozen=True)
class Budget:
    """How many networks all workers together judge, and how long this one starts new ones.

    A network that is stopped early or cannot be judged counts. What is begun is finished.
    Raises UsageError on a number that is not above 0.
    """

    networks: int = 100
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.networks < 1 or (self.seconds is not None and not self.seconds > 0):
            raise UsageError(f"{self}: both have to be above 0.")


@dataclass(frozen=True)
class Progress:
    """How far a study is: networks done of `networks`, the best and the front so far.

    `seconds_left` is None until something was judged.
    """

    done: int
    networks: int
    running: int
    best: Found | None
    front: tuple[Found, ...]
    seconds_left: float | None


Watch = Callable[[Progress], None]


def _unwatched(progress: Progress) -> None:
    return


class Study:
    """A search in a storage; see `opened`."""

    def __init__(self, goal: Goal, where: Path | str, study: optuna.Study) -> None:
        self.goal, self._where, self._study = goal, where, study

    @classmethod
    def opened(cls, goal: Goal, where: Path | str, name: str = "search") -> Study:
        """The study of this name in a storage (see `storage.url_of`), made where there is none.

        Raises VerdictError where the target is impossible (nothing is made then), UsageError where
        the study has another goal, UnavailableError where the storage cannot be reached.
        """
        goal.check()
        storage.quiet()
        with storage.guarded(where):
            study = optuna.create_study(
                storage=storage.opened(where),
                study_name=name,
                directions=goal.directions,
                pruner=MedianPruner(),
                load_if_exists=True,
            )
            _agree(study, goal)
        return cls(goal, where, study)

    def run(
        self,
        budget: Budget | None = None,
        sampling: samplers.Sampling | None = None,
        *,
        pace: Pace | None = None,
        watch: Watch = _unwatched,
    ) -> None:
        """Judge networks until the budget is spent; as one worker of any number.

        An interrupted run goes on with the same call: judged networks are kept, those under way
        are judged again.

        Raises VerdictError where nothing can be judged, UsageError where the sampler does not go
        with the goal, UnavailableError where the storage goes away.
        """
        sampling = sampling or samplers.Sampling()
        if sampling.name == "evolution" and self.goal.aim == "pareto":
            raise UsageError("evolution needs one reward; for the Pareto front take nsga2 or tpe.")
        with storage.guarded(self._where):
            self._study.sampler = samplers.make(sampling, self.goal.space, self._listed())
            _Worker(
                self, self._study, self._limited(budget or Budget()), pace or Pace(), watch
            ).work()

    def found(self) -> tuple[Found, ...]:
        """All networks that were judged in full, in the order in which they were begun."""
        with storage.guarded(self._where):
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return tuple(map(self._found, trials))

    def best(self, k: int = 1) -> tuple[Found, ...]:
        """The best `k` different networks, best first; see `goal.ranked`."""
        return ranked(self.goal, self.found())[:k]

    def front(self) -> tuple[Found, ...]:
        """The networks that no other one beats in accuracy and latency, fastest first."""
        return pareto(self.goal, self.found())

    def problems(self) -> tuple[str, ...]:
        """Why networks could not be judged."""
        with storage.guarded(self._where):
            trials = self._study.get_trials(deepcopy=False)
        return tuple(t.user_attrs[PROBLEM] for t in trials if PROBLEM in t.user_attrs)

    def _found(self, trial: FrozenTrial) -> Found:
        top1, latency_ms = trial.user_attrs[TOP1], trial.user_attrs[LATENCY]
        return Found(
            number=trial.number,
            spec=self.goal.network(samplers.choices(self.goal.space, trial.params)),
            top1=top1,
            top1_kind=self.goal.accuracy.kind,
            latency_ms=latency_ms,
            reward=self.goal.reward(top1, latency_ms),
            latency_kind=self.goal.latency_kind,
        )

    def _listed(self) -> list[samplers.Params]:
        space = self.goal.space
        specs = self.goal.accuracy.listed(space) or ()
        return [samplers.params_of(space, space.encode(spec)) for spec in specs]

    def _limited(self, budget: Budget) -> Budget:
        """No more networks than there are, where they are listed."""
        listed = len(self._listed())
        return Budget(min(budget.networks, listed), budget.seconds) if listed else budget


def _agree(study: optuna.Study, goal: Goal) -> None:
    """Make the goal that of a new study; refuse another one."""
    if GOAL not in study.user_attrs and not study.get_trials(deepcopy=False):
        study.set_user_attr(GOAL, goal.fingerprint)
    known, mine = study.user_attrs.get(GOAL), goal.fingerprint
    if not isinstance(known, dict):
        raise UsageError(
            f"the study {study.study_name!r} is not one of edgecnn; pass another name."
        )
    differing = [
        f"{key} {known.get(key)!r} there, {value!r} here"
        for key, value in mine.items()
        if known.get(key) != value
    ]
    if differing:
        raise UsageError(
            f"the study {study.study_name!r} was begun for another goal: {'; '.join(differing)}. "
            "Pass the same settings to go on with it, or another name for a new study."
        )


class _Worker:
    """One process that judges networks of a study, one at a time."""

    def __init__(
        self, owner: Study, study: optuna.Study, budget: Budget, pace: Pace, watch: Watch
    ) -> None:
        self.owner, self.study, self.budget = owner, study, budget
        self.pace, self.watch = pace, watch
        self.goal = owner.goal
        self.distributions = samplers.distributions(self.goal.space)
        self.witness = Witness(pace.grace_s)
        self.started = time.monotonic()

    def work(self) -> None:
        """Until the budget is spent."""
        self._tell()
        while (trial := self._next()) is not None:
            self._judge(trial)
            self._tell()
            self._check_sense()
        self._tell()

    def _next(self) -> optuna.Trial | None:
        """A trial of ours; None when the budget is spent.

        While others judge the last networks, one of them may die: wait for them.
        """
        while not self._late():
            trials = self._trials()
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            if dead := self.witness.dead(running):
                for trial in dead:
                    retire(self.study, trial.number, trial.params)
                continue
            if self._room(trials):
                if (mine := self._asked()) is not None:
                    return mine
            elif running:
                time.sleep(self.pace.poll_s)
            else:
                return None
        return None

    def _asked(self) -> optuna.Trial | None:
        """A trial; None where others took the last place, or took this worker for dead."""
        with suppress(UpdateFinishedTrialError):
            mine = self.study.ask(self.distributions)
            if not surplus(mine, self._trials(), self.budget.networks):
                return mine
            self.study.tell(mine, state=TrialState.FAIL, skip_if_finished=True)
        return None

    def _room(self, trials: Sequence[FrozenTrial]) -> bool:
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        return waiting or sum(map(counts, trials)) < self.budget.networks

    def _late(self) -> bool:
        limit = self.budget.seconds
        return limit is not None and time.monotonic() - self.started >= limit

    def _judge(self, trial: optuna.Trial) -> None:
        """Bring a trial to its end, unless somebody took this worker for dead meanwhile."""
        with suppress(UpdateFinishedTrialError):
            self._bring_to_end(trial)

    def _bring_to_end(self, trial: optuna.Trial) -> None:
        """Judged, stopped early, impossible to judge, or left for the next worker."""
        try:
            with Beating(trial, self.pace):
                values = self._values(trial)
            self.study.tell(trial, values, skip_if_finished=True)
        except UpdateFinishedTrialError:
            raise
        except TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except UNJUDGEABLE as error:
            trial.set_user_attr(PROBLEM, str(error))
            self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        except BaseException:
            retire(self.study, trial.number, trial.params)
            raise

    def _values(self, trial: optuna.Trial) -> list[float]:
        chosen = samplers.choices(self.goal.space, trial.params)
        name = self.goal.space.decode(chosen).name
        spec = self.goal.network(chosen)
        latency_ms = float(self.goal.latency(spec))
        trial.set_user_attr(LATENCY, latency_ms)
        top1 = self._known(name)
        if top1 is None:
            self._check_hope(latency_ms)
            top1 = self.goal.accuracy.top1(spec, self._reporter(trial, latency_ms))
        if top1 is None:
            raise CandidateError(f"{spec.name}: its accuracy is not known.")
        trial.set_user_attr(NETWORK, name)
        trial.set_user_attr(TOP1, float(top1))
        return self.goal.values(top1, latency_ms)

    def _known(self, name: str) -> float | None:
        """The accuracy of a network that any worker judged before."""
        judged = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        same = (t.user_attrs[TOP1] for t in judged if t.user_attrs[NETWORK] == name)
        return next(same, None)

    def _check_hope(self, latency_ms: float) -> None:
        """Stop before training where even 100 % accuracy would not give the best reward."""
        if self.goal.aim == "pareto":
            return
        judged = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = max((t.value or 0.0 for t in judged), default=0.0)
        if self.goal.reward(100.0, latency_ms) <= best:
            raise TrialPruned(f"{latency_ms:.3g} ms cannot be the best")

    def _reporter(self, trial: optuna.Trial, latency_ms: float) -> Callable[[int, float], None]:
        def report(epoch: int, top1: float) -> None:
            if self.goal.aim == "pareto":  # Optuna's pruners know one objective
                return
            trial.report(self.goal.reward(top1, latency_ms), epoch)
            if trial.should_prune():
                raise TrialPruned(f"below the median after epoch {epoch}")

        return report

    def _check_sense(self) -> None:
        trials = [trial for trial in self._trials() if finished(trial)]
        if len(trials) >= HOPELESS_AFTER and all(PROBLEM in trial.user_attrs for trial in trials):
            raise VerdictError(
                f"none of {len(trials)} networks could be judged; the last: "
                f"{trials[-1].user_attrs[PROBLEM]}"
            )

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _tell(self) -> None:
        trials = self._trials()
        done = sum(map(finished, trials))
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        best = self.owner.best()
        self.watch(
            Progress(
                done=done,
                networks=self.budget.networks,
                running=running,
                best=best[0] if best else None,
                front=self.owner.front(),
                seconds_left=self._seconds_left(trials, self.budget.networks - done),
            )
        )

    def _seconds_left(self, trials: Sequence[FrozenTrial], left: int) -> float | None:
        """By the mean time of a finished trial and the workers now at work."""
        spent = [
            trial.duration.total_seconds()
            for trial in trials
            if finished(trial) and trial.duration is not None
        ]
        if not spent:
            return None
        others = sum(trial.state == TrialState.RUNNING for trial in trials)
        seconds = max(0, left) * statistics.fmean(spent) / (1 + others)
        if self.budget.seconds is None:
            return seconds
        return max(0.0, min(seconds, self.budget.seconds - (time.monotonic() - self.started)))
