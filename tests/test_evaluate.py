"""Evaluation: what is counted, what is left out, and the verdict."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_onnx import CONTRACT, artifact

from edgecnn import images, preprocess, runtimes
from edgecnn.accuracy import (
    Evaluation,
    Gate,
    Prediction,
    accuracy,
    comparison,
    judge,
    paired_interval,
    wilson,
)
from edgecnn.artifact import Artifact
from edgecnn.contract import Quantization
from edgecnn.device import LOCAL
from edgecnn.environment import Environment
from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.evaluate import calibration_images, evaluate, kernel_warning

COUNT = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact(tmp_path_factory.mktemp("models") / "other.onnx", seed=1)


def best_classes(model: Artifact, path: Path) -> list[int]:
    """Compute an image's best classes by hand, past the code under test."""
    session = runtimes.open_session(runtimes.get("ort"), model, LOCAL, 1)
    array = preprocess.prepare(preprocess.read_image(path), CONTRACT.input, session.inputs[0])
    return [int(i) for i in np.argsort(-session.run(array).reshape(-1), kind="stable")]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, model: Artifact) -> Path:
    """Noise of different colours in the class folder that the model gives it, but for every third.

    Of the third ones, every other lies in its second-best class, the rest in its worst.
    """
    root = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        colour = random.integers(0, 256, 3)
        picture = np.clip(random.normal(colour, 60, (40, 48, 3)), 0, 255).astype(np.uint8)
        path = root / f"{index:02}.png"
        cv2.imwrite(str(path), picture)
        rank = 0 if index % 3 else (1 if index % 6 else -1)
        folder = root / str(best_classes(model, path)[rank])
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return root


def test_top1_and_top5_are_exact(model: Artifact, photographs: Path) -> None:
    found = evaluate(model, photographs)
    assert found.images == COUNT
    assert found.top1 == pytest.approx(100 * 16 / COUNT)
    assert found.top5 == pytest.approx(100 * 20 / COUNT)
    assert found.top1_ci95 == wilson(16, COUNT)
    assert (found.runtime, found.passed, found.skipped) == ("ort", None, ())
    promised = {"artifact", "images", "top1", "top5", "top1_ci95", "agreement", "passed"}
    assert promised <= set(found.to_dict())


@pytest.mark.parametrize("decoders", [1, 4])
def test_the_number_of_decoders_changes_nothing(
    model: Artifact, photographs: Path, decoders: int
) -> None:
    assert evaluate(model, photographs, decoders=decoders) == evaluate(model, photographs)


def test_a_file_agrees_with_itself(model: Artifact, photographs: Path) -> None:
    found = evaluate(model, photographs, reference=model, gate=Gate(max_drop=0.0))
    assert (found.agreement, found.drop, found.lost, found.gained) == (100.0, 0.0, 0, 0)
    assert found.passed is True


def test_the_drop_is_paired(model: Artifact, other: Artifact, photographs: Path) -> None:
    found = evaluate(other, photographs, reference=model, gate=Gate(max_drop=1.0))
    assert found.top1 is not None and found.drop is not None
    assert found.reference_top1 == pytest.approx(100 * 16 / COUNT)
    assert found.drop == pytest.approx(found.reference_top1 - found.top1)
    assert found.lost is not None and found.gained is not None
    assert found.drop == pytest.approx(100 * (found.lost - found.gained) / COUNT)
    listing = images.list_images(photographs)
    same = sum(best_classes(model, p)[0] == best_classes(other, p)[0] for p in listing)
    assert found.agreement == pytest.approx(100 * same / COUNT)
    assert found.passed is False
    assert "drop" in found.failures[0]


def test_minimum_top1_decides(model: Artifact, photographs: Path) -> None:
    assert evaluate(model, photographs, gate=Gate(min_top1=66.0)).passed is True
    failed = evaluate(model, photographs, gate=Gate(min_top1=67.0))
    assert failed.passed is False
    assert failed.failures == ("top-1 is 66.67 %, below 67 %",)


def test_gates_that_cannot_be_told_are_refused(model: Artifact, photographs: Path) -> None:
    with pytest.raises(UsageError, match="--reference"):
        evaluate(model, photographs, gate=Gate(max_drop=1.0))


def copy_flat(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in images.list_images(source):
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_without_class_folders_only_agreement_is_told(
    model: Artifact, other: Artifact, photographs: Path, tmp_path: Path
) -> None:
    flat = copy_flat(photographs, tmp_path / "flat")
    found = evaluate(model, flat, reference=other)
    assert (found.top1, found.top5, found.top1_ci95, found.drop) == (None,) * 4
    assert found.agreement == evaluate(model, photographs, reference=other).agreement
    with pytest.raises(UsageError, match="class folders"):
        evaluate(model, flat, gate=Gate(min_top1=50))


def test_bad_images_are_skipped_by_name(model: Artifact, photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "with-bad"
    for path in images.list_images(photographs):
        copy = root / path.relative_to(photographs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    folder = images.list_images(root)[0].parent
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    (root / "beside.png").write_bytes(images.list_images(root)[0].read_bytes())
    found = evaluate(model, root)
    assert found.images == COUNT
    assert found.top1 == evaluate(model, photographs).top1
    assert {Path(s.path).name for s in found.skipped} == {"empty.jpg", "text.png", "beside.png"}
    assert all(s.reason for s in found.skipped)


def test_only_bad_images_are_an_error(model: Artifact, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no")
    with pytest.raises(DataError, match="none of 1 images"):
        evaluate(model, tmp_path)


def test_limit_is_evenly_spread(model: Artifact, photographs: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    found = evaluate(model, photographs, limit=6, progress=lambda *step: steps.append(step))
    assert found.images == 6
    assert steps[0] == ("evaluating", 0, 6)
    assert steps[-1] == ("evaluating", 6, 6)


def calibrated(path: Path, listing: tuple[Path, ...], count: int) -> Artifact:
    digest = images.images_sha256(images.calibration_subset(listing, count))
    return artifact(path, quantization=Quantization("QDQ", count, digest))


def test_calibration_images_are_left_out(
    model: Artifact, photographs: Path, tmp_path: Path
) -> None:
    listing = images.list_images(photographs)
    file = calibrated(tmp_path / "q.onnx", listing, 8)
    found = evaluate(file, photographs)
    assert (found.images, found.calibration_left_out, found.warnings) == (COUNT - 8, 8, ())
    as_reference = evaluate(model, photographs, reference=file)
    assert as_reference.images == COUNT - 8
    held_out = set(listing) - set(calibration_images(listing, [file]))
    assert held_out == set(listing) - set(images.calibration_subset(listing, 8))


def test_calibration_on_other_images_is_told(photographs: Path, tmp_path: Path) -> None:
    listing = images.list_images(photographs)
    file = artifact(tmp_path / "q.onnx", quantization=Quantization("QDQ", 8, "00" * 32))
    found = evaluate(file, photographs)
    assert (found.images, found.calibration_left_out) == (len(listing), 0)
    assert "flattered" in found.warnings[0]


def test_nothing_left_is_an_error(photographs: Path, tmp_path: Path) -> None:
    listing = images.list_images(photographs)
    with pytest.raises(DataError, match="used to calibrate"):
        evaluate(calibrated(tmp_path / "q.onnx", listing, COUNT), photographs)


def test_unknown_class_folders_are_refused(model: Artifact, tmp_path: Path) -> None:
    (tmp_path / "zebra").mkdir()
    cv2.imwrite(str(tmp_path / "zebra" / "x.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="--labels"):
        evaluate(model, tmp_path)


def test_own_runtime_is_the_formats_own(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtimes.made_for(model, LOCAL).name == "ort"
    for name in runtimes.reading("onnx"):
        monkeypatch.setattr(runtimes.get(name), "unavailable", lambda device: "gone")
    with pytest.raises(UnavailableError, match="no runtime for onnx"):
        runtimes.made_for(model, LOCAL)


def environment(isa: tuple[str, ...]) -> Environment:
    return replace(Environment.now(), machine="x86_64", isa=isa)


def test_saturating_kernels_are_told(tmp_path: Path) -> None:
    def warning(isa: tuple[str, ...], **contract: Any) -> str | None:
        file = artifact(tmp_path / "q.onnx", **contract)
        file.path.write_bytes(file.path.read_bytes() + b"QuantizeLinear")
        return kernel_warning(file, "ort", environment(isa))

    full = {"precision": "w8a8", "quantization": Quantization("int8")}
    reduced = {"precision": "w8a8", "quantization": Quantization("int8", saturation_free=True)}
    assert "VNNI" in str(warning(("avx2",), **full))
    assert warning(("avx2", "avx_vnni"), **full) is None
    assert warning(("avx2",), **reduced) is None
    assert warning(("avx2",), **(full | {"precision": "w8a32"})) is None


def test_plain_float_files_get_no_warning(model: Artifact) -> None:
    assert kernel_warning(model, "ort", environment(("avx2",))) is None
    assert kernel_warning(model, "openvino", environment(("avx2",))) is None


counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_the_root_of_its_equation(pair: tuple[int, int]) -> None:
    """Both ends p solve |k/n - p| = z sqrt(p (1 - p) / n)."""
    successes, trials = pair
    low, high = (end / 100 for end in wilson(successes, trials))
    rate = successes / trials
    assert 0 <= low <= rate + 1e-12 and rate - 1e-12 <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            spread = 1.959964 * math.sqrt(end * (1 - end) / trials)
            assert abs(rate - end) == pytest.approx(spread, rel=1e-6, abs=1e-7)


@given(st.integers(0, 50), st.integers(0, 50))
def test_paired_interval_is_symmetric_and_wide_enough(lost: int, gained: int) -> None:
    low, high = paired_interval(lost, gained, 200)
    assert (-high, -low) == pytest.approx(paired_interval(gained, lost, 200))
    assert low < high


outcomes = st.lists(
    st.builds(
        Prediction,
        st.integers(0, 3),
        st.permutations(range(6)).map(lambda p: tuple(p[:5])),
        st.permutations(range(6)).map(lambda p: tuple(p[:5])),
    ),
    min_size=1,
    max_size=40,
)


@given(outcomes)
def test_figures_hold_together(predictions: list[Prediction]) -> None:
    found = accuracy(predictions) | comparison(predictions)
    assert 0 <= found["top1"] <= found["top5"] <= 100
    assert found["drop"] == pytest.approx(found["reference_top1"] - found["top1"])
    disagreeing = 100 - found["agreement"]
    assert abs(found["drop"]) <= disagreeing + 1e-9
    low, high = found["top1_ci95"]
    assert low <= found["top1"] <= high


def test_round_trip(model: Artifact, photographs: Path, tmp_path: Path) -> None:
    found = evaluate(model, photographs, reference=model)
    found.save(tmp_path / "e.json")
    assert Evaluation.load(tmp_path / "e.json") == found
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(DataError):
        Evaluation.load(tmp_path / "e.json")


def test_no_gate_no_verdict(model: Artifact, photographs: Path) -> None:
    found = evaluate(model, photographs)
    assert judge(found, Gate()) is found
