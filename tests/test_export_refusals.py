"""What an export refuses, what it says then, and that it leaves nothing behind."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
import tiny_onnx
from export_cases import LABELS, export_tiny, pictures, write_pictures

from edgecnn import export
from edgecnn.artifact import Artifact
from edgecnn.contract import Recipe
from edgecnn.errors import DataError, EdgecnnError, ExportError, SourceError, UsageError
from edgecnn.files import DiskError
from edgecnn.sources import Source
from edgecnn.weights import Provenance


def refuse(
    error: type[EdgecnnError], text: str, output: Path, *arguments: Any, **options: Any
) -> None:
    """Check the error, and that the output's folder is as it was."""
    before = sorted(output.parent.rglob("*"))
    with pytest.raises(error, match=text):
        export_tiny(output, *arguments, **options)
    assert sorted(output.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_w8a8_without_images(tmp_path: Path, name: str) -> None:
    refuse(UsageError, "--data", tmp_path / "a", name, "w8a8", calibration_folder=None)


def test_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    refuse(UsageError, "allowed: .*onnx.*tflite", tmp_path / "a", "coreml", "fp32")


def test_precision_that_a_format_lacks(tmp_path: Path) -> None:
    refuse(UsageError, "allowed: fp32, fp16", tmp_path / "a.ncnn", "ncnn", "w8a8")


def test_uint8_where_a_format_cannot(tmp_path: Path) -> None:
    refuse(UsageError, "--uint8-input", tmp_path / "a.ncnn", "ncnn", "fp32", uint8_input=True)


def test_labels_of_the_wrong_count(tmp_path: Path) -> None:
    refuse(UsageError, "9 labels for 10", tmp_path / "a.onnx", "onnx", "fp32", labels=LABELS[1:])


def test_existing_file_without_force(tmp_path: Path) -> None:
    output = tmp_path / "a.onnx"
    output.write_bytes(b"precious")
    refuse(UsageError, "--force", output, "onnx", "fp32")
    assert output.read_bytes() == b"precious"


def test_too_few_images(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "few", 15)
    (folder / "broken.png").write_bytes(b"not a picture")
    text = r"15 images \(1 could not be decoded\).*--force-calibration"
    refuse(DataError, text, tmp_path / "a.onnx", "onnx", "w8a8", calibration_folder=folder)


def write_noise(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(16):
        noise = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)
    return folder


def test_noise_is_no_photograph(tmp_path: Path) -> None:
    folder = write_noise(tmp_path / "noise")
    refuse(
        DataError, "look like noise", tmp_path / "a.onnx", "onnx", "w8a8", calibration_folder=folder
    )


def test_noise_when_forced(tmp_path: Path) -> None:
    folder = write_noise(tmp_path / "noise")
    made = export_tiny(
        tmp_path / "a.onnx", "onnx", "w8a8", calibration_folder=folder, force_calibration=True
    )
    assert made.required_contract().quantization is not None


def test_undecodable_image_is_reported_by_name_and_skipped(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", 17)
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    heard: list[str] = []
    made = export_tiny(
        tmp_path / "a.onnx", "onnx", "w8a32", calibration_folder=folder, progress=heard.append
    )
    assert any("torn.jpg" in stage for stage in heard)
    parity = made.required_contract().parity
    assert parity is not None and parity.images == 17


def source_of(module: Any) -> Source:
    return replace(tiny.source(), module=module)


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_unknown_operator_is_named(tmp_path: Path, name: str) -> None:
    import torch

    class Unusual(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            square = image[:, 0, :10, :10] + torch.eye(10)
            return torch.linalg.eigvalsh(square)

    output = tmp_path / f"a.{name}"
    with pytest.raises(ExportError, match=r"does not know the operator aten\S*linalg_eig"):
        export.export(source_of(Unusual().eval()), name, Recipe.parse("fp32"), output)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_converters_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    export_tiny(tmp_path / f"a.{name}", name, "w8a8")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "a.onnx"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(DiskError, match="No space left"):
            export_tiny(output, "onnx", "fp32")
    assert list(tmp_path.iterdir()) == []


def another_network() -> Any:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(1)
        conv = torch.nn.Conv2d(3, tiny.CLASSES, 3, 2)
        return torch.nn.Sequential(conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()


@pytest.mark.parametrize("name", ["onnx", "tflite"])
@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_failed_parity_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str
) -> None:
    exporter: Any = export.get(name)
    convert = exporter.convert

    def wrong(source: Source, *arguments: Any, **options: Any) -> export.Conversion:
        return convert(replace(source, module=another_network()), *arguments, **options)

    monkeypatch.setattr(exporter, "convert", wrong)
    made = export_tiny(tmp_path / f"a.{name}", name, precision)
    parity = Artifact.load(made.path).required_contract().parity
    assert parity is not None
    assert not parity.passed
    assert "cosine" in parity.reason


def foreign(path: Path) -> Source:
    return Source(
        name="foreign",
        text=str(path),
        provenance=Provenance("file", path.name, "0" * 64),
        num_classes=tiny_onnx.CLASSES,
        imgsz=tiny_onnx.IMGSZ,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        crop_pct=1.0,
        interpolation="bilinear",
        path=path,
    )


@pytest.mark.parametrize("precision", export.get("onnx").precisions)
@pytest.mark.parametrize("uint8_input", [False, True])
def test_foreign_onnx_file(tmp_path: Path, precision: str, uint8_input: bool) -> None:
    source = foreign(tiny_onnx.write_onnx(tmp_path / "foreign.onnx"))
    made = export.export(
        source,
        "onnx",
        Recipe.parse(precision),
        tmp_path / "made.onnx",
        calibration_folder=pictures(),
        uint8_input=uint8_input,
    )
    contract = made.required_contract()
    assert contract.parity is not None and contract.parity.passed, contract.parity
    assert contract.quantization is None or "corrected" not in contract.quantization.scheme


def test_foreign_onnx_file_to_another_format(tmp_path: Path) -> None:
    source = foreign(tiny_onnx.write_onnx(tmp_path / "foreign.onnx"))
    with pytest.raises(ExportError, match="--format onnx"):
        export.export(source, "tflite", Recipe.parse("fp32"), tmp_path / "made.tflite")


def test_foreign_onnx_file_of_another_size(tmp_path: Path) -> None:
    source = replace(foreign(tiny_onnx.write_onnx(tmp_path / "foreign.onnx")), imgsz=48)
    with pytest.raises(ExportError, match=r"\[1, 3, 32, 32\].*--imgsz"):
        export.export(source, "onnx", Recipe.parse("fp32"), tmp_path / "made.onnx")


@pytest.mark.parametrize(
    ("field", "flag"),
    [("mean", "--mean"), ("std", "--std"), ("crop_pct", "--crop-pct"), ("imgsz", "--imgsz")],
)
def test_missing_preprocessing_names_its_flag(tmp_path: Path, field: str, flag: str) -> None:
    source = replace(tiny.source(), **{field: None})
    with pytest.raises(SourceError, match=flag):
        export.export(source, "onnx", Recipe.parse("fp32"), tmp_path / "a.onnx")
