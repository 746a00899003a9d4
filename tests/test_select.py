"""Selecting: what is made and measured, what is taken from before, and what goes wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_onnx import artifact

from edgecnn import export, families, formats, measure, sources
from edgecnn.artifact import Artifact
from edgecnn.choice import Choice
from edgecnn.comparison import Comparison, Plan
from edgecnn.contract import Parity
from edgecnn.errors import ExportError, UsageError, WeightsError
from edgecnn.files import DiskError
from edgecnn.profile import Target
from edgecnn.select import Request, select
from edgecnn.sources import Source
from edgecnn.weights import Provenance

PLAN = Plan(min_runs=6, min_seconds=0.001, rounds=2, warmup_seconds=0.2, stages=False)
TRAINED = Provenance("package", "weights 1.0", "ab" * 32)
PARITY = Parity(16, "photographs", 0.0, 0.0, 1.0, 1.0, passed=True)


class World:
    """Models and converters that the test decides about; files and measurements are real."""

    def __init__(self) -> None:
        self.exports: list[str] = []
        self.parity = PARITY
        self.fails: dict[str, Exception] = {}
        self.provenance = TRAINED

    def resolve(self, text: str, weights: str = "auto", **_: Any) -> Source:
        if weights == "auto" and self.provenance.kind == "random":
            raise WeightsError("no weights here; pass --weights")
        return Source(
            name=text,
            text=text,
            provenance=self.provenance,
            num_classes=10,
            imgsz=32,
            spec=families.all().get(text),
        )

    def export(
        self, source: Source, format_name: str, recipe: object, output: Path, **_: Any
    ) -> Artifact:
        self.exports.append(output.name)
        if str(recipe) in self.fails:
            raise self.fails[str(recipe)]
        output.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(map(ord, f"{source.name}{recipe}"))
        made = artifact(output, seed=seed, precision=str(recipe))
        contract = replace(made.required_contract(), parity=self.parity)
        formats.get("onnx").embed(output, contract)
        return Artifact.load(output)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(sources, "resolve", made.resolve)
    monkeypatch.setattr(export, "export", made.export)
    return made


def request(work: Path, **changes: Any) -> Request:
    return replace(
        Request(
            models=("mobilenet_v2",),
            target=Target(p95_ms=1000.0),
            work=work,
            formats=("onnx",),
            runtimes=("null",),
            plan=PLAN,
        ),
        **changes,
    )


def ids(choice: Choice) -> list[str]:
    return [str(row) for row in choice.candidates]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for index in range(20):
        folder = root / str(index % 10)
        folder.mkdir(exist_ok=True)
        picture = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return root


def test_candidates_are_the_product(world: World, tmp_path: Path) -> None:
    found = select(
        request(
            tmp_path, models=("mobilenet_v2", "mnasnet_b1"), runtimes=("null", "ort"),
            threads=(1, 2),
        )
    )  # fmt: skip
    assert len(found.candidates) == len(set(ids(found))) == 2 * 2 * 2 * 2
    assert found.passed
    assert all(row.latency_kind == "measured" for row in found.candidates)
    assert all(row.peak_rss_bytes for row in found.candidates)


def test_published_accuracy_says_so(world: World, tmp_path: Path) -> None:
    found = select(request(tmp_path))
    published = families.get("mobilenet_v2").accuracy
    assert published is not None
    kinds = [(row.precision, row.top1, row.top1_kind) for row in found.candidates]
    assert kinds == [("fp32", published[0], "published"), ("w8a8", published[0], "published fp32")]
    assert all(row.top1_source == published[1] for row in found.candidates)


def test_accuracy_of_the_users_own_weights_is_not_published(world: World, tmp_path: Path) -> None:
    world.provenance = Provenance("file", "mine.pt", "cd" * 32)
    found = select(request(tmp_path))
    assert [row.top1 for row in found.candidates] == [None, None]


def test_accuracy_is_measured_on_photographs(
    world: World, tmp_path: Path, photographs: Path
) -> None:
    found = select(request(tmp_path, data=photographs, runtimes=("ort",)))
    assert [row.top1_kind for row in found.candidates] == ["measured", "measured"]
    assert all("20 photographs" in str(row.top1_source) for row in found.candidates)
    again = select(request(tmp_path, data=photographs, runtimes=("ort",)))
    assert [row.top1 for row in again.candidates] == [row.top1 for row in found.candidates]
    assert len(list((tmp_path / "accuracy").iterdir())) == 2


def test_published_accuracy_stays_where_all_photographs_calibrated(
    world: World, tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.select.judging.calibration_images", lambda listing, files: listing)
    found = select(request(tmp_path, data=photographs, runtimes=("ort",)))
    assert {row.top1_kind for row in found.candidates} <= {"published", "published fp32"}


def test_random_weights_serve_for_latency_only(
    world: World, tmp_path: Path, photographs: Path
) -> None:
    world.provenance = Provenance("random", "seed 0", "")
    found = select(request(tmp_path, data=photographs))
    assert {row.weights for row in found.candidates} == {"random:seed 0"}
    assert {row.top1_kind for row in found.candidates} == {"published", "published fp32"}
    unknown = select(request(tmp_path, models=("not-in-the-zoo",)))
    assert not unknown.passed
    assert {row.rejected_because for row in unknown.candidates} == {
        "no weights here; pass --weights"
    }


def never(*_: object, **__: object) -> Comparison:
    raise AssertionError("measured again")


def test_a_repeated_selection_measures_and_makes_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = select(request(tmp_path))
    assert len(world.exports) == 2
    monkeypatch.setattr(measure, "interleave", never)
    assert select(request(tmp_path)) == first
    assert len(world.exports) == 2
    with pytest.raises(AssertionError, match="measured again"):
        select(request(tmp_path, fresh=True))


def test_other_weights_are_other_files(world: World, tmp_path: Path) -> None:
    select(request(tmp_path))
    world.provenance = Provenance("package", "weights 2.0", "ef" * 32)
    select(request(tmp_path))
    assert len(set(world.exports)) == 4


def test_damaged_leftovers_are_made_again(world: World, tmp_path: Path) -> None:
    first = select(request(tmp_path))
    for path in (tmp_path / "files").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    for path in (tmp_path / "profiles").iterdir():
        path.write_text("{")
    again = select(request(tmp_path))
    assert ids(again) == ids(first)
    assert again.passed
    assert len(world.exports) == 4


def test_an_interrupted_selection_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Comparison] = measure.interleave
    measured: list[int] = []

    def interrupted(group: Any, plan: Plan, **how: Any) -> Comparison:
        measured.append(len(group))
        found = real(group, plan, **how)
        return replace(found, interrupted=len(measured) == 1)

    monkeypatch.setattr(measure, "interleave", interrupted)
    wanted = request(tmp_path, threads=(1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        select(wanted)
    found = select(wanted)
    assert sum(measured) == len(found.candidates) == 6, "nothing is measured twice"


def test_a_failing_export_is_a_rejected_candidate(world: World, tmp_path: Path) -> None:
    world.fails["w8a8"] = ExportError("unknown operator Foo")
    found = select(request(tmp_path))
    assert found.passed
    assert [row.rejected_because for row in found.candidates] == [
        None,
        "export failed: unknown operator Foo",
    ]


def test_a_full_disk_is_no_candidates_fault(world: World, tmp_path: Path) -> None:
    world.fails["w8a8"] = DiskError("no space")
    with pytest.raises(DiskError):
        select(request(tmp_path))


def test_failed_parity_is_not_measured(world: World, tmp_path: Path) -> None:
    world.parity = replace(PARITY, passed=False, reason="cosine 0.2")
    found = select(request(tmp_path))
    assert not found.passed
    assert {row.rejected_because for row in found.candidates} == {"parity failed: cosine 0.2"}
    assert {row.latency_ms for row in found.candidates} == {None}


def test_a_runtime_that_reads_nothing_is_told(world: World, tmp_path: Path) -> None:
    found = select(request(tmp_path, runtimes=("ncnn",)))
    assert "opens onnx" in str(found.candidates[0].rejected_because)


def test_an_impossible_target_names_the_nearest(world: World, tmp_path: Path) -> None:
    found = select(request(tmp_path, target=Target(p95_ms=1e-9), threads=(1, 2)))
    assert not found.passed
    assert found.nearest is not None
    assert found.nearest.latency_ms == min(row.latency_ms or 0 for row in found.candidates)


@pytest.mark.parametrize(
    "changes",
    [{"models": ()}, {"formats": ("exe",)}, {"precisions": ("w2a2",)}, {"runtimes": ("x",)}],
)
def test_unknown_things_are_refused_at_once(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        request(tmp_path, **changes)


@pytest.mark.slow
def test_a_real_model_end_to_end(tmp_path: Path) -> None:
    """Nothing is replaced: a small network of the zoo, exported and measured."""
    wanted = replace(
        request(tmp_path, models=("mobilenet_v1@w0.25,r128",), precisions=("fp32",)),
        formats=("onnx", "tflite"),
        runtimes=(),
    )
    found = select(wanted)
    assert found.passed
    assert {row.format for row in found.candidates} == {"onnx", "tflite"}
    assert {"ort", "litert"} <= {str(row.runtime) for row in found.candidates}
