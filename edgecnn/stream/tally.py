"""The counts of a stream, from its first result to its last."""

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic_ns

from edgecnn.stream.deadline import Deadline
from edgecnn.stream.frame import NS_PER_S, Event
from edgecnn.stream.histogram import Histogram
from edgecnn.stream.result import Result, Summary


@dataclass
class Tally:
    """Counts results and events of several threads; `summary` tells them at any time."""

    deadline: Deadline | None
    _lock: Lock = field(default_factory=Lock)
    _ages: Histogram = field(default_factory=Histogram)
    _infers: Histogram = field(default_factory=Histogram)
    _models: Counter[str] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _frames: int = 0
    _dropped: int = 0
    _repeated: int = 0
    _began_ns: int = field(default_factory=monotonic_ns)
    _ended_ns: int | None = None

    def result(self, result: Result) -> None:
        """Count a result."""
        with self._lock:
            self._frames += 1
            self._dropped += result.dropped
            self._repeated += result.repeated > 0
            self._models[result.model] += 1
            self._ages.add(result.frame_age_ms)
            self._infers.add(result.stages_ms["infer"])
            if self.deadline is not None:
                self.deadline.add(result.at_ns, result.frame_age_ms)

    def event(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            self._events[event.kind] += 1

    def end(self) -> None:
        """Stop the clock."""
        self._ended_ns = monotonic_ns()

    def summary(self, source: str, ended: str) -> Summary:
        """All of it until now."""
        deadline, until_ns = self.deadline, self._ended_ns or monotonic_ns()
        with self._lock:
            return Summary(
                source=source,
                seconds=(until_ns - self._began_ns) / NS_PER_S,
                frames=self._frames,
                dropped=self._dropped,
                repeated=self._repeated,
                passed=None if deadline is None else deadline.passed,
                budget_ms=None if deadline is None else deadline.budget.limit_ms,
                percentile=None if deadline is None else deadline.budget.percentile,
                late=0 if deadline is None else deadline.late,
                models=dict(self._models),
                age_ms=self._ages.to_dict(),
                infer_ms=self._infers.to_dict(),
                ages=tuple(self._ages.bars()),
                events=dict(self._events),
                ended=ended,
            )
