"""What is done about the deadline: say that it is broken, and change the network."""

from collections.abc import Callable, Sequence

from edgecnn.stream.classifier import Classifier
from edgecnn.stream.deadline import Deadline, Ladder
from edgecnn.stream.frame import NS_PER_S, Event
from edgecnn.stream.result import Result

Causes = Callable[[], tuple[str, ...]]
"""What may make it late at the moment."""


class Keeper:
    """Looks at each result; `classifier` is the network that shall run next."""

    def __init__(
        self, classifiers: Sequence[Classifier], deadline: Deadline | None, causes: Causes
    ) -> None:
        self._classifiers, self._deadline, self._causes = tuple(classifiers), deadline, causes
        self._was_broken = False
        self._kept_since_ns: int | None = None
        self._ladder: Ladder | None = None
        if deadline is not None and len(classifiers) > 1:
            self._ladder = Ladder([one.cost_ms for one in classifiers], deadline.budget)

    @property
    def classifier(self) -> Classifier:
        """The network in use."""
        return self._classifiers[0 if self._ladder is None else self._ladder.level]

    def judge(self, result: Result) -> list[Event]:
        """Return what has changed, after the deadline has counted the result."""
        if self._deadline is None:
            return []
        broken = self._deadline.broken
        changed = self._changed(self._deadline, result.at_ns, broken)
        step = self._step(self._deadline, result, broken)
        return [event for event in (changed, step) if event is not None]

    def _changed(self, deadline: Deadline, at_ns: int, broken: bool) -> Event | None:
        """Say at once that it is broken, and that it is kept only once it was for a while."""
        if broken:
            self._kept_since_ns = None
        elif self._kept_since_ns is None:
            self._kept_since_ns = at_ns
        kept_ns = 0 if self._kept_since_ns is None else at_ns - self._kept_since_ns
        settled = broken or kept_ns >= deadline.budget.patience_s * NS_PER_S
        if broken == self._was_broken or not settled:
            return None
        self._was_broken = broken
        return self._verdict(deadline, broken)

    def _step(self, deadline: Deadline, result: Result, broken: bool) -> Event | None:
        if self._ladder is None:
            return None
        before = self.classifier
        step = self._ladder.judge(
            result.at_ns, result.frame_age_ms, result.latency_ms, broken=broken
        )
        if not step:
            return None
        deadline.restart()
        self._was_broken = False
        now = self.classifier
        causes = self._found_causes() if step > 0 else ("there is time for it",)
        return Event(
            "step down" if step > 0 else "step up",
            f"{now.name} takes over from {before.name}: {', '.join(causes)}",
            details={"from": before.name, "to": now.name, "causes": list(causes)},
        )

    def _verdict(self, deadline: Deadline, broken: bool) -> Event:
        budget = deadline.budget
        limit = f"{budget.limit_ms:g} ms for {budget.percentile:g} % of the frames"
        if not broken:
            return Event("within", f"the deadline is kept again: {limit}")
        causes = self._found_causes()
        text = f"the deadline is broken: {limit}; {', '.join(causes)}"
        return Event("over", text, details={"causes": list(causes)})

    def _found_causes(self) -> tuple[str, ...]:
        return self._causes() or ("no cause is known",)
