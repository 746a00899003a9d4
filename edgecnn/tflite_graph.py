"""Reading a TFLite graph: its workload. Nothing but the standard library is needed.

Shapes are given as everywhere, (C, H, W) or (C,), though the file has channels last. What a file
writes as one operator with an activation inside becomes two, so that the same network reads the
same from a spec, from ONNX and from TFLite. Operators are named in the vocabulary of `workload.py`
where there is one for them; another keeps its TFLite number or name and is listed as unknown.

Numbers of operators and of slots are those of TFLite's schema (version 3c).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import isclose, prod
from pathlib import Path

from edgecnn.assembly import Assembly, Dims, Geometry
from edgecnn.errors import SourceError
from edgecnn.formats.tflite import _Table as Table
from edgecnn.workload import Workload, is_gelu_scale

# TFLite operator -> its name and ours
OPS = {
    0: ("ADD", "add"), 1: ("AVERAGE_POOL_2D", "avg_pool"), 2: ("CONCATENATION", "concat"),
    3: ("CONV_2D", "conv"), 4: ("DEPTHWISE_CONV_2D", "conv"), 6: ("DEQUANTIZE", "dequantize"),
    9: ("FULLY_CONNECTED", "linear"), 14: ("LOGISTIC", "sigmoid"), 17: ("MAX_POOL_2D", "max_pool"),
    18: ("MUL", "mul"), 19: ("RELU", "relu"), 21: ("RELU6", "relu6"), 22: ("RESHAPE", "flatten"),
    25: ("SOFTMAX", "softmax"), 28: ("TANH", "tanh"), 34: ("PAD", "pad"),
    39: ("TRANSPOSE", "transpose"), 40: ("MEAN", "reduce_mean"), 41: ("SUB", "sub"),
    42: ("DIV", "div"), 43: ("SQUEEZE", "flatten"), 53: ("CAST", "cast"), 60: ("PADV2", "pad"),
    70: ("EXPAND_DIMS", "flatten"), 114: ("QUANTIZE", "quantize"), 117: ("HARD_SWISH", "hswish"),
    126: ("BATCH_MATMUL", "matmul"), 150: ("GELU", "gelu"), 74: ("SUM", "reduce_sum"),
    76: ("RSQRT", "rsqrt"), 99: ("SQUARED_DIFFERENCE", "squared_difference"),
}  # fmt: skip
_CUSTOM = 32
_ACTIVATIONS = {0: "none", 1: "relu", 2: "clip", 3: "relu6", 4: "tanh"}

_MODEL_OPERATOR_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_CODE_OLD, _CODE_CUSTOM, _CODE = 0, 1, 3
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OPERATORS = 0, 1, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 1, 2, 3, 4
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 4
_GELU_APPROXIMATE = 0
_FLOAT32, _FLOAT16, _INT8 = 0, 1, 9
_INTEGERS = frozenset({3, 7, _INT8})


@dataclass(frozen=True)
class _Slots:
    """Where an operator's options stand: strides, fused activation, dilations; -1 for nowhere."""

    activation: int = -1
    strides: tuple[int, int] | None = None
    dilations: tuple[int, int] | None = None
    window: tuple[int, int] | None = None


_POOL = _Slots(5, (1, 2), None, (3, 4))
_OPTIONS = {
    "CONV_2D": _Slots(3, (1, 2), (4, 5)),
    "DEPTHWISE_CONV_2D": _Slots(4, (1, 2), (5, 6)),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": _Slots(0),
    "CONCATENATION": _Slots(1),
    **dict.fromkeys(("ADD", "MUL", "SUB", "DIV"), _Slots(0)),
}


def workload(path: Path) -> Workload:
    """All operators of the first subgraph in its order.

    Raises:
        SourceError: the file is missing, truncated or no TFLite model, or shapes are not fixed.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        if data[4:8] != b"TFL3":
            raise ValueError("the identifier TFL3 is missing")
        reader = _Reader.of(path, Table.root(data))
        reader.read()
    except (ValueError, IndexError, ArithmeticError, struct.error) as error:
        raise SourceError(f"{path}: not a complete TFLite model ({error})") from error
    return reader.assembly.workload(path.stem, reader.precision())


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: Dims
    type: int
    content: bytes
    scale: float
    zero_point: float

    @property
    def is_constant(self) -> bool:
        return bool(self.content)

    @property
    def scalar(self) -> float | None:
        """The value of a constant of one element; None where it is none, or of another type."""
        if self.type == _FLOAT32 and len(self.content) == 4:
            return float(struct.unpack("<f", self.content)[0])
        if self.type == _INT8 and len(self.content) == 1:
            stored = int(struct.unpack("<b", self.content)[0])
            return self.scale * (stored - self.zero_point)
        if self.type == _FLOAT16 and len(self.content) == 2:
            return float(struct.unpack("<e", self.content)[0])
        return None


@dataclass
class _Reader:
    """Turns TFLite operators into operators.

    `constants` grows by what is computed from them; `stored` tells for some of these what they
    convert: files in half precision keep constants as float16, with a DEQUANTIZE behind. `maps` are
    maps that lie channels first in the file, with their shapes: how they come to lie so is a change
    of view.
    """

    path: Path
    tensors: tuple[_Tensor, ...]
    operators: list[Table]
    codes: list[tuple[int, str]]
    inputs: Dims
    constants: set[int]
    assembly: Assembly = field(default_factory=Assembly)
    counted: set[int] = field(default_factory=set)
    made: set[int] = field(default_factory=set)
    maps: dict[int, Dims] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, model: Table) -> _Reader:
        graphs = model.tables(_MODEL_SUBGRAPHS)
        if not graphs:
            raise ValueError("it has no subgraph")
        graph, buffers = graphs[0], model.tables(_MODEL_BUFFERS)
        tensors = tuple(_tensor(table, buffers) for table in graph.tables(_GRAPH_TENSORS))
        codes = [_code(table) for table in model.tables(_MODEL_OPERATOR_CODES)]
        constants = {index for index, tensor in enumerate(tensors) if tensor.is_constant}
        operators = graph.tables(_GRAPH_OPERATORS)
        return cls(path, tensors, operators, codes, graph.ints(_GRAPH_INPUTS), constants)

    def read(self) -> None:
        if not self.operators:
            raise SourceError(f"{self.path}: a TFLite model without operators")
        self.assembly.input_shape = self.shape(self.inputs[0])
        for index, table in enumerate(self.operators):
            self.operator(index, table)

    def precision(self) -> str:
        used = {self.tensors[i].type for i in self.counted}
        if {self.tensors[i].type for i in self.made} & _INTEGERS:
            return "w8a8"
        if used & _INTEGERS:
            return "w8a32"
        return "fp16" if _FLOAT16 in {tensor.type for tensor in self.tensors} else "fp32"

    def operator(self, index: int, table: Table) -> None:
        code, custom = self.codes[table.scalar(_OPERATOR_CODE, "<I")]
        node, op = OPS.get(code, (custom or f"operator {code}", ""))
        operands = [i for i in table.ints(_OPERATOR_INPUTS) if i >= 0]
        results = table.ints(_OPERATOR_OUTPUTS)
        if not results or min(results) < 0:
            raise ValueError(f"operator {index} has no result")
        sources = [i for i in operands if i not in self.constants]
        if not sources:
            self.constants.update(results)
            if op == "dequantize" and operands:
                self.stored[results[0]] = operands[0]
            return
        self.made.update(results)
        if not op:
            self.assembly.unknown[node] = None
        in_shape, out_shape = self.shape(sources[0]), self.shape(results[0])
        if op in _REORDERING and self._is_reordered(sources[0], results[0]):
            op, out_shape = "flatten", in_shape
            self.maps[results[0]] = in_shape
        weights = [i for i in operands if i in self.constants]
        op, in_shape, out_shape = _pooled(op or node, in_shape, out_shape)
        op = self._gelu(op, table, weights)
        if op == "linear":
            in_shape, out_shape = (prod(in_shape),), (prod(out_shape),)
        options, slots = table.table(_OPERATOR_OPTIONS), _OPTIONS.get(node, _Slots())
        self.assembly.append(
            self.tensors[results[0]].name or f"{node}_{index}",
            op,
            node,
            sources=sources,
            results=results,
            in_shape=in_shape,
            out_shape=out_shape,
            geometry=self._geometry(op, (in_shape, out_shape), weights, options, slots),
            params=sum(self._fresh(weights)) if op in _LEARNING else 0,
        )
        self._activation(results, options, slots)
        if op == "mul" and len(sources) == 1:
            self._hard_sigmoid(operands, results)

    def _gelu(self, op: str, table: Table, constants: list[int]) -> str:
        """The name of gelu's approximation, or of the first step of that by a sigmoid."""
        options = table.table(_OPERATOR_OPTIONS)
        if op == "gelu" and options is not None and options.scalar(_GELU_APPROXIMATE, "<b"):
            return "gelu_tanh"
        if op == "mul" and any(is_gelu_scale(self._scalar(i)) for i in constants):
            return "gelu_scale"
        return op

    def _scalar(self, index: int) -> float | None:
        """The value of a constant of one element."""
        return self.tensors[self.stored.get(index, index)].scalar

    def shape(self, index: int) -> Dims:
        """Without the batch, channels first."""
        if index in self.maps:
            return self.maps[index]
        dims = self.tensors[index].shape
        if any(size < 1 for size in dims) or not dims:
            raise SourceError(
                f"{self.path}: the shape of {self.tensors[index].name!r} is not known ({dims}); "
                "export the model with a fixed image size"
            )
        return (dims[3], dims[1], dims[2]) if len(dims) == 4 else dims[1:] or dims

    def _is_reordered(self, before: int, after: int) -> bool:
        """Whether channels come first where they came last: the same map, in our view."""
        batch, *sizes = self.tensors[before].shape
        return len(sizes) == 3 and self.tensors[after].shape == (batch, sizes[2], *sizes[:2])

    def _geometry(
        self,
        op: str,
        shapes: tuple[Dims, Dims],
        weights: list[int],
        options: Table | None,
        slots: _Slots,
    ) -> Geometry:
        in_shape, _ = shapes
        if op == "global_pool":
            return Geometry(kernel=max(in_shape[1:]))
        if op == "flatten":
            return Geometry.flattening(*shapes)
        if options is None or slots.strides is None:
            return Geometry()
        stride = max(options.scalar(slot, "<i") for slot in slots.strides)
        if slots.window:
            return Geometry(
                kernel=max(options.scalar(slot, "<i") for slot in slots.window), stride=stride
            )
        _, height, width, depth = self.tensors[weights[0]].shape
        # A depthwise convolution's weight is 1 x height x width x channels.
        is_depthwise = slots is _OPTIONS["DEPTHWISE_CONV_2D"]
        dilations = [options.scalar(slot, "<i") or 1 for slot in slots.dilations or ()]
        return Geometry(
            kernel=max(height, width),
            area=height * width,
            stride=stride,
            groups=in_shape[0] if is_depthwise else in_shape[0] // depth,
            dilation=max(dilations),
        )

    def _activation(self, results: Dims, options: Table | None, slots: _Slots) -> None:
        """Append the activation that the last operator has inside, as one of its own."""
        if options is None or slots.activation < 0:
            return
        number = options.scalar(slots.activation, "<b")
        function = _ACTIVATIONS.get(number, f"activation {number}")
        if function == "none":
            return
        if number not in _ACTIVATIONS:
            self.assembly.unknown[function] = None
        before = self.assembly.operators[-1]
        self.assembly.append(
            f"{before.name}_{function}",
            function,
            "",
            sources=results,
            results=results,
            in_shape=before.out_shape,
            out_shape=before.out_shape,
            geometry=Geometry(),
        )

    def _hard_sigmoid(self, operands: list[int], results: Dims) -> None:
        """relu6(x + 3) / 6, where the converter added the 3 to the bias before, as one operator."""
        scalars = [self._scalar(i) for i in operands if i in self.constants]
        *_, before, scaling = self.assembly.operators
        is_hard = before.op == "relu6" and scaling.inputs == (len(self.assembly.operators) - 2,)
        if is_hard and scalars[0] is not None and isclose(scalars[0], 1 / 6, rel_tol=1e-3):
            del self.assembly.operators[-1]
            self.assembly.operators[-1] = replace(before, op="hsigmoid", node="")
            self.assembly.makers.update(dict.fromkeys(results, len(self.assembly.operators) - 1))

    def _fresh(self, weights: list[int]) -> Iterator[int]:
        """Elements of the constants, each constant once in the whole graph."""
        for index in weights:
            if index not in self.counted:
                self.counted.add(index)
                yield prod(self.tensors[index].shape)


_REORDERING = ("transpose", "flatten")
_LEARNING = frozenset({"conv", "linear", "matmul"})


def _pooled(op: str, in_shape: Dims, out_shape: Dims) -> tuple[str, Dims, Dims]:
    """A mean over the whole image by any name; its result keeps height and width of 1.

    Of an image of one element the converter writes a sum.
    """
    names = {"reduce_mean", "avg_pool"} | ({"reduce_sum"} if in_shape[1:] == (1, 1) else set())
    if op in names and len(in_shape) == 3 and prod(out_shape) == in_shape[0]:
        return "global_pool", in_shape, (in_shape[0], 1, 1)
    return op, in_shape, out_shape


def _tensor(table: Table, buffers: list[Table]) -> _Tensor:
    buffer = table.scalar(_TENSOR_BUFFER, "<I")
    quantization = table.table(_TENSOR_QUANTIZATION)
    scales, zero_points = (
        quantization.numbers(slot, code) if quantization else ()
        for slot, code in ((_QUANTIZATION_SCALE, "<f"), (_QUANTIZATION_ZERO_POINT, "<q"))
    )
    return _Tensor(
        name=table.text(_TENSOR_NAME),
        shape=table.ints(_TENSOR_SHAPE),
        type=table.scalar(_TENSOR_TYPE, "<b"),
        content=buffers[buffer].blob(0),
        scale=scales[0] if scales else 1.0,
        zero_point=zero_points[0] if zero_points else 0,
    )


def _code(table: Table) -> tuple[int, str]:
    """The number of an operator, which old files keep in a byte of its own; a custom one's name."""
    code = max(table.scalar(_CODE_OLD, "<b"), table.scalar(_CODE, "<i"))
    return code, table.text(_CODE_CUSTOM) if code == _CUSTOM else ""
