"""A small random network in every format, for tests that need real files of real converters."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn import export, formats, runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import Contract, OutputContract, Recipe
from edgecnn.device import LOCAL, Device
from edgecnn.runtimes import Array, missing_package

IMGSZ = 32
CLASSES = 10
FP32 = Recipe.parse("fp32")
FLOAT_ATOL = 1e-4
"""Of logits of about 1; fp32 runtimes differ in the order of their sums alone."""


@functools.cache
def network() -> Any:
    """Return a network with the operators of a mobile CNN, seeded, in eval mode."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
            )
            self.expand = nn.Sequential(
                nn.Conv2d(16, 48, 1, bias=False), nn.BatchNorm2d(48), nn.Hardswish()
            )
            self.depthwise = nn.Sequential(
                nn.Conv2d(48, 48, 5, 1, 2, groups=48, bias=False), nn.BatchNorm2d(48), nn.SiLU()
            )
            self.gate = nn.Sequential(
                nn.Conv2d(48, 8, 1), nn.ReLU(), nn.Conv2d(8, 48, 1), nn.Sigmoid()
            )
            self.project = nn.Sequential(nn.Conv2d(48, 16, 1, bias=False), nn.BatchNorm2d(16))
            self.head = nn.Linear(16, CLASSES)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            x = self.stem(image)
            inner = self.depthwise(self.expand(x))
            inner = inner * self.gate(inner.mean((2, 3), keepdim=True))
            x = x + self.project(inner)
            logits: torch.Tensor = self.head(x.mean((2, 3)))
            return logits

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Tiny()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, 0.0, 0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return module.eval()


@functools.cache
def source() -> Any:
    """Return the network as a source, with preprocessing."""
    from edgecnn.sources import Source
    from edgecnn.weights import Provenance

    return Source(
        name="tiny",
        text="tests/tiny.py:network",
        provenance=Provenance("random", "seed 0", ""),
        num_classes=CLASSES,
        imgsz=IMGSZ,
        mean=(127.0, 127.0, 127.0),
        std=(64.0, 64.0, 64.0),
        crop_pct=0.875,
        interpolation="bicubic",
        module=network(),
    )


def contract(format_name: str, precision: str = "fp32", uint8_input: bool = False) -> Contract:
    """Return a contract for the network in a format."""
    from edgecnn.export._inputs import input_contract

    layout = "NHWC" if uint8_input else export.get(format_name).layout
    return Contract(
        name="tiny",
        source="tests/tiny.py:network",
        source_sha256="0" * 64,
        weights="random (seed 0)",
        precision=precision,
        input=input_contract(source(), layout, "uint8" if uint8_input else "float32"),
        output=OutputContract("logits", CLASSES, tuple(f"class {i}" for i in range(CLASSES))),
    )


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgecnn-tiny-")


@functools.cache
def bare_file(format_name: str, precision: str = "fp32", uint8_input: bool = False) -> Path:
    """Convert the network without a contract. Skips where a converter's package is absent."""
    exporter = export.get(format_name)
    missing = missing_package(*exporter.requires)
    if missing:
        pytest.skip(f"export to {format_name}: {missing}")
    name = f"{precision}-{uint8_input}{formats.get(format_name).suffix}"
    path = Path(_folder().name) / name
    recipe = Recipe.parse(precision)
    exporter.convert(source(), recipe, path, calibration=None, uint8_input=uint8_input)
    return path


def artifact(
    folder: Path, format_name: str, precision: str = "fp32", uint8_input: bool = False
) -> Artifact:
    """Return a fresh copy, with its contract, in ``folder``."""
    bare = bare_file(format_name, precision, uint8_input)
    path = folder / bare.name
    path.write_bytes(bare.read_bytes())
    formats.get(format_name).embed(path, contract(format_name, precision, uint8_input))
    return Artifact.load(path)


def image(seed: int = 0) -> NDArray[np.float32]:
    """Return a normalized random image, float32 1 x 3 x 32 x 32."""
    return np.random.default_rng(seed).standard_normal((1, 3, IMGSZ, IMGSZ)).astype(np.float32)


def arranged(array: NDArray[np.float32], made: Artifact) -> NDArray[np.float32]:
    """Return an NCHW image in the layout of an artifact's input."""
    is_nhwc = made.single_input().layout == "NHWC"
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if is_nhwc else array


def expected(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the PyTorch original's logits."""
    import torch

    with torch.inference_mode():
        return np.asarray(network()(torch.from_numpy(array)).numpy(), np.float32)


def session_for(
    name: str, made: Artifact, device: Device = LOCAL, threads: int = 1
) -> runtimes.Session:
    """Open, or skip with the runtime's own reason."""
    runtime = runtimes.get(name)
    reason = runtime.unavailable(device)
    if reason:
        pytest.skip(f"{name} on {device}: {reason}")
    return runtimes.open_session(runtime, made, device, threads)


def logits(
    name: str, made: Artifact, array: Array, device: Device = LOCAL, threads: int = 1
) -> Array:
    session = session_for(name, made, device, threads)
    try:
        return session.run(array)
    finally:
        session.close()
