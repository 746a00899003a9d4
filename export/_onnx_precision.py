"""fp16 and w8a32 of an ONNX graph; w8a8 is in ``_onnx_static``."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn.export.weight_levels import int8, steps

W8A32_SCHEME = "weights int8 per channel symmetric, dequantized in the graph; activations float32"
FP16_SCHEME = "float16 weights and activations; input and logits float32"

_MIN_WEIGHTS = 256
"""Smaller tensors stay float32: their scales would weigh as much as they do."""


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in float16, with input and output kept in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    # The casts are appended; ONNX asks for an order in which every value is made before its use.
    result = OnnxModel(convert_float_to_float16(model, keep_io_types=True))
    result.topological_sort()
    sorted_model: onnx.ModelProto = result.model
    return sorted_model


def to_w8a32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with int8 weights, each dequantized in front of its operator."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in graph.node:
        axis = channel_axis(node)
        name = node.input[1] if axis is not None else ""
        if name in weights and len(weights[name].dims) > 1:
            if name not in done and np.prod(weights[name].dims) >= _MIN_WEIGHTS:
                nodes.extend(_quantize_weight(graph, weights[name], axis or 0))
                done.add(name)
            if name in done:
                node.input[1] = f"{name}_dequantized"
        nodes.append(node)
    kept = [initializer for initializer in graph.initializer if initializer.name not in done]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return result


def channel_axis(node: onnx.NodeProto) -> int | None:
    """Return the axis of output channels in a node's weight; None where it has no weight."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i == 1 for a in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "MatMul" else None


def _quantize_weight(
    graph: onnx.GraphProto, weight: onnx.TensorProto, axis: int
) -> list[onnx.NodeProto]:
    """Add the int8 weight and its scales to the graph; return the nodes that multiply them.

    Cast and Mul stand for DequantizeLinear: runtimes compute them once, when the file is loaded,
    while onnxruntime repeats a DequantizeLinear in every run.
    """
    values = numpy_helper.to_array(weight)
    scale = steps(np.moveaxis(values, axis, 0), int8)
    scale = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    name = weight.name
    tensors = {f"{name}_int8": np.rint(values / scale).astype(np.int8), f"{name}_scale": scale}
    graph.initializer.extend(numpy_helper.from_array(a, key) for key, a in tensors.items())
    cast, product = f"{name}_cast", f"{name}_dequantized"
    return [
        helper.make_node("Cast", [f"{name}_int8"], [cast], cast, to=TensorProto.FLOAT),
        helper.make_node("Mul", [cast, f"{name}_scale"], [product], product),
    ]
