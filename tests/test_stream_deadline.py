"""The deadline: the verdict, over all results and at the moment, and steps between networks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import UsageError
from edgecnn.stream.deadline import LONGEST_HOLD_S, Budget, Deadline, Ladder, Window

SECOND_NS = 1_000_000_000
PERIOD_NS = SECOND_NS // 30
BUDGET = Budget(limit_ms=50, percentile=95, patience_s=2, recover_s=10)


@pytest.mark.parametrize(
    "wrong",
    [{"limit_ms": 0}, {"limit_ms": 1, "percentile": 0}, {"limit_ms": 1, "percentile": 101},
     {"limit_ms": 1, "patience_s": 0}, {"limit_ms": 1, "recover_s": -1}],
)  # fmt: skip
def test_a_budget_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Budget(**wrong)


@given(st.lists(st.floats(0.1, 200), min_size=1, max_size=300))
def test_the_verdict_is_that_of_counting(ages: list[float]) -> None:
    deadline = Deadline(BUDGET)
    for number, age in enumerate(ages):
        deadline.add(number * PERIOD_NS, age)
    late = sum(age > 50 for age in ages)
    assert deadline.late == late
    assert deadline.passed == (late <= (1 - 0.95) * len(ages))


def test_no_result_is_no_pass() -> None:
    assert not Deadline(BUDGET).passed


@given(st.lists(st.tuples(st.integers(1, 10**9), st.booleans()), max_size=200))
def test_a_window_counts_what_is_in_it(steps: list[tuple[int, bool]]) -> None:
    window, now, seen = Window(limit_ms=10, seconds=1), 0, []
    for passed_ns, over in steps:
        now += passed_ns
        seen.append((now, over))
        window.add(now, 20 if over else 5)
        inside = [late for at, late in seen if at >= now - SECOND_NS]
        assert window.broken(0.05) == (sum(inside) >= 3 and sum(inside) > 0.05 * len(inside))


class Run:
    """A stream whose network takes what the test says, in ms."""

    def __init__(self, *costs_ms: float, budget: Budget = BUDGET) -> None:
        self.costs_ms, self.slowness = costs_ms, 1.0
        self.deadline, self.ladder = Deadline(budget), Ladder(costs_ms, budget)
        self.now_ns, self.steps = 0, list[tuple[float, int]]()

    def go(self, seconds: float, slowness: float) -> None:
        until_ns = self.now_ns + seconds * SECOND_NS
        while self.now_ns < until_ns:
            self.now_ns += PERIOD_NS
            work_ms = self.costs_ms[self.ladder.level] * slowness
            self.deadline.add(self.now_ns, work_ms + 10)
            step = self.ladder.judge(
                self.now_ns, work_ms + 10, work_ms, broken=self.deadline.broken
            )
            if step:
                self.deadline.restart()
                self.steps.append((self.now_ns / SECOND_NS, step))


def test_it_steps_down_within_the_patience_and_up_once_there_is_time() -> None:
    run = Run(30, 15)
    run.go(10, 1.0)
    assert run.steps == []
    run.go(10, 2.0)  # 70 ms old with the large network, 40 with the small one
    ((at, step),) = run.steps
    assert step == 1
    assert 10 < at <= 12
    run.go(9, 1.0)
    assert len(run.steps) == 1, "not before the time to recover is over"
    run.go(3, 1.0)
    assert [step for _, step in run.steps] == [1, -1]


def test_it_stays_small_while_the_large_one_would_be_late() -> None:
    run = Run(30, 15)
    run.go(5, 2.0)
    run.go(300, 1.3)  # the large one would take 39 + 10 of 50 ms: no room
    assert [step for _, step in run.steps] == [1]


def test_a_return_that_fails_makes_the_next_come_later() -> None:
    run = Run(30, 15)
    for _ in range(12):
        run.go(3, 2.0)
        while run.ladder.level:
            run.go(1, 1.0)
    ups = [at for at, step in run.steps if step == -1]
    downs = [at for at, step in run.steps if step == 1]
    waits = [up - down for up, down in zip(ups, downs, strict=True)]
    assert waits[1] > 1.5 * waits[0]
    assert max(waits) < LONGEST_HOLD_S + 10
    run.go(700, 1.0)
    run.go(3, 2.0)
    assert run.ladder.level == 1
    start = run.now_ns
    while run.ladder.level:
        run.go(1, 1.0)
    assert (run.now_ns - start) / SECOND_NS < 15, "a return that lasted makes it quick again"


def test_several_networks_are_gone_through_one_by_one() -> None:
    run = Run(30, 15, 5)
    run.go(10, 6.0)
    assert [step for _, step in run.steps] == [1, 1]
    run.go(60, 1.0)
    assert run.ladder.level == 0


def test_one_late_frame_changes_nothing() -> None:
    run = Run(30, 15)
    run.go(1, 1.0)
    run.go(0.03, 5.0)
    run.go(5, 1.0)
    assert run.steps == []
