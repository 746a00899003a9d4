"""Many workers on one study: who is alive, and what a dead one leaves.

While a worker judges a network it counts a number up in the trial. Another worker that has seen the
same number for `grace_s` on its own clock takes that worker for dead: no clocks of two machines are
compared. The dead worker's trial fails, which only one worker can bring about, and its network
waits for the next one who is free. A worker that was only asleep finds its trial finished; its
result is dropped, so nothing counts twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

BEAT = "beat"
PROBLEM = "problem"


@dataclass(frozen=True)
class Pace:
    """How often a worker shows that it lives, and after how long without it others think not."""

    beat_s: float = 10.0
    grace_s: float = 60.0
    poll_s: float = 1.0


class Beating:
    """Counts up in a trial while the block runs."""

    def __init__(self, trial: optuna.Trial, pace: Pace) -> None:
        self._trial, self._pace = trial, pace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(self._pace.beat_s):
            count += 1
            try:
                self._trial.set_user_attr(BEAT, count)
            except UpdateFinishedTrialError:
                return  # somebody took this worker for dead
            except (OptunaError, SQLAlchemyError):
                continue  # a storage that is gone for good shows when the result is written


@dataclass
class Witness:
    """What one worker saw of the others' running trials: the last count, and when it came."""

    grace_s: float
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def dead(self, running: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those that showed no sign of life for `grace_s`, to be called again and again."""
        now = time.monotonic()
        counts = {trial.number: (trial, trial.user_attrs.get(BEAT, 0)) for trial in running}
        self._seen = {
            number: self._seen[number]
            if self._seen.get(number, (None,))[0] == count
            else (count, now)
            for number, (_, count) in counts.items()
        }
        return [
            trial
            for number, (trial, _) in counts.items()
            if now - self._seen[number][1] > self.grace_s
        ]


def retire(study: optuna.Study, number: int, params: Mapping[str, str]) -> None:
    """Fail a trial and let its network wait for another worker, unless it is finished by now."""
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return
    if params:
        study.enqueue_trial(dict(params), user_attrs={"retry_of": number})


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial takes a place in the budget: all but those that were given up.

    A network that cannot be judged is one of those that were tried.
    """
    return trial.state != TrialState.FAIL or PROBLEM in trial.user_attrs


def finished(trial: FrozenTrial) -> bool:
    """Whether a trial has its verdict: judged, stopped early, or impossible to judge."""
    return counts(trial) and trial.state.is_finished()


def surplus(trial: optuna.Trial, trials: Iterable[FrozenTrial], budget: int) -> bool:
    """Whether the budget was full without this trial; all workers count in the same order."""
    return sum(counts(other) and other.number < trial.number for other in trials) >= budget
