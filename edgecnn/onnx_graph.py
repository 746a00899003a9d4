"""Reading an ONNX graph: its edges (image size, classes) and its workload.

Operators are named in the vocabulary of `workload.py` where there is one for them. An operator type
that is not in `OPS` keeps its ONNX name and is listed as unknown: nothing is hidden in a total.
Weights that a graph stores quantized count as parameters; their scales and zero points do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from edgecnn.errors import SourceError
from edgecnn.workload import Operator, Workload

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
_CONSTANT_MAKERS = ("DequantizeLinear", "Identity", "Cast", "Transpose", "Reshape", "Unsqueeze")


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
    reader = _Reader(path, _shapes(model.graph), _constants(model.graph))
    for index, node in enumerate(model.graph.node):
        reader.node(index, node)
    return Workload(
        path.stem, reader.input_shape, tuple(reader.operators), tuple(dict.fromkeys(reader.unknown))
    )


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    """Every tensor with its shape, 0 where a dimension is not known."""
    values = (*graph.input, *graph.value_info, *graph.output)
    shapes = {value.name: _dims(value.type) for value in values}
    return shapes | {item.name: tuple(item.dims) for item in graph.initializer}


def _dims(value_type: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value_type.tensor_type.shape.dim)


def _constants(graph: Any) -> dict[str, int]:
    """Initializers, and constant nodes, with their number of elements."""
    found = {item.name: prod(item.dims) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            tensors = [a.t for a in node.attribute if a.name == "value"]
            found[node.output[0]] = prod(tensors[0].dims) if tensors else 1
    return found


@dataclass
class _Reader:
    """Turns nodes into operators; knows which tensor came from which operator."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, int]
    operators: list[Operator] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    makers: dict[str, int] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    input_shape: tuple[int, ...] = ()

    def node(self, index: int, node: Any) -> None:
        if node.op_type == "Constant" or self._is_constant(node):
            return
        sources = [name for name in node.input if name and name not in self.constants]
        inputs = tuple(self.makers.get(name, -1) for name in sources)
        if -1 in inputs:
            self.input_shape = self.shape(sources[inputs.index(-1)])
        op = OPS.get(node.op_type, node.op_type)
        if node.op_type not in OPS or node.domain not in ("", "ai.onnx", "com.microsoft"):
            self.unknown.append(node.op_type)
        in_shape, out_shape = self.shape(sources[0]), self.shape(node.output[0])
        geometry = self.geometry(node, op, in_shape)
        size, jump = self.field_of(inputs)
        operator = Operator(
            name=node.name or f"{node.op_type}_{index}",
            op=self.refined(op, node, geometry, in_shape, out_shape),
            inputs=inputs,
            in_shape=in_shape,
            out_shape=out_shape,
            params=self.params(node),
            receptive_field=size + (geometry["kernel"] - 1) * geometry["dilation"] * jump,
            jump=jump * geometry["stride"],
            **geometry,
        )
        self.makers.update(dict.fromkeys(node.output, len(self.operators)))
        self.operators.append(operator)

    def _is_constant(self, node: Any) -> bool:
        """Remember a result that is computed from constants alone: a stored, quantized weight."""
        if node.op_type not in _CONSTANT_MAKERS or node.input[0] not in self.constants:
            return False
        self.constants[node.output[0]] = self.constants[node.input[0]]
        return True

    def shape(self, name: str) -> tuple[int, ...]:
        """Without the batch."""
        dims = self.shapes.get(name, ())
        if not dims or 0 in dims[1:]:
            raise SourceError(
                f"{self.path}: the shape of {name!r} is not known ({dims or 'none'}); export the "
                "model with a fixed image size"
            )
        return dims[1:]

    def field_of(self, inputs: tuple[int, ...]) -> tuple[int, int]:
        """Receptive field and jump at the largest input: a gate's 1x1 map does not count."""
        known = [self.operators[i] for i in inputs if i >= 0]
        if not known:
            return 1, 1
        widest = max(prod(o.out_shape) for o in known)
        fields = [(o.receptive_field, o.jump) for o in known if prod(o.out_shape) == widest]
        return max(fields)

    def geometry(self, node: Any, op: str, in_shape: tuple[int, ...]) -> dict[str, int]:
        attributes = {a.name: a for a in node.attribute}
        window = list(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else []
        if op == "conv" and not window:
            weight = node.input[_WEIGHT_INPUT.get(node.op_type, 1)]
            window = list(self.shapes[weight][2:])
        if op == "global_pool" or (op == "reduce_mean" and len(in_shape) == 3):
            window = list(in_shape[1:])
        strides = list(attributes["strides"].ints) if "strides" in attributes else [1]
        dilations = list(attributes["dilations"].ints) if "dilations" in attributes else [1]
        return {
            "kernel": max(window or [1]),
            "area": prod(window) if op == "conv" else 1,
            "stride": max(strides),
            "groups": attributes["group"].i if "group" in attributes else 1,
            "dilation": max(dilations),
        }

    def refined(
        self,
        op: str,
        node: Any,
        geometry: dict[str, int],
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
    ) -> str:
        """The names that need more than the operator's type."""
        if op == "conv" and geometry["groups"] == in_shape[0] > 1:
            return "depthwise_conv"
        if op == "reduce_mean" and prod(out_shape) == in_shape[0]:
            return "global_pool"
        if op == "matmul" and any(name in self.constants for name in node.input):
            return "linear"
        return op

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
