"""Fitting a latency model: it finds the law that made the latencies."""

import json
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.encoding import NOWHERE, Encoder, Signature, features, placed, touched_bytes
from edgecnn.fusion import Target
from edgecnn.latency import design, figures
from edgecnn.latency.fit import Fitted, fit, rough_ms
from edgecnn.latency.forest import Forest, Growing
from edgecnn.latency.model import Model

lightgbm = pytest.importorskip("lightgbm", reason="needs edgecnn[calibrate]")

SMALL = design.Ranges(rows=(1, 3), resolution=(16, 96))
RUN_MS = 0.05


def law_ms(of: Signature) -> float:
    """A latency that no linear sum is: throughput grows with the channels, up to a limit."""
    f = features(of, "fp32")
    rate = min(1.0, 0.3 + f.channels_out / 128)
    return 0.002 + f.macs / 20e6 / rate + (f.input_bytes + f.output_bytes) / 12e6


def drawn(encoder: Encoder, count: int, seed: int) -> list[list[int]]:
    """So many random networks, as the numbers of their operators."""
    random, networks = Random(seed), []
    for _ in range(count):
        rows = encoder.rows(design.random_spec(random, SMALL))
        networks.append([number for row in rows for number in encoder.operators[row]])
    return networks


@pytest.fixture(scope="module")
def made() -> tuple[Encoder, list[list[int]], list[float]]:
    encoder = Encoder("litert", Target("fp32"))
    networks = drawn(encoder, 160, seed=5)
    latencies = [RUN_MS + sum(law_ms(encoder.signatures[n]) for n in one) for one in networks]
    return encoder, networks, latencies


@pytest.fixture(scope="module")
def fitted(made: tuple[Encoder, list[list[int]], list[float]]) -> Fitted:
    encoder, networks, latencies = made
    return fit(networks, latencies, encoder.signatures, "fp32")


def test_networks_that_were_held_out_are_predicted(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    errors = np.abs(fitted.held_out_ms / np.array(made[2]) - 1)
    assert np.median(errors) < 0.06
    assert np.quantile(errors, 0.9) < 0.2


@pytest.mark.parametrize("figure", ["touched", "weights"])
def test_what_a_network_touches_is_learnt(
    made: tuple[Encoder, list[list[int]], list[float]], figure: str
) -> None:
    """The same operator takes twice as long where its network touches more than the caches hold."""
    encoder, networks, latencies = made
    placed_networks = [placed([encoder.signatures[n] for n in one], "fp32") for one in networks]
    known = sorted({one for network in placed_networks for one in network})
    at = {one: number for number, one in enumerate(known)}
    placed_numbers = [[at[one] for one in network] for network in placed_networks]
    sizes = np.array([getattr(network[0].place, figure) for network in placed_networks])
    slower = np.where(sizes > np.median(sizes), 2, 1) * latencies
    with_place = fit(placed_numbers, slower, known, "fp32").held_out_ms
    without = fit(networks, slower, encoder.signatures, "fp32").held_out_ms
    errors = [float(np.median(np.abs(one / slower - 1))) for one in (with_place, without)]
    assert errors[0] < 0.08
    assert errors[0] < 0.7 * errors[1]


def test_operators_are_placed_by_what_the_whole_network_touches() -> None:
    conv = Signature("conv", "", "none", (8, 4, 4), (), (16, 4, 4), 1, 1, 1, 1, 1)
    pool = Signature("avgpool", "", "none", (16, 4, 4), (), (16, 1, 1), 1, 1, 1, 1, 1)
    moved, weights = 8 * 16 + 16 * 16, 16 * (8 + 1)
    assert touched_bytes([conv], "fp32") == (4 * (moved + weights), 4 * weights)
    assert touched_bytes([conv, conv], "w8a8") == (2 * (moved + 16 * (8 + 4)), 2 * 16 * (8 + 4))
    assert touched_bytes([pool], "w8a8") == (16 * 16 + 16, 0)
    one, two = placed([conv], "fp32"), placed([conv] * 2, "fp32")
    assert two[0].place == (one[0].place.touched + 2, one[0].place.weights + 2)  # an octave more
    assert two[0]._replace(place=NOWHERE) == conv


def test_disturbed_measurements_change_little(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    encoder, networks, latencies = made
    random = Random(3)
    disturbed = [ms * (1.7 if random.random() < 0.05 else 1) for ms in latencies]
    again = fit(networks, disturbed, encoder.signatures, "fp32")
    errors = np.abs(again.held_out_ms / np.array(latencies) - 1)
    assert np.median(errors) < 4 * np.median(np.abs(fitted.held_out_ms / latencies - 1))
    assert np.median(errors) < 0.04


def test_the_same_data_give_the_same_model(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    encoder, networks, latencies = made
    again = fit(networks, latencies, encoder.signatures, "fp32")
    assert again.model.to_dict() == fitted.model.to_dict()


def test_a_model_comes_out_of_json_as_it_went_in(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    signatures = made[0].signatures
    again = Model.from_dict(json.loads(json.dumps(fitted.model.to_dict())))
    assert np.array_equal(again.members_ms(signatures), fitted.model.members_ms(signatures))


def test_operators_of_an_unknown_kind_are_outside(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    known = made[0].signatures[0]
    assert not fitted.model.outside([known])[0]
    unknown = known._replace(op="deform_conv")
    assert fitted.model.outside([unknown])[0]
    assert fitted.model.operators_ms([unknown])[0] == 0


def test_operators_beyond_what_was_seen_are_outside(
    made: tuple[Encoder, list[list[int]], list[float]], fitted: Fitted
) -> None:
    conv = next(one for one in made[0].signatures if one.op == "conv")
    channels, height, width = conv.in_shape
    huge = conv._replace(in_shape=(channels * 1000, height, width))
    assert fitted.model.outside([huge, conv]).tolist() == [True, False]


def test_the_trees_are_lightgbms() -> None:
    rows = np.random.default_rng(0).uniform(size=(400, 4))
    target = rows[:, 0] * 3 + (rows[:, 1] > 0.5) - rows[:, 2] ** 2
    booster = lightgbm.train(
        {"verbose": -1, "num_leaves": 9, "boost_from_average": False},
        lightgbm.Dataset(rows, target),
        30,
    )
    growing = Growing([], [])
    for tree in booster.dump_model()["tree_info"]:
        growing.add(tree["tree_structure"])
    assert np.allclose(growing.done().predict(rows), booster.predict(rows), atol=1e-12)


def stump(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "roots": [0], "feature": [0, 0, 0], "threshold": [0.5, 0.0, 0.0],
        "left": [1, 1, 2], "right": [2, 1, 2], "value": [0.0, -1.0, 1.0], "depth": 1,
    }  # fmt: skip
    return whole | changes


def test_a_stump_decides() -> None:
    forest = Forest.from_dict(stump())
    assert forest.predict(np.array([[0.5], [0.6]])).tolist() == [-1.0, 1.0]
    assert Forest.from_dict(forest.to_dict()).to_dict() == stump()


@pytest.mark.parametrize(
    "changes",
    [
        {"left": [0, 1, 2]},
        {"left": [9, 1, 2]},
        {"right": [-1, 1, 2]},
        {"roots": [3]},
        {"roots": [-1]},
        {"value": [0.0, float("nan"), 1.0]},
        {"threshold": [0.5]},
        {"depth": -1},
        {"feature": "0"},
    ],
)
def test_trees_that_do_not_end_or_lead_nowhere_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Forest.from_dict(stump(**changes))


def test_trees_that_look_at_a_figure_that_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        Forest.from_dict(stump(feature=[7, 0, 0])).predict(np.zeros((1, 3)))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20))
def test_a_forest_is_the_sum_of_its_trees(values: list[float]) -> None:
    one = Forest.from_dict(stump())
    twice = Forest.from_dict(stump(roots=[0, 0]))
    rows = np.array(values)[:, None]
    assert np.allclose(twice.predict(rows), 2 * one.predict(rows))


def test_the_figures_have_the_lengths_of_their_names() -> None:
    encoder = Encoder("ort", Target("w8a8"))
    encoder.rows(design.random_spec(Random(1), SMALL))
    signatures = encoder.signatures
    assert figures.linear(signatures, "w8a8").shape == (len(signatures), len(figures.LINEAR))
    assert figures.trees(signatures, "w8a8", (), ()).shape == (len(signatures), len(figures.TREES))
    assert figures.spanned([], "w8a8").shape == (0, len(figures.SPANNED))


def test_the_sum_alone_knows_pointwise_convolutions_and_those_of_few_channels() -> None:
    """Pointwise ones compute faster, as they gather nothing; fewer than 16 channels cost extra."""
    encoder = Encoder("litert", Target("fp32"))
    networks = drawn(encoder, 160, seed=7)

    def true_ms(of: Signature) -> float:
        f = features(of, "fp32")
        is_few = of.op == "conv" and f.channels_out < 16
        rate = 80e6 if of.area == 1 else 20e6
        return 0.002 + f.macs / rate + 2e-4 * f.height_out * f.width_out * is_few

    latencies = [sum(true_ms(encoder.signatures[one]) for one in network) for network in networks]
    predicted = rough_ms(networks, latencies, encoder.signatures, "fp32")
    assert np.median(np.abs(predicted / latencies - 1)) < 0.01


def test_nodes_tell_apart_operators_that_always_come_together() -> None:
    """Their sum alone cannot say which of two operators takes the time; the profiler can."""
    encoder = Encoder("litert", Target("fp32"))
    networks = drawn(encoder, 80, seed=6)
    pooling = {at for at, one in enumerate(encoder.signatures) if one.op == "global_pool"}
    linear = {at for at, one in enumerate(encoder.signatures) if one.op == "linear"}
    assert all(pooling & set(one) and linear & set(one) for one in networks)

    def true_ms(number: int) -> float:
        return law_ms(encoder.signatures[number]) + (0.3 if number in pooling else 0)

    nodes = [np.array([true_ms(number) for number in one]) for one in networks]
    latencies = [float(one.sum()) for one in nodes]
    errors = []
    for told in (None, nodes):
        found = fit(networks, latencies, encoder.signatures, "fp32", nodes_ms=told).model
        at = sorted(pooling)
        predicted = found.operators_ms([encoder.signatures[number] for number in at])
        errors.append(np.median(np.abs(predicted / [true_ms(number) for number in at] - 1)))
    assert errors[0] > 0.5
    assert errors[1] < 0.1
