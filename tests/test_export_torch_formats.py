"""ncnn and pt2: what their converters must refuse, and what must not get into a file."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgecnn import export, formats
from edgecnn.contract import Recipe
from edgecnn.errors import ExportError

FORMATS = ("ncnn", "pt2")


def convert(source: Any, format_name: str, folder: Path, precision: str = "fp32") -> Path:
    path = folder / f"model{formats.get(format_name).suffix}"
    recipe = Recipe.parse(precision)
    export.get(format_name).convert(source, recipe, path, calibration=None, uint8_input=False)
    return path


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_onnx_source_is_refused(format_name: str, tmp_path: Path) -> None:
    foreign = replace(tiny.source(), module=None, path=tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="--format onnx"):
        convert(foreign, format_name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_name", FORMATS)
def test_fp16_halves_the_file(format_name: str, tmp_path: Path) -> None:
    """The members that hold weights; headers weigh more than those of a small network."""

    def weight_bytes(path: Path) -> int:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        return sum(i.file_size for i in infos if "/weight_" in i.filename or "bin" in i.filename)

    full, half = (
        weight_bytes(tiny.bare_file(format_name, precision)) for precision in ("fp32", "fp16")
    )
    assert 0.45 < half / full < 0.65


def test_a_pt2_file_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    content = convert(tiny.source(), "pt2", tmp_path).read_bytes()
    assert str(Path(tiny.__file__).parent).encode() not in content
    assert b"site-packages" not in content


def test_a_layer_that_ncnn_lacks_is_named(tmp_path: Path) -> None:
    """pnnx passes it through under PyTorch's name and reports success."""
    import torch

    class Fourier(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(image.flatten(1)).abs()

    with pytest.raises(ExportError, match=r"torch\.fft\.fft"):
        convert(replace(tiny.source(), module=Fourier().eval()), "ncnn", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_fails_is_reported(tmp_path: Path) -> None:
    import torch

    class Broken(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such layer")

    for format_name in FORMATS:
        with pytest.raises(ExportError, match="no such layer"):
            convert(replace(tiny.source(), module=Broken().eval()), format_name, tmp_path)


def test_a_failing_pnnx_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pnnx = pytest.importorskip("pnnx")
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\necho 'the last line of pnnx' >&2\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setattr(pnnx, "EXEC_PATH", str(program))
    with pytest.raises(ExportError, match=r"code 7:\nthe last line of pnnx"):
        convert(tiny.source(), "ncnn", tmp_path)
