"""Small edits of an ONNX graph."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn.contract import INPUT_NAME, OUTPUT_NAME
from edgecnn.errors import ExportError

Numbers = tuple[float, ...]


def strip(model: onnx.ModelProto) -> None:
    """Remove what exporters note for debugging: it holds paths of the machine they ran on."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


def check(model: onnx.ModelProto) -> None:
    """Run onnx's own checker with strict shape inference.

    Raises:
        onnx.checker.ValidationError: the graph breaks the standard.
    """
    onnx.checker.check_model(model, full_check=True)


def rename_edges(model: onnx.ModelProto) -> None:
    """Call the only input ``image`` and the only output ``logits``, everywhere in the graph.

    Raises:
        ExportError: the graph has several inputs or outputs.
    """
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ExportError(
            f"the graph has {len(inputs)} inputs and {len(graph.output)} outputs; a classifier "
            "with one image input and one output of logits can be exported."
        )
    names = {inputs[0].name: INPUT_NAME, graph.output[0].name: OUTPUT_NAME}
    inputs[0].name, graph.output[0].name = INPUT_NAME, OUTPUT_NAME
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = names.get(value.name, value.name)


def fix_input_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Give the input fixed dimensions, where the graph leaves them open.

    Raises:
        ExportError: the graph states other dimensions.
    """
    dims = model.graph.input[0].type.tensor_type.shape.dim
    found = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    if len(found) != len(shape) or any(a not in (-1, b) for a, b in zip(found, shape, strict=True)):
        raise ExportError(
            f"the graph's input has the shape {found}, not {list(shape)}; pass the --imgsz that "
            "it was made for (a batch of one image, NCHW, is supported)."
        )
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size


def take_uint8(model: onnx.ModelProto, imgsz: int, mean: Numbers, std: Numbers) -> None:
    """Put normalization in front: the input becomes uint8 (1, imgsz, imgsz, C) pixels.

    C is the number of values of a pixel, as many as ``mean`` has.
    """
    graph = model.graph
    normalized = "normalization_result"
    for node in graph.node:
        node.input[:] = [normalized if name == INPUT_NAME else name for name in node.input]
    scale = 1.0 / np.asarray(std, np.float64)
    offset = -np.asarray(mean, np.float64) * scale
    constants = {"normalization_scale": scale, "normalization_offset": offset}
    for name, constant in constants.items():
        array = constant.astype(np.float32).reshape(1, -1, 1, 1)
        graph.initializer.append(numpy_helper.from_array(array, name))
    planes, values, product = (f"normalization_{step}" for step in ("planes", "values", "product"))
    front = [
        helper.make_node("Transpose", [INPUT_NAME], [planes], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", [planes], [values], to=TensorProto.FLOAT),
        helper.make_node("Mul", [values, "normalization_scale"], [product]),
        helper.make_node("Add", [product, "normalization_offset"], [normalized]),
    ]
    for node in front:
        node.name = node.output[0]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    shape = [1, imgsz, imgsz, len(mean)]
    pixels = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, shape)
    graph.input[0].CopyFrom(pixels)
