"""Reading an ONNX graph: its edges (image size, classes) and its workload.

Operators are named in the vocabulary of `workload.py` where there is one for them. An operator type
that is not in `OPS` keeps its ONNX name and is listed as unknown: nothing is hidden in a total.
Weights that a graph stores quantized count as parameters; their scales and zero points do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from edgecnn.assembly import Assembly, Dims, Geometry
from edgecnn.errors import SourceError
from edgecnn.workload import Workload

# ONNX operator -> ours. Those that are not in `workload.MACS` cost no multiply-adds.
OPS = {
    "Conv": "conv",
    "ConvInteger": "conv",
    "QLinearConv": "conv",
    "Gemm": "linear",
    "QGemm": "linear",
    "MatMul": "matmul",
    "MatMulInteger": "matmul",
    "QLinearMatMul": "matmul",
    "BatchNormalization": "batch_norm",
    "LayerNormalization": "layer_norm",
    "Relu": "relu",
    "Clip": "clip",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hsigmoid",
    "HardSwish": "hswish",
    "Swish": "swish",
    "QuickGelu": "swish",
    "Gelu": "gelu",
    "Tanh": "tanh",
    "Softmax": "softmax",
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "GlobalAveragePool": "global_pool",
    "ReduceMean": "reduce_mean",
    "AveragePool": "avg_pool",
    "MaxPool": "max_pool",
    "Concat": "concat",
    "Pad": "pad",
    "Flatten": "flatten",
    "Reshape": "flatten",
    "Squeeze": "flatten",
    "Unsqueeze": "flatten",
    "Identity": "flatten",
    "Dropout": "flatten",
    "Transpose": "transpose",
    "Cast": "cast",
    "QuantizeLinear": "quantize",
    "DequantizeLinear": "dequantize",
    "DynamicQuantizeLinear": "quantize",
}

# inputs that hold learnt constants; of batch normalization's four, two are statistics
_LEARNT = {
    "Conv": (1, 2),
    "ConvInteger": (1,),
    "QLinearConv": (3, 8),
    "Gemm": (1, 2),
    "QGemm": (3, 6),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (3,),
    "BatchNormalization": (1, 2),
    "Add": (0, 1),
    "Mul": (0, 1),
    "PRelu": (1,),
    "LayerNormalization": (1, 2),
}
_WEIGHT_INPUT = {"QLinearConv": 3}
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_INTEGER_ACTIVATIONS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")


def load(path: Path) -> Any:
    """Load and check an ONNX model. Raises SourceError where it is missing or damaged."""
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise SourceError(f"{path}: not a valid ONNX model ({reason})") from error
    if not model.graph.node:
        raise SourceError(f"{path}: an ONNX model without operators")
    return model


def edges(path: Path) -> tuple[int | None, int]:
    """Image size in pixels (None where it is not fixed) and number of classes of a classifier.

    Raises SourceError where the file is damaged or does not map an RGB image to logits.
    """
    graph = load(path).graph
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise SourceError(
            f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs; a classifier has one "
            "of each"
        )
    shape, out = _dims(inputs[0].type), _dims(graph.output[0].type)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or len(out) != 2 or not out[1]:
        raise SourceError(
            f"{path}: input {shape} and output {out}; expected an RGB image and logits (1, classes)"
        )
    return (shape[2] if shape[1] == 3 else shape[1]) or None, out[1]


def workload(path: Path) -> Workload:
    """All operators of the graph in its order. Raises SourceError where shapes are not fixed."""
    import onnx

    model = onnx.shape_inference.infer_shapes(load(path), data_prop=True)
    graph = model.graph
    reader = _Reader(path, _shapes(graph), _constants(graph), _scalars(graph))
    for index, node in enumerate(graph.node):
        reader.node(index, node)
    return reader.assembly.workload(path.stem, _precision(graph))


def _precision(graph: Any) -> str:
    from onnx import TensorProto

    stored = {item.data_type for item in graph.initializer if prod(item.dims) > 1}
    if any(node.op_type in _INTEGER_ACTIVATIONS for node in graph.node):
        return "w8a8"
    if stored & {TensorProto.INT8, TensorProto.UINT8}:
        return "w8a32"
    return "fp16" if TensorProto.FLOAT16 in stored else "fp32"


def _shapes(graph: Any) -> dict[str, Dims]:
    """Every tensor with its shape, 0 where a dimension is not known."""
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: _dims(value.type) for value in values}
    return shapes | {item.name: tuple(item.dims) for item in graph.initializer}


def _dims(value_type: Any) -> Dims:
    return tuple(d.dim_value for d in value_type.tensor_type.shape.dim)


def _stored(graph: Any) -> Iterator[tuple[str, Any]]:
    """Initializers and constant nodes; None where a constant node holds no tensor."""
    yield from ((item.name, item) for item in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            tensors = [a.t for a in node.attribute if a.name == "value"]
            yield node.output[0], tensors[0] if tensors else None


def _constants(graph: Any) -> dict[str, int]:
    """Constants with their number of elements."""
    return {name: 1 if item is None else prod(item.dims) for name, item in _stored(graph)}


def _scalars(graph: Any) -> dict[str, float]:
    """Constants of one element with its value."""
    from onnx import numpy_helper

    found = ((name, item) for name, item in _stored(graph) if item is not None)
    return {
        name: float(numpy_helper.to_array(item).reshape(-1)[0])
        for name, item in found
        if prod(item.dims) == 1
    }


@dataclass
class _Reader:
    """Turns nodes into operators."""

    path: Path
    shapes: dict[str, Dims]
    constants: dict[str, int]
    scalars: dict[str, float]
    assembly: Assembly = field(default_factory=Assembly)
    counted: set[str] = field(default_factory=set)

    def node(self, index: int, node: Any) -> None:
        sources = [name for name in node.input if name and name not in self.constants]
        if not sources:
            self._fold(node)
            return
        for name in sources:
            if name not in self.assembly.makers:
                self.assembly.input_shape = self.shape(name)
        in_shape, out_shape = self.shape(sources[0]), self.shape(node.output[0])
        op = self.op(node, in_shape, out_shape)
        self.assembly.append(
            node.name or f"{node.op_type}_{index}",
            op,
            node.op_type,
            sources=sources,
            results=node.output,
            in_shape=in_shape,
            out_shape=out_shape,
            geometry=self.geometry(node, op, in_shape, out_shape),
            params=self.params(node),
        )

    def _fold(self, node: Any) -> None:
        """Remember results that are computed from constants alone: stored, quantized weights."""
        stored = max((self.constants[name] for name in node.input if name), default=1)
        for name in node.output:
            self.constants.setdefault(name, prod(self.shapes.get(name, ())) or stored)

    def shape(self, name: str) -> Dims:
        """Without the batch."""
        dims = self.shapes.get(name, ())
        if not dims or 0 in dims[1:]:
            raise SourceError(
                f"{self.path}: the shape of {name!r} is not known ({dims or 'none'}); export the "
                "model with a fixed image size"
            )
        return dims[1:]

    def op(self, node: Any, in_shape: Dims, out_shape: Dims) -> str:
        """Our name; the node's own, noted as unknown, where there is none."""
        if node.op_type not in OPS or node.domain not in _DOMAINS:
            self.assembly.unknown[node.op_type] = None
            return str(node.op_type)
        op = OPS[node.op_type]
        if op == "reduce_mean" and len(in_shape) == 3 and prod(out_shape) == in_shape[0]:
            return "global_pool"
        if op == "matmul" and any(name in self.constants for name in node.input):
            return "linear"
        if op == "clip" and self._limits(node) == (0.0, 6.0):
            return "relu6"
        return op

    def _limits(self, node: Any) -> tuple[float | None, ...]:
        """Bounds of a Clip: attributes up to opset 10, inputs later."""
        attributes = {a.name: a.f for a in node.attribute}
        stated = [self.scalars.get(name) for name in node.input[1:3]]
        return tuple(stated) or (attributes.get("min"), attributes.get("max"))

    def geometry(self, node: Any, op: str, in_shape: Dims, out_shape: Dims) -> Geometry:
        if op == "flatten":
            return Geometry.flattening(in_shape, out_shape)
        attributes = {a.name: a for a in node.attribute}
        window = _ints(attributes.get("kernel_shape"), ())
        if op == "conv" and not window:
            weight = node.input[_WEIGHT_INPUT.get(node.op_type, 1)]
            window = self.shapes[weight][2:]
        if op == "global_pool":
            window = in_shape[1:]
        return Geometry(
            kernel=max(window, default=1),
            area=prod(window) if op == "conv" else 1,
            stride=max(_ints(attributes.get("strides"), (1,))),
            groups=attributes["group"].i if "group" in attributes else 1,
            dilation=max(_ints(attributes.get("dilations"), (1,))),
        )

    def params(self, node: Any) -> int:
        """Elements of the learnt constants, each constant once in the whole graph."""
        names = [node.input[i] for i in _LEARNT.get(node.op_type, ()) if i < len(node.input)]
        return sum(self._fresh(names))

    def _fresh(self, names: list[str]) -> Iterator[int]:
        for name in names:
            count = self.constants.get(name, 0)
            if name not in self.counted and count > 1:
                self.counted.add(name)
                yield count


def _ints(attribute: Any, default: Sequence[int]) -> Dims:
    return tuple(default if attribute is None else attribute.ints)
