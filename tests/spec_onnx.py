"""A spec as an ONNX graph of the form that torch's exporter and onnxslim give it; no torch."""

from pathlib import Path
from typing import Any

import onnx

from edgecnn.latency import graphs
from edgecnn.spec import ModelSpec


def model(spec: ModelSpec) -> Any:
    """The graph, float32, input ``image`` and output ``logits``."""
    made = onnx.load_model_from_string(graphs.content(spec, "onnx", "fp32"))
    return onnx.shape_inference.infer_shapes(made)


def write(spec: ModelSpec, path: Path) -> Path:
    """Write the graph to a file."""
    return graphs.write(spec, "onnx", "fp32", path)
