"""The deadline: whether results are young enough, and which of several networks keeps it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgecnn.errors import UsageError
from edgecnn.stream.frame import NS_PER_S

LEAST_OVER = 3
"""So many late results break a deadline; one or two may be chance."""
HEADROOM = 0.9
"""The larger network comes back where it would take this share of the budget."""
LONGEST_HOLD_S = 600.0


@dataclass(frozen=True)
class Budget:
    """Of ``percentile`` per cent of the results, the frame is at most ``limit_ms`` old.

    The budget counts as broken once it is over the last ``patience_s`` seconds. A larger network
    takes over again after ``recover_s`` seconds in which it would have kept the budget.
    """

    limit_ms: float
    percentile: float = 95.0
    patience_s: float = 2.0
    recover_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.limit_ms > 0:
            raise UsageError(f"a budget of {self.limit_ms:g} ms; it must be above 0.")
        if not 0 < self.percentile <= 100:
            raise UsageError(f"percentile {self.percentile:g}; allowed: above 0, up to 100.")
        if not (self.patience_s > 0 and self.recover_s > 0):
            raise UsageError("the times to step down and up must be above 0 seconds.")

    @property
    def late_share(self) -> float:
        """The share of results that may be late."""
        return 1 - self.percentile / 100


@dataclass
class Window:
    """How many of the last seconds' values were over a limit."""

    limit_ms: float
    seconds: float
    _values: deque[tuple[int, bool]] = field(default_factory=deque)
    _over: int = 0

    def add(self, at_ns: int, ms: float) -> None:
        """Count a value; those that are too old leave."""
        over = ms > self.limit_ms
        self._values.append((at_ns, over))
        self._over += over
        while self._values[0][0] < at_ns - self.seconds * NS_PER_S:
            self._over -= self._values.popleft()[1]

    def broken(self, late_share: float) -> bool:
        """Whether more than that share is over the limit, and more than chance would be."""
        return self._over >= LEAST_OVER and self._over > late_share * len(self._values)

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self._over = 0


class Deadline:
    """A running verdict over frame ages."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.count, self.late = 0, 0
        self._window = Window(budget.limit_ms, budget.patience_s)

    def add(self, at_ns: int, age_ms: float) -> None:
        """Count a result."""
        self.count += 1
        self.late += age_ms > self.budget.limit_ms
        self._window.add(at_ns, age_ms)

    @property
    def broken(self) -> bool:
        """Whether the budget is broken at the moment."""
        return self._window.broken(self.budget.late_share)

    @property
    def passed(self) -> bool:
        """Whether it was kept over all results; not without any."""
        return self.count > 0 and self.late <= self.budget.late_share * self.count

    def restart(self) -> None:
        """Judge the moment anew, as after a step."""
        self._window.clear()


class Ladder:
    """Which network runs: 0 is the largest, and the one to come back to.

    Down at once when the budget is broken; up when the larger network would have kept it, with
    room, for a while. Where it then does not, the next try comes twice as late.
    """

    def __init__(self, costs_ms: Sequence[float], budget: Budget) -> None:
        self._costs_ms, self._budget = tuple(costs_ms), budget
        self._hold_s = budget.recover_s
        self._above = Window(HEADROOM * budget.limit_ms, budget.patience_s)
        self._good_since_ns: int | None = None
        self._up_at_ns: int | None = None
        self.level = 0

    def judge(self, at_ns: int, age_ms: float, work_ms: float, *, broken: bool) -> int:
        """Return by how many steps to go down (1) or up (-1), or 0; the level is then changed.

        Args:
            age_ms: of the frame at its result.
            work_ms: of that, what the network took.
        """
        if broken and self.level + 1 < len(self._costs_ms):
            self._note_failed_return(at_ns)
            return self._go(1)
        if self.level and self._may_return(at_ns, age_ms, work_ms):
            self._up_at_ns = at_ns
            return self._go(-1)
        return 0

    def expected_ms(self, age_ms: float, work_ms: float) -> float:
        """What the age would be with the next larger network, which is slowed down as much."""
        slower = self._costs_ms[self.level - 1] / self._costs_ms[self.level]
        return age_ms + work_ms * (slower - 1)

    def _may_return(self, at_ns: int, age_ms: float, work_ms: float) -> bool:
        self._above.add(at_ns, self.expected_ms(age_ms, work_ms))
        if self._above.broken(self._budget.late_share):
            self._good_since_ns = None
            return False
        if self._good_since_ns is None:
            self._good_since_ns = at_ns
        return at_ns - self._good_since_ns >= self._hold_s * NS_PER_S

    def _note_failed_return(self, at_ns: int) -> None:
        """Wait longer after a return that did not last as long as it had been waited for."""
        if self._up_at_ns is None:
            return
        lasted = at_ns - self._up_at_ns >= self._hold_s * NS_PER_S
        self._hold_s = self._budget.recover_s if lasted else min(2 * self._hold_s, LONGEST_HOLD_S)
        self._up_at_ns = None

    def _go(self, steps: int) -> int:
        self.level += steps
        self._above.clear()
        self._good_since_ns = None
        return steps
