"""Calibrating: what is measured is kept, goes on after an interruption, and predicts."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import latency_law
import numpy as np
import pytest

from edgecnn import families, latency
from edgecnn.errors import DataError, MeasurementError, UsageError
from edgecnn.latency import graphs
from edgecnn.latency.calibrate import (
    CHECK_TIMES,
    Request,
    calibrate,
    check_networks,
)
from edgecnn.latency.fit import Fitted
from edgecnn.latency.journal import Journal
from edgecnn.latency.learnt import Learnt
from edgecnn.latency.model import Model
from edgecnn.latency.sample import NodeTime, Sample, calm, undisturbed
from edgecnn.latency.sampler import Sampler, places
from edgecnn.latency.table import Errors, Table

pytest.importorskip("lightgbm", reason="needs edgecnn[calibrate]")


@pytest.fixture(scope="module")
def paper() -> latency_law.Paper:
    return latency_law.Paper()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, paper: latency_law.Paper) -> Table:
    return latency_law.table(tmp_path_factory.mktemp("table"), paper)


def test_the_zoo_is_predicted_though_none_of_it_was_fitted(table: Table) -> None:
    assert table.errors.networks is not None
    assert table.errors.networks.networks >= 20
    assert table.errors.networks.median < 0.05
    assert {one.checks for one in table.samples} == {True, False}


def test_a_prediction_is_near_the_law(table: Table) -> None:
    predictor, paper = latency.Predictor(table), latency_law.Paper()
    for name in ("mobilenet_v2", "mobilenet_v2@w0.75,r160", "efficientnet_lite0", "mnasnet_a1"):
        spec = families.get(name)
        assert predictor.predict(spec) == pytest.approx(paper.latency_ms(spec), rel=0.12)


def test_row_by_row_and_operator_by_operator_agree(table: Table) -> None:
    predictor = latency.Predictor(table)
    for name in ("mobilenet_v3_small", "efficientnet_b0", "mobilenet_v4_conv_small"):
        spec = families.get(name)
        estimate = predictor.estimate(spec)
        assert predictor.predict(spec) == pytest.approx(estimate.latency_ms, rel=1e-9)
        assert sum(one.ms for one in estimate.layers) + table.model.run_ms == pytest.approx(
            estimate.latency_ms
        )
        low, high = estimate.interval_ms
        assert low < estimate.latency_ms < high


def test_tables_are_checked_on_the_networks_that_the_shipped_ones_were() -> None:
    """Whatever else the zoo has: figures of tables stay comparable."""
    names = [spec.name for spec in check_networks()]
    assert len(names) == 67
    assert names[:3] == ["mobilenet_v2@w0.35", "efficientnet_lite1", "mnasnet_b1@w0.75"]
    digest = hashlib.sha256(" ".join(names).encode()).hexdigest()
    assert digest == "253b7c89b194e1f04bf9569ef44af1b4ae13b4108166369cb5cfceb8cb293a71"


def test_intervals_hold_what_they_say(table: Table) -> None:
    predictor, paper = latency.Predictor(table), latency_law.Paper()
    held = []
    for spec in check_networks():
        low, high = predictor.estimate(spec, force=True).interval_ms
        held.append(low <= paper.latency_ms(spec) <= high)
    assert np.mean(held) > 0.8


def test_a_network_of_operators_that_were_not_seen_is_refused(table: Table) -> None:
    predictor = latency.Predictor(table)
    spec = families.get("mobilenet_v2")
    rows = tuple(
        replace(row, activation="gelu") if row.kind == "mbconv" else row for row in spec.blocks
    )
    strange = replace(spec, name="strange", blocks=rows)
    with pytest.raises(latency.OutsideTableError, match="gelu"):
        predictor.predict(strange)
    with pytest.raises(latency.OutsideTableError, match="strange"):
        predictor.estimate(strange)
    forced = predictor.estimate(strange, force=True)
    assert "gelu" in forced.unknown_ops and 0 < forced.unknown_share < 1


def test_a_network_of_sizes_that_were_not_seen_is_refused(table: Table) -> None:
    huge = families.get("efficientnet_b0").scaled(6.0, 1.0, 1024)
    with pytest.raises(latency.OutsideTableError, match="beyond the sizes"):
        latency.Predictor(table).predict(huge)


def test_a_table_comes_out_of_its_file_as_it_went_in(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    again = latency.load(path)
    assert again.table.to_dict() == table.to_dict()
    spec = families.get("mobilenet_v2")
    assert again.predict(spec) == latency.Predictor(table).predict(spec)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"source": "guessed"},
        {"precision": "w8a8"},
        {"model": {}},
        {"samples": [{"spec": "x"}]},
        {"errors": None},
    ],
)
def test_a_damaged_table_is_refused(
    table: Table, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table.to_dict() | change))
    with pytest.raises(DataError, match=r"table\.json.*Calibrate again"):
        latency.load(path)


def test_coefficients_that_do_not_fit_the_kinds_are_refused(table: Table, tmp_path: Path) -> None:
    document = table.to_dict()
    document["model"]["kinds"].append("conv/Another")
    path = tmp_path / "table.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="coefficients"):
        latency.load(path)


def test_an_interrupted_calibration_goes_on_with_every_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.latency.fit.ROUNDS", 20)  # it is quick; how good does not matter
    stopped = latency_law.Paper(stop_after=100)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        # The last networks are then chosen by what a first fit does not know.
        patch.setattr("edgecnn.latency.calibrate.FIRST_FIT", 70)
        latency_law.table(tmp_path, stopped, target_error=0.0)
    whole = latency_law.table(tmp_path)
    assert len(whole.samples) > 100
    assert [one.network.name for one in whole.samples[:100]] == stopped.measured


def test_half_a_line_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    path, paper = tmp_path / "samples", latency_law.Paper()
    with Journal(path, {"device": "paper"}) as journal:
        for spec in check_networks()[:3]:
            journal.add(paper.measure(spec))
    path.write_bytes(path.read_bytes()[:-20])
    with Journal(path, {"device": "paper"}) as journal:
        assert len(journal.samples) == 2
        journal.add(paper.measure(check_networks()[5]))
    with Journal(path, {"device": "paper"}) as journal:
        assert len(journal.samples) == 3


def test_samples_of_another_device_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "samples"
    Journal(path, {"device": "paper"}).close()
    with pytest.raises(UsageError, match="stone"):
        Journal(path, {"device": "stone"})


@pytest.mark.parametrize(
    "text", ["{}\nnonsense\n", "[1]\n", "\xff\n", '{"schema":1}\n{"spec":3}\n']
)
def test_what_is_no_journal_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "samples"
    path.write_text(text, encoding="latin-1")
    with pytest.raises((DataError, UsageError), match="samples"):
        Journal(path, {})


def test_disturbed_samples_are_left_out() -> None:
    specs = check_networks()[:4]
    quiet = [Sample.taken(spec, 5.0, (3.0, 3.0), 20) for spec in specs]
    slow = Sample.taken(specs[0], 9.0, (3.0, 5.0), 20)
    never_quiet = Sample.taken(check_networks()[5], 9.0, (5.0, 5.0), 20)
    assert calm([slow, *quiet, never_quiet]) == quiet
    assert undisturbed([slow, *quiet, never_quiet], 1.0) == quiet


def test_a_network_that_was_measured_often_has_its_median() -> None:
    spec, other = check_networks()[:2]
    often = [Sample.taken(spec, ms, (3.0, 3.0), 20) for ms in (5.0, 5.2, 7.0)]
    once = Sample.taken(other, 2.0, (3.0, 3.0), 20)
    assert [one.latency_ms for one in undisturbed([*often, once], 1.0)] == [5.2, 2.0]


def test_samples_at_the_usual_pace_count_before_others() -> None:
    spec, *others = check_networks()[:5]
    quiet = [Sample.taken(other, 5.0, (3.0, 3.0), 20) for other in others]
    slower = [Sample.taken(spec, 9.0, (4.2, 4.2), 20) for _ in range(2)]
    usual = Sample.taken(spec, 5.0, (3.0, 3.0), 20)
    assert undisturbed([*slower, usual, *quiet], 1.0)[0].latency_ms == 5.0
    assert undisturbed([*slower, *quiet], 1.0)[0].latency_ms == pytest.approx(9 * 3 / 4.2)


@pytest.mark.parametrize("felt", [0.0, 0.5, 1.0])
def test_a_latency_at_another_pace_is_brought_to_the_quiet_one(felt: float) -> None:
    first, *others = check_networks()[:5]
    quiet = [Sample.taken(spec, 5.0, (3.0, 3.0), 20) for spec in others]
    slower = Sample.taken(first, 5.0, (3.3, 3.3), 20)
    found = undisturbed([slower, *quiet], felt)[0].latency_ms
    assert found == pytest.approx(5.0 / 1.1**felt)


def test_what_held_out_networks_say_of_the_pace() -> None:
    """Samples that were rid of 0.7 of a pace of which networks felt 1.1."""
    quiet_ms, specs = 3.0, check_networks()[:40]
    true_ms = np.linspace(1.0, 30.0, len(specs))
    paces = quiet_ms * np.where(np.arange(len(specs)) % 3 == 0, 1.45, 1.0)
    samples = tuple(
        Sample.taken(spec, ms * (pace / quiet_ms) ** (1.1 - 0.7), (pace, pace), 20)
        for spec, ms, pace in zip(specs, true_ms, paces, strict=True)
    )
    noise = np.array([1.01, 0.99] * (len(specs) // 2))
    empty = Model("fp32", (), (), np.empty((0, 2, 5)), ())
    found = Learnt(Fitted(empty, true_ms * noise), samples, felt=0.7)
    assert found.felt_by_held_out(quiet_ms) == pytest.approx(1.1, abs=0.02)


def test_networks_that_are_checked_have_more_bursts(table: Table, paper: latency_law.Paper) -> None:
    checked = {sample.network.name for sample in table.samples if sample.checks}
    assert {paper.times[name] for name in checked} == {CHECK_TIMES}
    assert {times for name, times in paper.times.items() if name not in checked} == {1}


def test_the_zoo_is_measured_in_rounds_once_the_time_is_over(tmp_path: Path) -> None:
    """After an interruption in the second round, the rest of it follows."""
    over = 1e-9
    with pytest.raises(KeyboardInterrupt):
        latency_law.table(tmp_path, latency_law.Paper(stop_after=75))
    with pytest.raises(KeyboardInterrupt):
        latency_law.table(tmp_path, latency_law.Paper(stop_after=90), over, check_rounds=2)
    found = latency_law.table(tmp_path, minutes=over, check_rounds=2)
    times = Counter(sample.spec for sample in found.samples if sample.checks)
    assert times == {str(spec): 2 for spec in check_networks()}
    assert len(found.samples) == 67 + sum(times.values())
    in_time, in_rounds = found.samples[:75], found.samples[75:]
    assert all(sample.seconds > 0 for sample in in_time)
    assert not any(sample.seconds for sample in in_rounds), "more minutes are for more networks"


def test_the_zoo_is_not_measured_for_a_table_of_too_few_networks(tmp_path: Path) -> None:
    paper = latency_law.Paper()
    with pytest.raises(MeasurementError, match="allow more minutes"):
        latency_law.table(tmp_path, paper, minutes=1e-9, check_rounds=2)
    assert len(paper.measured) < 10


def test_too_many_rounds_are_refused() -> None:
    with pytest.raises(UsageError, match="101 rounds; allowed: 0 to 100"):
        Request("ort", check_rounds=101)


def test_too_little_time_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="allow more minutes"):
        latency_law.table(tmp_path, minutes=1e-4)


@pytest.mark.parametrize(
    ("runtime", "precision", "told"),
    [("ort", "w8a32", "w8a32"), ("nonsense", "fp32", "nonsense"), ("ncnn", "fp32", "ncnn")],
)
def test_what_cannot_be_written_cannot_be_calibrated(
    runtime: str, precision: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        Request(runtime, precision)


@pytest.mark.parametrize("wrong", [{"minutes": 0}, {"minutes": 1e9}, {"target_error": 3.0}])
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Request("ort", **wrong)  # type: ignore[arg-type]


def test_errors_are_those_of_algebra() -> None:
    errors = Errors.of([1.0, 2.16, 3.0, 4.0], [1.0, 2.0, 4.0, 4.1])
    assert errors.networks == 4
    assert errors.median == pytest.approx((0.08 + 0.1 / 4.1) / 2)
    assert errors.within_5 == 0.5
    assert errors.within_10 == pytest.approx(0.75)


def test_small_machines_are_measured_on_all_processors() -> None:
    from edgecnn.environment import Environment

    here = Environment.now()
    assert places(here, 10_000) == ("all",)
    if here.clusters:
        last = here.clusters[-1].cpus[-1]
        assert places(replace(here, pinned=(last,)), 1) == (str(last),)
    assert all(len(place.split(",")) == 1 for place in places(here, 1) if place != "all")


def test_formats_are_those_that_the_runtime_reads() -> None:
    assert graphs.format_for("ort", "w8a8") == "onnx"
    assert graphs.format_for("litert", "fp32") == "tflite"


def test_nodes_that_are_not_the_networks_are_told_and_not_learnt_from(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.latency.fit.ROUNDS", 100)
    paper = latency_law.Paper()
    paper.nodes = (NodeTime("RESIZE", 1.0),)
    strange = latency_law.table(tmp_path, paper)
    assert any("other nodes" in note for note in strange.notes)
    assert not any("other nodes" in note for note in table.notes)
    assert strange.errors.designed.median < 0.2


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("runtime", ["ort", "litert"])
def test_this_machine_is_calibrated_and_predicted(
    tmp_path: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the error is small, which is looked at early."""
    monkeypatch.setattr("edgecnn.latency.calibrate.FIRST_FIT", 100)
    request = Request(runtime, minutes=3, target_error=0.2)
    table = calibrate(request, tmp_path / "samples")
    assert len(table.samples) > 60
    assert table.errors.designed.median < 0.25
    predictor = latency.Predictor(table)
    # On a busy machine what is kept of so few networks may not reach as far as these.
    small, large = (
        predictor.estimate(families.get("mobilenet_v2").scaled(width), force=True).latency_ms
        for width in (0.5, 1.0)
    )
    assert 0 < small < large


def test_a_sampler_refuses_what_it_cannot_write() -> None:
    from edgecnn.device import LOCAL
    from edgecnn.devices.local import LocalHost

    with LocalHost() as host, pytest.raises(UsageError, match="ncnn"):
        Sampler(host, LOCAL, "ncnn", "fp32", 1)
