"""A spec as an ONNX graph of the form that torch's exporter and onnxslim give it; no torch.

Made in well under a second, so that every family can be compared with what a runtime executes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn import layers
from edgecnn.spec import ModelSpec

OPSET = 20
_FUNCTIONS = {
    "relu": "Relu", "hswish": "HardSwish", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "Gelu",
}  # fmt: skip
_CONSTANTS = {
    "axes": np.array([2, 3], np.int64),
    "flat": np.array([1, -1], np.int64),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
}


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants = [numpy_helper.from_array(v, k) for k, v in _CONSTANTS.items()]
        self.random = np.random.default_rng(0)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.constants)}"
        values = self.random.normal(0.0, 0.05, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def body(self, body: tuple[layers.Layer, ...], x: str) -> str:
        for layer in body:
            x = self.layer(layer, x)
        return x

    def layer(self, layer: layers.Layer, x: str) -> str:
        match layer:
            case layers.Group():
                return self.body(layer.body, x)
            case layers.Residual():
                return self.node("Add", self.body(layer.body, x), x)
            case layers.Scale():
                return self.node("Mul", x, self.body(layer.body, x))
        return self.operator(layer, x)

    def operator(self, layer: layers.Layer, x: str) -> str:
        match layer:
            case layers.Conv():
                return self.conv(layer, x)
            case layers.Activation():
                return self.activation(layer.function, x)
            case layers.GlobalPool():
                return self.node("ReduceMean", x, "axes", keepdims=1)
            case layers.Flatten():
                return self.node("Reshape", x, "flat")
            case layers.Linear():
                weight = self.weight(layer.out_features, layer.in_features)
                return self.node("Gemm", x, weight, self.weight(layer.out_features), transB=1)
        return x  # batch normalization, folded by the exporter; dropout

    def conv(self, layer: layers.Conv, x: str) -> str:
        taps = (layer.kernel, layer.kernel)
        weight = self.weight(layer.out_channels, layer.in_channels // layer.groups, *taps)
        before, after = layer.padding
        return self.node(
            "Conv",
            x,
            weight,
            self.weight(layer.out_channels),
            kernel_shape=taps,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
            group=layer.groups,
        )

    def activation(self, function: str, x: str) -> str:
        if function == "swish":
            return self.node("Mul", x, self.node("Sigmoid", x))
        if function == "relu6":
            return self.node("Clip", x, "zero", "six")
        if function == "hsigmoid":
            return self.node("HardSigmoid", x, alpha=1 / 6)
        return self.node(_FUNCTIONS[function], x)


def model(spec: ModelSpec) -> Any:
    """The graph, float32, input ``image`` and output ``logits``."""
    writer = _Writer()
    writer.body(layers.lower(spec), "image")
    writer.nodes[-1].output[0] = "logits"
    shape = [1, 3, spec.resolution, spec.resolution]
    graph = helper.make_graph(
        writer.nodes,
        spec.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, spec.num_classes])],
        writer.constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def write(spec: ModelSpec, path: Path) -> Path:
    """Write the graph to a file."""
    onnx.save(model(spec), path)
    return path
