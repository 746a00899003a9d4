"""`edgecnn search`: from a space to files beside stock networks; and what is refused."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import stand_in_table
import tiny_pictures
from click.testing import CliRunner, Result

from edgecnn import train
from edgecnn.artifact import Artifact
from edgecnn.cli import main
from edgecnn.search import Pace

SPACE = """
family = "small"
resolution = 16
rows = [
  "stem_k3_s2_{stem:c8|c16}_relu",
  "mbconv_{layers:r1|r2}_{kernel:k3|k5}_s2_e3_{channels:c8|c16|c24}_relu",
  "pool",
  "linear_c10",
]
"""


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_table.install(monkeypatch)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures in two parts, as CIFAR-10 has them."""
    tiny_pictures.write(tmp_path / "data" / "train", 20)
    tiny_pictures.write(tmp_path / "data" / "test", 5)
    return tmp_path / "data"


def _run(tmp_path: Path, *arguments: object, table: bool = True) -> Result:
    given = ["--table", str(stand_in_table.file(tmp_path))] if table else []
    common = ["--workdir", str(tmp_path / "work"), "--epochs", "1", "--batch", "8"]
    return CliRunner().invoke(
        main, ["search", *map(str, arguments), *given, *common, "--held-out", "9"]
    )


def _document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_search_goes_on_draws_and_ends_in_a_table(
    tmp_path: Path, space: Path, data: Path
) -> None:
    plot = tmp_path / "live.svg"
    common = ("--space", space, "--target-ms", 2, "--data", data, "--sampler", "random",
              "--plot", plot, "--search-only")  # fmt: skip
    first = _run(tmp_path, *common, "--networks", 2)
    assert first.exit_code == 0, first.output
    assert "2 of 2 networks judged, best" in first.stderr
    assert "the front" in first.stderr and "left" in first.stderr
    assert "output stride 4" in first.stderr
    drawn = plot.read_text()
    ElementTree.fromstring(drawn)  # noqa: S314 (our own file)
    found = _document(_run(tmp_path, *common, "--networks", 4, "--json"))
    assert found["judged"] == 4 and found["files"] == []
    assert plot.read_text() != drawn
    assert {one["latency_kind"] for one in found["best"]} == {"predicted"}


@pytest.mark.slow
def test_the_best_become_files_beside_stock_networks(
    tmp_path: Path, space: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("--space", space, "--target-ms", 4, "--data", data, "--networks", 3, "--best", 2)
    found = _document(_run(tmp_path, *common, "--json"))
    rows = found["files"]
    assert [row["origin"] for row in rows].count("found") == 2
    stock = [row for row in rows if row["origin"] == "stock"]
    assert stock and all(row["latency_ms"] <= 4 for row in stock)
    for row in rows:
        assert row["problem"] is None
        assert row["images"] == 15 and row["tested_on"] == "the test pictures of the data"
        assert row["measured_ms"] > 0
        contract = Artifact.load(Path(row["artifact"])).required_contract()
        assert contract.precision == "w8a8" and contract.output.labels == ("blue", "green", "red")
    best = {one["name"]: one["top1"] for one in found["best"]}
    for row in rows:
        if row["origin"] == "found":
            assert row["proxy_top1"] == best[row["name"]]  # the same weights as in the search
    monkeypatch.setattr(train, "fit", None)  # all of it is remembered
    again = _run(tmp_path, *common)
    assert again.exit_code == 0, again.output
    assert "measured p50" in again.stdout and "mobilenet_v3_small" in again.stdout


def test_a_table_of_another_machine_measures_nothing_and_says_so(
    tmp_path: Path, space: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_table.install(monkeypatch, device="ssh://pi@board")
    result = _run(tmp_path, "--space", space, "--target-ms", 2, "--data", data, "--networks", 1,
                  "--against", "none", "--best", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "not measured: the table is of ssh://pi@board" in result.stderr
    assert "ms (as searched)" in result.stdout


@pytest.mark.slow
def test_without_a_table_each_network_is_measured(tmp_path: Path, space: Path, data: Path) -> None:
    result = _run(tmp_path, "--space", space, "--target-ms", 5, "--data", data, "--networks", 2,
                  "--device", "local", "--search-only", "--json", table=False)  # fmt: skip
    found = _document(result)
    assert {one["latency_kind"] for one in found["best"]} == {"measured"}
    kept = [json.loads(path.read_text()) for path in (tmp_path / "work/latency").glob("*.json")]
    assert {one["latency_ms"] for one in found["best"]} <= {one["p50_ms"] for one in kept}


def test_an_impossible_target_ends_before_training(
    tmp_path: Path, space: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit", None)
    result = _run(tmp_path, "--space", space, "--target-ms", 0.001, "--data", data)
    assert result.exit_code == 4
    assert "no network of the space small meets 0.001 ms" in result.stderr


def test_a_storage_that_goes_away_ends_with_5_and_the_search_goes_on_later(
    tmp_path: Path, space: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was under way is taken up again when its worker has given no sign of life for so long.
    monkeypatch.setattr("edgecnn.search.study.Pace", lambda: Pace(0.1, 1.5, 0.05))
    storage = tmp_path / "kept" / "search.db"
    real = train.fit
    fitted = []

    def fit(*arguments: Any) -> Any:
        fitted.append(arguments[0])
        if len(fitted) == 2:
            storage.rename(tmp_path / "away.db")
        return real(*arguments)

    monkeypatch.setattr(train, "fit", fit)
    common = ("--space", space, "--target-ms", 2, "--data", data, "--networks", 8, "--sampler",
              "random", "--storage", storage, "--search-only", "--json")  # fmt: skip
    gone = _run(tmp_path, *common)
    assert gone.exit_code == 5
    assert "is gone" in gone.stderr and "the same command goes on" in gone.stderr
    (tmp_path / "away.db").rename(storage)
    found = _document(_run(tmp_path, *common))
    assert found["judged"] >= 2 and Path(storage).exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--space", "mnasnat"), 3, "did you mean mnasnet"),
        (("--sampler", "luck"), 2, "unknown sampler 'luck'"),
        (("--aim", "high"), 2, "unknown aim 'high'"),
        (("--plot", "live.gif"), 2, "ends in .svg"),
        (("--target-ms", -1), 2, "above 0"),
        (("--runtime", "ort"), 2, "--runtime is the table's own"),
        (("--output-stride", 3), 3, "cannot be had; allowed: 1, 2, 4"),
        (("--storage", "mysql://x@y/z"), 2, "allowed are a file"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, space: Path, data: Path, arguments: tuple[object, ...], exit_code: int,
    said: str,
) -> None:  # fmt: skip
    words = ("--space", space, "--target-ms", 2, "--data", data, "--networks", 1, *arguments)
    result = _run(tmp_path, *words)
    assert (result.exit_code, said in result.stderr) == (exit_code, True), result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistake_in_a_space_is_named_with_its_line(tmp_path: Path, data: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(SPACE.replace("k3|k5", "k3|q5"))
    result = _run(tmp_path, "--space", broken, "--target-ms", 2, "--data", data)
    assert result.exit_code == 3
    assert "line 6" in result.stderr and "'q5'" in result.stderr


def test_one_class_is_refused(tmp_path: Path, space: Path) -> None:
    data = tiny_pictures.write(tmp_path / "one", 8, classes=("red",))
    result = _run(tmp_path, "--space", space, "--target-ms", 2, "--data", data)
    assert result.exit_code == 3
    assert "one class, 'red'" in result.stderr


def test_without_a_table_or_a_device_the_way_to_one_is_told(tmp_path: Path, space: Path) -> None:
    result = _run(tmp_path, "--space", space, "--target-ms", 2, table=False)
    assert result.exit_code == 2
    assert "edgecnn calibrate" in result.stderr


def test_another_goal_is_another_study(tmp_path: Path, space: Path, data: Path) -> None:
    common = ("--space", space, "--data", data, "--networks", 1, "--search-only", "--study", "mine")
    assert _run(tmp_path, *common, "--target-ms", 2).exit_code == 0
    result = _run(tmp_path, *common, "--target-ms", 3)
    assert result.exit_code == 2
    assert "begun for another goal" in result.stderr
