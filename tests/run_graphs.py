"""Graphs, run: for tests of what a runtime makes of them."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn import runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import INPUT_NAME, OUTPUT_NAME
from edgecnn.device import LOCAL
from edgecnn.latency import graphs
from edgecnn.runtimes import Session

RUNTIMES = {"onnx": "ort", "tflite": "litert"}
COMBINATIONS = [(name, p) for name, precisions in graphs.PRECISIONS.items() for p in precisions]


def _opened(artifact: Artifact, runtime: str) -> closing[Session]:
    module = runtimes.get(runtime)
    reason = module.unavailable(LOCAL)
    if reason:
        pytest.skip(reason)
    return closing(runtimes.open_session(module, artifact, LOCAL, 1))


def reported(path: Path, runtime: str = "ort") -> list[tuple[str, str]]:
    """Name and operator of each node that the runtime's profiler reports, in order."""
    artifact = Artifact.load(path)
    image = artifact.single_input()
    with _opened(artifact, runtime) as session:
        rows = session.layers(np.zeros(image.shape, image.dtype), 1)
    return [(row.name, row.op) for row in rows]


def executed(path: Path) -> list[str]:
    """The operators that onnxruntime reports."""
    return [op for _, op in reported(path)]


def logits(path: Path, format_name: str) -> Any:
    """What the graph makes of noise in its runtime."""
    artifact = Artifact.load(path)
    image = artifact.single_input()
    shape = image.shape if image.layout == "NHWC" else [image.shape[i] for i in (0, 2, 3, 1)]
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    with _opened(artifact, RUNTIMES[format_name]) as session:
        made = session.run(pixels if image.layout == "NHWC" else pixels.transpose(0, 3, 1, 2))
    assert (image.name, artifact.outputs[0].name) == (INPUT_NAME, OUTPUT_NAME)
    return made
