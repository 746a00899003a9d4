"""The loop: the newest frame, a result of it before its deadline, and what to do when that fails.

Three threads: one reads the source, one makes inputs, and the caller's runs the network; in a batch
a fourth does. Between them is room for a single frame each, so that nothing ever queues and no old
frame is looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event as Flag
from time import monotonic_ns
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifact import Artifact
from edgecnn.errors import EdgecnnError, UsageError
from edgecnn.stream.capture import Capture
from edgecnn.stream.classifier import Classifier, open_all
from edgecnn.stream.deadline import Budget, Deadline
from edgecnn.stream.frame import Event, Frame
from edgecnn.stream.health import HealthWatch
from edgecnn.stream.inference import Ahead, Ran
from edgecnn.stream.keeper import Keeper
from edgecnn.stream.outlet import Outlet
from edgecnn.stream.preparation import Preparation, Prepared
from edgecnn.stream.result import Result, Score, Summary
from edgecnn.stream.sinks import About, Sink
from edgecnn.stream.smoothing import Smoothing
from edgecnn.stream.sources import Source, Wanted, open_source
from edgecnn.stream.tally import Tally

POLL_S = 0.1
"""So soon a stream notices that it shall stop while no frame comes."""
FROZEN_AFTER_S = 2.0
TOP = 5
END_OF_SOURCE, STOPPED = "end of the source", "stopped"


class Stream:
    """Results of a camera, a file or a URL, the newest frame each time.

        with Stream("model.tflite", "0", budget=Budget(limit_ms=33)) as results:
            for result in results:
                print(result.top[0].label, result.frame_age_ms)
        print(results.summary.passed)

    A slow loop body delays nothing but itself: the next result is of the newest frame.

    Args:
        artifact: a file or an `Artifact`; it carries its labels and preprocessing.
        source: as `edgecnn stream --source` takes it, or an object of your own that gives frames
            (`edgecnn.stream.sources.Source`).
        fallback: smaller artifacts with the same classes that take over when the budget is broken.
        runtime: by default the one made for the format.
        budget: what is promised; without it there is no verdict.
        wanted: what the source should give.
        every_frame: look at every frame of a file, as fast as it goes: nothing is dropped, and ages
            say nothing.
        smooth_s: time constant over which scores are smoothed; 0 for none.
        frozen_after_s: a camera that sends one picture for so long is frozen; 0 for never.
        top: how many classes a result tells.
        sinks: where results go besides the caller.
        beat: called at each turn of the loop, at least ten times a second: a sign of life.
    """

    def __init__(
        self,
        artifact: Artifact | Path | str,
        source: str | Source,
        *,
        fallback: Sequence[Artifact | Path | str] = (),
        runtime: str | None = None,
        threads: int = 1,
        budget: Budget | None = None,
        wanted: Wanted | None = None,
        every_frame: bool = False,
        smooth_s: float = 0.0,
        frozen_after_s: float = FROZEN_AFTER_S,
        top: int = TOP,
        sinks: Sequence[Sink] = (),
        beat: Callable[[], None] | None = None,
    ) -> None:
        if fallback and budget is None:
            raise UsageError("--fallback needs --budget-ms: it takes over when that is broken.")
        if every_frame and budget is not None:
            raise UsageError("--every-frame looks at old frames too; leave --budget-ms out.")
        self._artifacts = [_loaded(one) for one in (artifact, *fallback)]
        self._source, self._runtime, self._threads = source, runtime, threads
        self._wanted = replace(wanted or Wanted(), pace=not every_frame)
        self._every_frame, self._frozen_after_s, self._top = every_frame, frozen_after_s, top
        self._budget, self._sinks, self._beat = budget, tuple(sinks), beat or _no_beat
        self._smoothing = Smoothing(smooth_s)
        self._tally = Tally(None if budget is None else Deadline(budget))
        self._stop, self._why = Flag(), STOPPED
        self._last_frame: int | None = None
        self._outlets: list[Outlet] = []
        self._parts: _Parts | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Open the artifacts, the source and the sinks.

        Raises:
            EdgecnnError: one of them cannot be opened; what was opened is closed.
        """
        with ExitStack() as opened:
            parts = self._parts = self._made(opened)
            self._open_sinks(opened)
            self._tally = Tally(self._tally.deadline)
            for thread in parts.threads:
                opened.callback(thread.stop)
                thread.start()
            self._opened = opened.pop_all()
        return self

    def _made(self, opened: ExitStack) -> "_Parts":
        classifiers = open_all(self._artifacts, self._runtime, self._threads)
        for classifier in classifiers:
            opened.callback(classifier.close)
        capture = Capture(
            partial(_source, self._source, replace(self._wanted, needed=classifiers[0].needed)),
            self._say,
            lossless=self._every_frame,
            frozen_after_s=self._frozen_after_s,
        )
        opened.callback(capture.stop)
        preparation = Preparation(capture.slot, classifiers[0], every_frame=self._every_frame)
        keeper = Keeper(classifiers, self._tally.deadline, self._causes)
        ahead = Ahead(preparation.slot) if self._every_frame else None
        return _Parts(classifiers, HealthWatch(), capture, preparation, ahead, keeper)

    def _open_sinks(self, opened: ExitStack) -> None:
        about = self.about
        for sink in self._sinks:
            sink.open(about)
            outlet = Outlet(sink, self._say, lossless=self._every_frame)
            opened.callback(self._close_outlet, outlet)
            self._outlets.append(outlet)

    def _close_outlet(self, outlet: Outlet) -> None:
        outlet.close(self.summary)

    @property
    def _running(self) -> "_Parts":
        if self._parts is None:
            raise UsageError("the stream is not open; use it in a with statement.")
        return self._parts

    @property
    def about(self) -> About:
        """What is opened."""
        parts, budget = self._running, self._budget
        return About(
            source=parts.capture.source.name,
            fps=parts.capture.source.fps,
            frames=parts.capture.source.frames,
            models=tuple(one.name for one in parts.classifiers),
            budget_ms=None if budget is None else budget.limit_ms,
            percentile=None if budget is None else budget.percentile,
            state=lambda: self.state,
            health=lambda: parts.health.now.to_dict(),
            problem=lambda: self.problem,
        )

    def __iter__(self) -> Iterator[Result]:
        """Yield results until the source ends or `stop` is called.

        Raises:
            EdgecnnError: the source or a frame is broken for good.
        """
        parts = self._running
        slot = parts.preparation.slot if parts.ahead is None else parts.ahead.slot
        while not self._stop.is_set():
            item = slot.take(POLL_S)
            self._beat()
            if item is not None:
                ran = item if isinstance(item, Ran) else self._run(parts, item)
                yield self._result(parts, ran)
            elif slot.ended:
                self._raise_errors(parts)
                self._why = END_OF_SOURCE
                return

    def stop(self) -> None:
        """End the stream after the frame at hand; from any thread, or a signal handler."""
        self._stop.set()

    def _raise_errors(self, parts: "_Parts") -> None:
        ahead = None if parts.ahead is None else parts.ahead.error
        error = ahead or parts.preparation.error or parts.capture.error
        if error is not None:
            self._why = str(error)
            raise error

    def _run(self, parts: "_Parts", prepared: Prepared) -> Ran:
        classifier = parts.keeper.classifier
        if prepared.classifier is not classifier:
            prepared = Prepared.of(prepared.frame, classifier)
        return Ran.of(prepared)

    def _result(self, parts: "_Parts", ran: Ran) -> Result:
        prepared = ran.prepared
        classifier, frame = prepared.classifier, prepared.frame
        parts.preparation.ran(ran.ended_ns - ran.began_ns)
        scores = classifier.scores(ran.output)
        top = self._best(self._smoothing.add(frame.captured_ns, scores), classifier.labels)
        moments = (frame.captured_ns, prepared.began_ns, prepared.ended_ns, ran.began_ns,
                   ran.ended_ns, monotonic_ns())  # fmt: skip
        result = Result.of(frame, moments, self._dropped_before(frame), classifier.name, top)
        self._tally.result(result)
        for event in parts.keeper.judge(result):
            self._say(event)
        if parts.keeper.classifier is not classifier:
            parts.preparation.restart(parts.keeper.classifier)
        for outlet in self._outlets:
            outlet.result(result)
        return result

    def _dropped_before(self, frame: Frame) -> int:
        last, self._last_frame = self._last_frame, frame.number
        return 0 if last is None else max(0, frame.number - last - 1)

    def _best(self, scores: NDArray[np.float32], labels: Sequence[str]) -> tuple[Score, ...]:
        count = min(self._top, len(scores))
        best = np.argpartition(scores, -count)[-count:]
        found = sorted(zip((-scores[best]).tolist(), best.tolist(), strict=True))
        return tuple([Score(labels[i] if labels else str(i), -score) for score, i in found])

    def _causes(self) -> tuple[str, ...]:
        parts = self._running
        frozen = ("the camera is frozen",) if parts.capture.still.frozen else ()
        return frozen + parts.health.causes()

    def _say(self, event: Event) -> None:
        """Pass on what happened; called from several threads."""
        self._tally.event(event)
        for outlet in self._outlets:
            outlet.event(event)
            if outlet.failed and outlet.sink.essential:
                self.stop()

    @property
    def problem(self) -> str | None:
        """What is wrong with the source, None while all is well."""
        capture = self._running.capture
        if not capture.connected:
            return "the source is lost"
        return "the camera is frozen" if capture.still.frozen else None

    @property
    def state(self) -> dict[str, Any]:
        """Counts and ages so far, for metrics; `fps` is the rate at which frames come."""
        return asdict(self.summary) | {"fps": self._running.capture.rate.fps}

    @property
    def summary(self) -> Summary:
        """All of it until now."""
        name = "" if self._parts is None else self._parts.capture.source.name
        return self._tally.summary(name, self._why)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, flush the sinks, free everything."""
        if isinstance(error, EdgecnnError):
            self._why = str(error)
        self._stop.set()
        self._tally.end()
        self._opened.close()


@dataclass(frozen=True)
class _Parts:
    """What an open stream consists of."""

    classifiers: tuple[Classifier, ...]
    health: HealthWatch
    capture: Capture
    preparation: Preparation
    ahead: Ahead | None
    keeper: Keeper

    @property
    def threads(self) -> tuple[HealthWatch | Capture | Preparation | Ahead, ...]:
        """In the order in which they are started; they are stopped in the other."""
        found = (self.health, self.capture, self.preparation)
        return found if self.ahead is None else (*found, self.ahead)


def _source(source: str | Source, wanted: Wanted) -> Source:
    return open_source(source, wanted) if isinstance(source, str) else source


def _loaded(artifact: Artifact | Path | str) -> Artifact:
    return artifact if isinstance(artifact, Artifact) else Artifact.load(Path(artifact))


def _no_beat() -> None:
    return
