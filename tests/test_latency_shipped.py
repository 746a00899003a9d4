"""The tables that come with edgecnn: published latencies, fitted, and marked as such."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgecnn import families, latency
from edgecnn.cli import main
from edgecnn.errors import DataError
from edgecnn.latency.published_table import published_table


@pytest.mark.parametrize("name", latency.shipped())
def test_a_shipped_table_is_marked_and_predicts_the_zoo(name: str) -> None:
    predictor = latency.load(Path(name))
    assert predictor.table.source == "published"
    estimate = predictor.estimate(families.get("mobilenet_v2"))
    assert estimate.latency_kind == "fitted to published"
    assert predictor.predict(families.get("mobilenet_v2")) == pytest.approx(estimate.latency_ms)
    assert estimate.interval_ms[0] < estimate.latency_ms < estimate.interval_ms[1]
    slower = predictor.predict(families.get("efficientnet_b0"))
    assert slower > estimate.latency_ms


def test_a_shipped_table_is_what_the_fit_gives() -> None:
    shipped = latency.load(Path("rpi4b-ncnn-t4")).table
    again = published_table("rpi4b-ncnn", 4)
    spec = families.get("mobilenet_v3_large")
    assert latency.Predictor(again).predict(spec) == pytest.approx(
        latency.Predictor(shipped).predict(spec), rel=1e-3
    )
    assert shipped.errors.networks is not None and again.errors.networks is not None
    assert shipped.errors.networks.median == pytest.approx(again.errors.networks.median, rel=1e-2)


def test_every_shipped_table_says_how_far_it_is_off() -> None:
    for name in latency.shipped():
        errors = latency.load(Path(name)).table.errors
        assert errors.networks is not None
        assert errors.networks.networks == len(errors.checks) >= 12


def test_a_table_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(DataError, match="rpi4b-ncnn-t4"):
        latency.load(Path("nowhere.json"))


def test_predicting_without_a_board() -> None:
    result = CliRunner().invoke(
        main, ["predict", "mobilenet_v2", "--table", "rpi4b-ncnn-t4", "--json"]
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["latency_kind"] == "fitted to published"
    assert document["unknown_ops"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--target-ms", "1"], 4, "misses 1 ms"),
        (["--target-ms", "1000"], 0, ""),
        (["--imgsz", "8"], 0, ""),
    ],
)
def test_a_limit_is_judged(arguments: list[str], code: int, told: str) -> None:
    line = ["predict", "mobilenet_v2", "--table", "rpi4b-ncnn-t4", *arguments]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == code, result.output
    assert told in result.stderr


def test_selecting_by_a_table_alone(tmp_path: Path) -> None:
    plot = tmp_path / "front.svg"
    result = CliRunner().invoke(
        main,
        ["select", "--target-ms", "60", "--table", "rpi4b-ncnn-t4", "--width", "0.75",
         "--width", "1", "--imgsz", "160", "--imgsz", "224", "--finalists", "0",
         "--plot", str(plot), "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["choice"]["latency_kind"] == "fitted to published"
    assert document["choice"]["latency_ms"] <= 60
    rivals = [row for row in document["candidates"] if row["latency_ms"] is not None
              and row["latency_ms"] <= 60 and row["top1"] is not None]  # fmt: skip
    assert document["choice"]["top1"] == max(row["top1"] for row in rivals)
    assert plot.read_text().startswith("<svg")


def test_widths_without_a_table_are_refused() -> None:
    result = CliRunner().invoke(main, ["select", "--target-ms", "60", "--width", "0.5"])
    assert result.exit_code == 2
    assert "--table" in result.stderr


def test_fitting_again_writes_the_table(tmp_path: Path) -> None:
    output = tmp_path / "mine.json"
    line = ["calibrate", "--from-published", "rpi3b+-ncnn", "--output", str(output), "--json"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["source"] == "published"
    assert latency.load(output).table.device.startswith("Raspberry Pi 3")
    again = CliRunner().invoke(main, line)
    assert again.exit_code == 2 and "--force" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from-published", "toaster"], "toaster"),
        (["--from-published", "rpi4b-ncnn", "--num-threads", "3"], "3 threads"),
        (["--from-published", "rpi5-ncnn", "--precision", "fp32"], "fp16"),
        (["--from-published", "rpi5-ncnn", "--check-rounds", "2"], "leave out"),
        ([], "--runtime"),
        (["--runtime", "ncnn"], "ncnn"),
        (["--runtime", "ort", "--minutes", "0"], "minutes"),
    ],
)
def test_impossible_calibrations_are_refused(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    line = ["calibrate", *arguments, "--output", str(tmp_path / "table.json")]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert told in result.stderr
