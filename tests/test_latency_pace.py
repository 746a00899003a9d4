"""How much networks feel of the reference's pace is learnt from them all."""

import numpy as np
import pytest

from edgecnn.latency import pace


def _measured(felt: float, count: int = 400, spread: float = 0.2) -> tuple[list[float], ...]:
    """Latencies of networks on a machine whose pace varies, rough predictions of them, paces."""
    random = np.random.default_rng(7)
    quiet_ms = np.exp(random.uniform(-1, 4, count))
    paces = 3.0 * np.exp(np.abs(random.normal(0, spread, count)))
    rough_ms = quiet_ms * np.exp(random.normal(0.05, 0.15, count))
    return (quiet_ms * (paces / 3.0) ** felt).tolist(), rough_ms.tolist(), paces.tolist()


@pytest.mark.parametrize("felt", [0.0, 0.5, 0.9, 1.2])
def test_what_networks_feel_is_found(felt: float) -> None:
    assert pace.felt(*_measured(felt)) == pytest.approx(felt, abs=0.12)


def test_outliers_pull_little() -> None:
    latencies, rough, paces = _measured(1.0)
    for at in range(0, 400, 20):
        latencies[at] *= 20
    assert pace.felt(latencies, rough, paces) == pytest.approx(1.0, abs=0.15)


def test_a_calm_machine_says_nothing_of_it() -> None:
    assert pace.felt(*_measured(0.0, spread=0.002)) == pytest.approx(pace.USUAL, abs=0.1)
    assert pace.felt([1.0], [1.0], [3.0]) == pace.USUAL
    assert pace.felt([1.0, 2.0], [1.0, 2.0], [3.0, 3.0]) == pace.USUAL


def test_no_network_gets_faster_where_the_reference_is_slower() -> None:
    assert pace.felt(*_measured(-1.0)) == 0.0
