"""`edgecnn scale`: members, families, grids; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import stand_in_table
import tiny_pictures
from click.testing import CliRunner, Result

from edgecnn import families, scale
from edgecnn.cli import main
from edgecnn.spec import ModelSpec


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(spec: ModelSpec) -> float:
        return spec.resolution / 10 + sum(b.channels * b.repeats for b in spec.blocks) / 1e4

    stand_in_table.install(monkeypatch, functions={"pixels": wide})


def _run(tmp_path: Path, *arguments: object, table: str | None = "table.json") -> Result:
    given = [] if table is None else ["--table", str(stand_in_table.file(tmp_path, table))]
    words = [*map(str, arguments), *given, "--workdir", str(tmp_path / "work")]
    return CliRunner().invoke(main, ["scale", *words])


def _document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_member_meets_the_target_and_the_next_does_not(tmp_path: Path) -> None:
    found = _document(_run(tmp_path, "efficientnet_b0", "--target-ms", 1000, "--json"))
    member, following = found["member"], found["next"]
    assert member["latency_ms"] <= 1000 < following["latency_ms"]
    assert member["latency_kind"] == "predicted"
    assert found["coefficients"] == [1.2, 1.1, 1.15]
    published = [scale.multiply_adds(families.get(f"efficientnet_b{n}")) / 1e6 for n in range(5)]
    assert [row["latency_ms"] for row in found["family"][:5]] == pytest.approx(published)
    assert found["family"][7]["latency_ms"] is None  # B7 is beyond the stand-in table


def test_a_table_for_people_says_what_was_chosen(tmp_path: Path) -> None:
    result = _run(tmp_path, "mobilenet_v2", "--target-ms", 500)
    assert result.exit_code == 0
    assert "latency (ms), predicted" in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.lstrip().startswith(">")]) == 1


def test_several_tables_stand_side_by_side(tmp_path: Path) -> None:
    other = stand_in_table.file(tmp_path, "pixels.json")
    found = _document(_run(tmp_path, "mobilenet_v2", "--target-ms", 60, "--json", "--table", other))
    assert [one["table"].split()[0] for one in found["members"]] == ["pixels.json", "table.json"]
    names = {one["member"]["name"] for one in found["members"]}
    assert len(names) == 2
    assert all(one["member"]["latency_ms"] <= 60 for one in found["members"])


def test_the_grid_of_the_paper_and_that_of_a_latency_differ(tmp_path: Path) -> None:
    common = ("mobilenet_v2", "--grid", "--step", 0.25, "--tolerance", 0.2, "--json")
    flops = _document(_run(tmp_path, *common))["grids"]
    assert len(flops) == 1 and len(flops[0]["points"]) > 3
    for point in flops[0]["points"]:
        a, b, c = point["coefficients"]
        assert 1.6 <= a * b**2 * c**2 <= 2.4
    by_table = _document(_run(tmp_path, *common, "--constraint", "latency", table="pixels.json"))
    for point in by_table["grids"][0]["points"]:
        assert 1.6 <= point["ratio"] <= 2.4
    values = [
        {tuple(p["coefficients"]) for p in g["points"]} for g in (flops[0], by_table["grids"][0])
    ]
    assert values[0] != values[1]


@pytest.mark.slow
def test_the_grid_trains_each_network_and_its_best_scales(tmp_path: Path) -> None:
    data = tiny_pictures.write(tmp_path / "data", 10)
    found = _document(
        _run(
            tmp_path, "mobilenet_v3_small", "--imgsz", 32, "--grid", "--step", 0.4,
            "--tolerance", 0.15, "--data", data, "--epochs", 1, "--batch", 8, "--held-out", 6,
            "--target-ms", 4, "--json",
        )
    )  # fmt: skip
    points = found["grids"][0]["points"]
    assert all(0 <= point["top1"] <= 100 for point in points)
    tops = [point["top1"] for point in points]
    assert tops == sorted(tops, reverse=True)
    assert found["coefficients"] == points[0]["coefficients"]
    assert found["member"]["latency_ms"] <= 4


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("mobilenet_v2",), 2, "pass --target-ms T, or --grid"),
        (("mobilenet_v2", "--target-ms", 0.001), 4, "even the smallest member"),
        (("mobilenet_v2", "--target-ms", -1), 2, "target"),
        (("mobilnet_v2", "--target-ms", 1), 3, "did you mean"),
        (("mobilenet_v2", "--target-ms", 9, "--coefficients", 0.5, 1, 1), 2, "at least 1"),
        (("mobilenet_v2", "--grid", "--coefficients", 1, 1, 2), 2, "leave --coefficients out"),
        (("mobilenet_v2", "--target-ms", 9, "--device", "local"), 2, "one of them"),
        (("mobilenet_v2", "--target-ms", 9, "--output-stride", 3), 3, "cannot be had"),
        (("mobilenet_v2", "--grid", "--step", 0.9, "--tolerance", 0), 4, "no coefficients"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, arguments: tuple[object, ...], exit_code: int, said: str
) -> None:
    result = _run(tmp_path, *arguments)
    assert (result.exit_code, said in result.stderr) == (exit_code, True), result.stderr


def test_a_base_beyond_the_table_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in_table, "LARGEST_MS", 0.0)
    result = _run(tmp_path, "mobilenet_v2", "--target-ms", 9)
    assert result.exit_code == 3
    assert "outside what the table knows" in result.stderr


def test_without_a_table_or_a_device_the_way_to_one_is_told(tmp_path: Path) -> None:
    result = _run(tmp_path, "mobilenet_v2", "--target-ms", 9, table=None)
    assert result.exit_code == 2
    assert "edgecnn calibrate" in result.stderr
