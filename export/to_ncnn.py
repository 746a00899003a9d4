"""ncnn: pnnx, the converter of the ncnn project, on a traced PyTorch module.

In ``fp16`` the weights are stored as float16. Quantizing to int8 needs ncnn's own tools, which no
Python package carries, and is therefore not offered.
"""

import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.contract import INPUT_NAME, OUTPUT_NAME, Layout, Recipe
from edgecnn.errors import ExportError
from edgecnn.export import Conversion
from edgecnn.export._inputs import input_contract, torch_module
from edgecnn.export._quiet import converting
from edgecnn.export.calibration import ImageSet
from edgecnn.formats import ncnn as file_format
from edgecnn.sources import Source

if TYPE_CHECKING:
    from torch import nn

name = "ncnn"
runtime = "ncnn"
precisions: tuple[str, ...] = ("fp32", "fp16")
requires: tuple[str, ...] = ("torch>=2.9", "pnnx", "ncnn>=1.0.20240820")
layout: Layout = "NCHW"
takes_uint8 = False

PNNX_TIMEOUT_S = 600
_REPORTED_LINES = 12
_PNNX_INPUT, _PNNX_OUTPUT = "in0", "out0"


def convert(
    source: Source,
    recipe: Recipe,
    path: Path,
    *,
    calibration: ImageSet | None,
    uint8_input: bool,
) -> Conversion:
    """See :class:`edgecnn.export.Exporter`."""
    module = torch_module(source, name)
    shape = input_contract(source, layout).shape
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as text:
        folder = Path(text)
        with converting(f"tracing {source.name} for pnnx"):
            _trace(module, shape, folder / "model.pt")
        _run_pnnx(folder, shape, is_fp16=str(recipe) == "fp16")
        param = (folder / "model.ncnn.param").read_text()
        _refuse_unknown_layers(param, source)
        file_format.write(path, _named(param, shape), (folder / "model.ncnn.bin").read_bytes())
    return Conversion()


def _trace(module: "nn.Module", shape: tuple[int, ...], path: Path) -> None:
    import torch

    # pnnx reads TorchScript, which torch calls deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    trace: Callable[..., Any] = torch.jit.trace
    with torch.no_grad():
        trace(module, torch.zeros(shape), check_trace=False).save(str(path))


def _run_pnnx(folder: Path, shape: tuple[int, ...], is_fp16: bool) -> None:
    """Run pnnx's program in ``folder``, where it leaves its files."""
    import pnnx

    sizes = ",".join(str(size) for size in shape)
    command = [pnnx.EXEC_PATH, "model.pt", f"inputshape=[{sizes}]f32", f"fp16={int(is_fp16)}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PNNX_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"pnnx did not end within {PNNX_TIMEOUT_S} s.") from error
    if done.returncode != 0 or not (folder / "model.ncnn.bin").is_file():
        lines = (done.stdout + done.stderr).strip().splitlines()[-_REPORTED_LINES:]
        raise ExportError("\n".join([f"pnnx failed with code {done.returncode}:", *lines]))


def _refuse_unknown_layers(param: str, source: Source) -> None:
    """Refuse what pnnx passes through under its PyTorch name, and still reports as success."""
    kinds = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
    unknown = sorted(kind for kind in kinds if "." in kind or "::" in kind)
    if unknown:
        raise ExportError(
            f"{source.text}: ncnn has no layer for {', '.join(unknown)}. Replace it in the model, "
            "or export to another format."
        )


def _named(param: str, shape: tuple[int, ...]) -> str:
    """Give input and output our names, and state the input's size in its layer."""
    lines = [line.split(" ") for line in param.splitlines()]
    _, channels, height, width = shape
    names = {_PNNX_INPUT: INPUT_NAME, _PNNX_OUTPUT: OUTPUT_NAME}
    renamed = [[names.get(token, token) for token in line] for line in lines]
    for line in renamed:
        if line[0] == "Input":
            line.extend([f"0={width}", f"1={height}", f"2={channels}"])
    return "\n".join(" ".join(line) for line in renamed) + "\n"
