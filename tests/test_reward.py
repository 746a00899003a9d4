"""MnasNet's reward against its paper, and the Pareto front against the definition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import UsageError
from edgecnn.reward import Reward, front

accuracies = st.floats(0, 100)
latencies = st.floats(1e-3, 1e4)
rewards = st.builds(Reward, latencies, st.floats(-2, 0), st.floats(-2, 0))
points = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 7)), max_size=30)


def test_figure_3_of_the_paper() -> None:
    """Accuracy 0.5, T = 80 ms: the hard curve is flat up to T and halves at twice T."""
    hard, soft = Reward.hard(80), Reward.soft(80)
    assert [hard(0.5, ms) for ms in (20, 80, 160)] == pytest.approx([0.5, 0.5, 0.25])
    assert [soft(0.5, ms) for ms in (80, 160)] == pytest.approx([0.5, 0.5 * 2**-0.07])


def test_soft_is_the_default_and_its_exponent_is_the_papers_rule() -> None:
    """Twice the latency for 5 % more accuracy leaves the reward about where it was."""
    reward = Reward(75)
    assert reward == Reward.soft(75)
    assert reward(1.05 * 70, 150) == pytest.approx(reward(70, 75), rel=0.001)


@given(rewards, accuracies, accuracies, latencies)
def test_more_accuracy_is_never_worse(
    reward: Reward, one: float, other: float, latency_ms: float
) -> None:
    low, high = sorted((one, other))
    assert reward(low, latency_ms) <= reward(high, latency_ms)


@given(rewards, accuracies, latencies, latencies)
def test_more_latency_is_never_better(
    reward: Reward, accuracy: float, one: float, other: float
) -> None:
    fast, slow = sorted((one, other))
    assert reward(accuracy, slow) <= reward(accuracy, fast) * (1 + 1e-12)


@given(rewards, accuracies)
def test_continuous_at_the_target(reward: Reward, accuracy: float) -> None:
    target_ms = reward.target_ms
    assert reward(accuracy, target_ms) == accuracy
    above = reward(accuracy, math.nextafter(target_ms, math.inf))
    assert above == pytest.approx(accuracy, rel=1e-12)


@given(rewards, accuracies, latencies, st.floats(1e-3, 1e3))
def test_only_the_ratio_of_latency_to_target_counts(
    reward: Reward, accuracy: float, latency_ms: float, factor: float
) -> None:
    scaled = Reward(factor * reward.target_ms, reward.alpha, reward.beta)
    same = reward(accuracy, latency_ms)
    assert scaled(accuracy, factor * latency_ms) == pytest.approx(same, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("target_ms", [0, -1, math.nan, math.inf])
def test_a_target_without_sense(target_ms: float) -> None:
    with pytest.raises(UsageError, match="target"):
        Reward(target_ms)


def test_an_exponent_that_rewards_latency() -> None:
    with pytest.raises(UsageError, match=r"beta 0\.1"):
        Reward(10, 0, 0.1)


@pytest.mark.parametrize("figures", [(-1, 5), (50, 0), (50, math.nan), (math.nan, 5)])
def test_figures_without_sense(figures: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="accuracy"):
        Reward(10)(*figures)


@given(points)
def test_the_front_is_what_nothing_beats(items: list[tuple[int, int]]) -> None:
    def beaten(item: tuple[int, int]) -> bool:
        return any(o[0] >= item[0] and o[1] <= item[1] and o != item for o in items)

    found = front(items, lambda item: item)
    assert sorted(found) == sorted(item for item in items if not beaten(item))
    assert [item[1] for item in found] == sorted(item[1] for item in found)
