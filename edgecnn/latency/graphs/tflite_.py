"""A planned network as a TFLite file, of the form that litert-torch and ai-edge-quantizer give it.

Clamps stand inside the operator before them; of hard-sigmoid, relu6(x + 3) / 6, the sum is in the
bias and the clamp in the convolution. Padding that is TensorFlow's own is an option of its
convolution, other padding an operator. In w8a8 everything between QUANTIZE and DEQUANTIZE is int8;
the last layer has int8 weights and computes in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgecnn import layers
from edgecnn.block import GELU_SCALE
from edgecnn.contract import INPUT_NAME, OUTPUT_NAME
from edgecnn.errors import UsageError
from edgecnn.formats import _tflite_tree
from edgecnn.latency.graphs.plan import BIAS_DEVIATION, IMAGE, Dims, Noise, Plan, Spread, Step

_SCHEMA_VERSION = 3
_STEPS = 255
_LOWEST = -128
_WEIGHT_LIMIT = 127
_OLD_CODES = 127
"""Operators from this number on stand in a field of their own."""

_CLAMPS = {"none": 0, "relu": 1, "relu6": 3}
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}
_PLAIN = {
    "relu": "RELU", "relu6": "RELU6", "sigmoid": "LOGISTIC", "tanh": "TANH", "gelu": "GELU",
    "gelu_tanh": "GELU", "hswish": "HARD_SWISH", "add": "ADD", "mul": "MUL",
}  # fmt: skip
_SIX = Spread(3.0, 10.0, 0.0, 6.0)
"""Of relu6(x + 3)."""
_FIXED_GRIDS = {"sigmoid": (1 / 256, _LOWEST), "tanh": (1 / 128, 0)}
"""TFLite quantization specification, LOGISTIC and TANH."""


def content(plan: Plan, precision: str, noise: Noise) -> bytes:
    """Return the bytes of the file; `precision` is fp32 or w8a8.

    Raises:
        UsageError: a layer needs another layout, or has no counterpart.
    """
    writer = _Writer(plan, noise, precision == "w8a8")
    return _tflite_tree.pack(writer.model())


@dataclass(frozen=True)
class _Grid:
    """How integers stand for numbers: one scale, or one for each index of an axis."""

    scales: Any
    zero_point: int = 0
    axis: int = 0


@dataclass
class _Writer:
    """Appends tensors and operators; `made` is the tensor of each step's result."""

    plan: Plan
    noise: Noise
    is_int8: bool
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    codes: dict[str, int] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)
    constants: dict[Dims | str, int] = field(default_factory=dict)

    def model(self) -> Any:
        image = self.tensor(INPUT_NAME, _channels_last(self.plan.input_shape), np.float32)
        self.made[IMAGE] = self.quantized(image) if self.is_int8 else image
        for index, step in enumerate(self.plan.steps):
            self.made[index] = self.step(index, step)
        result = self.made[len(self.plan.steps) - 1]
        if self.tensors[result].type == schema.TensorType.INT8:
            result = self.dequantized(result)
        self.tensors[result].name = OUTPUT_NAME.encode()
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self.tensors, self.operators
        graph.inputs, graph.outputs = [image], [result]
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, b"edgecnn"
        model.subgraphs, model.buffers = [graph], self.buffers
        model.operatorCodes = [_code(name) for name in self.codes]
        return model

    # ------------------------------------------------------------------------------------- steps

    def step(self, index: int, step: Step) -> int:
        match step.layer:
            case layers.Conv():
                return self.conv(index, step, step.layer)
            case layers.Linear():
                return self.linear(index, step, step.layer)
        match step.op:
            case "pool":
                return self.pool(index, step)
            case "flatten":
                return self.flatten(step)
            case "hsigmoid":
                return self.hard_sigmoid(index, step)
            case "gelu_scale":
                inputs = [self.made[step.inputs[0]], self.factor("gelu_scale", GELU_SCALE)]
                return self.operator("MUL", inputs, self.result(index), schema.MulOptionsT())
        inputs = [self.made[source] for source in step.inputs]
        return self.operator(_PLAIN[step.op], inputs, self.result(index), _options(step))

    def conv(self, index: int, step: Step, layer: layers.Conv) -> int:
        depthwise = layer.groups == layer.in_channels and layer.groups > 1
        taps = (layer.kernel, layer.kernel)
        shape = (
            (1, *taps, layer.out_channels)
            if depthwise
            else (layer.out_channels, *taps, layer.in_channels // layer.groups)
        )
        is_gate = self._is_gate(index)
        source, size = self.made[step.inputs[0]], self.plan.shape(step.inputs[0])[1]
        padding = _padding(layer, size)
        if padding is None:
            source, padding = self.padded(source, layer.padding), schema.Padding.VALID
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = padding
        options.strideH = options.strideW = layer.stride
        options.dilationHFactor = options.dilationWFactor = layer.dilation
        options.fusedActivationFunction = _CLAMPS["relu6" if is_gate else step.clamp]
        if depthwise:
            options.depthMultiplier = layer.out_channels // layer.in_channels
        weights = self.weights(index, step, shape, 3.0 if is_gate else 0.0)
        spread = _SIX if is_gate else step.spread
        result = self.feature_map(f"t{index}", step.shape, _grid(spread))
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.operator(name, [source, *weights], result, options)

    def linear(self, index: int, step: Step, layer: layers.Linear) -> int:
        source = self.made[step.inputs[0]]
        source = self.dequantized(source) if self.is_int8 else source
        weights = self.weights(index, step, (layer.out_features, layer.in_features), 0.0)
        result = self.tensor(f"t{index}", (1, layer.out_features), np.float32)
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = _CLAMPS[step.clamp]
        return self.operator("FULLY_CONNECTED", [source, *weights], result, options)

    def pool(self, index: int, step: Step) -> int:
        axes = self.constant("axes", np.array([1, 2], np.int32))
        options = schema.ReducerOptionsT()
        options.keepDims = self._readers(index) != ["flatten"]
        result = self.result(index)
        if not options.keepDims:
            self.tensors[result].shape = np.array([1, step.shape[0]], np.int32)
        return self.operator("MEAN", [self.made[step.inputs[0]], axes], result, options)

    def flatten(self, step: Step) -> int:
        """Nothing: an operator on vectors takes maps of one pixel as well."""
        source = step.inputs[0]
        if prod(self.plan.shape(source)[1:]) > 1:
            raise UsageError(
                f"{self.plan.name}: a map of {self.plan.shape(source)} is flattened, which TFLite "
                "orders otherwise; put a pool row before it."
            )
        return self.made[source]

    def hard_sigmoid(self, index: int, step: Step) -> int:
        """The sixth, of what the convolution before has clamped; nothing, where weights take it."""
        source = step.inputs[0]
        if not self._is_gate(source):
            raise UsageError(
                f"{self.plan.name}: TFLite has hsigmoid only behind a convolution of its own."
            )
        if self._readers(index) == ["conv"]:
            return self.made[source]
        inputs = [self.made[source], self.factor("sixth", 1 / 6)]
        return self.operator("MUL", inputs, self.result(index), schema.MulOptionsT())

    def factor(self, key: str, value: float) -> int:
        """A constant above 0 that maps are multiplied by."""
        if not self.is_int8:
            return self.constant(key, np.array(value, np.float32))
        grid = _Grid(np.array([value / _STEPS], np.float32), _LOWEST)
        return self.constant(key, np.array(_LOWEST + _STEPS, np.int8), grid)

    def padded(self, source: int, padding: tuple[int, int]) -> int:
        both = [[0, 0], list(padding), list(padding), [0, 0]]
        amounts = self.constant(padding, np.array(both, np.int32))
        before = self.tensors[source]
        shape = before.shape + np.array([0, sum(padding), sum(padding), 0], np.int32)
        result = self.tensor(f"p{source}", shape, np.float32)
        padded = self.tensors[result]
        padded.type, padded.quantization = before.type, before.quantization
        return self.operator("PAD", [source, amounts], result, schema.PadOptionsT())

    def quantized(self, source: int) -> int:
        shape = self.plan.input_shape
        result = self.feature_map("image_int8", shape, _grid(self.plan.spread(IMAGE)))
        return self.operator("QUANTIZE", [source], result)

    def dequantized(self, source: int) -> int:
        result = self.tensor(f"f{source}", self.tensors[source].shape, np.float32)
        return self.operator("DEQUANTIZE", [source], result)

    def _readers(self, index: int) -> list[str]:
        return [step.op for step in self.plan.steps if index in step.inputs]

    def _is_gate(self, index: int) -> bool:
        """Whether a step is a convolution whose one reader is a hard-sigmoid."""
        step = self.plan.steps[index]
        is_plain = index >= 0 and step.op == "conv" and step.clamp == "none"
        return is_plain and self._readers(index) == ["hsigmoid"]

    # --------------------------------------------------------------------------------- the parts

    def weights(self, index: int, step: Step, shape: Dims, shift: float) -> list[int]:
        """Add the weight and the bias of a step, `shift` added to the bias."""
        filters, source = step.shape[0], self.made[step.inputs[0]]
        bias = self.noise.normal((filters,), BIAS_DEVIATION) + np.float32(shift)
        if not self.is_int8:
            values = {f"w{index}": self.noise.normal(shape, step.deviation), f"b{index}": bias}
            return [self.stored(name, array) for name, array in values.items()]
        scales = self.noise.step(filters, _WEIGHT_LIMIT, step.deviation)
        axis = 3 if shape[0] == 1 and len(shape) == 4 and filters != 1 else 0
        weight = self.stored(
            f"w{index}", self.noise.integers(shape, _WEIGHT_LIMIT), _Grid(scales, axis=axis)
        )
        if step.op == "linear":
            return [weight, self.stored(f"b{index}", bias)]
        scales = scales * self.tensors[source].quantization.scale
        integers = np.rint(bias / scales).astype(np.int32)
        return [weight, self.stored(f"b{index}", integers, _Grid(scales))]

    def result(self, index: int) -> int:
        step = self.plan.steps[index]
        fixed = _FIXED_GRIDS.get(step.op)
        grid = _Grid(np.array(fixed[:1], np.float32), fixed[1]) if fixed else _grid(step.spread)
        return self.feature_map(f"t{index}", step.shape, grid)

    def feature_map(self, name: str, shape: Dims, grid: _Grid) -> int:
        """A result, channels last: int8 on a grid in w8a8, else float32."""
        if self.is_int8:
            return self.tensor(name, _channels_last(shape), np.int8, grid)
        return self.tensor(name, _channels_last(shape), np.float32)

    def constant(self, key: Dims | str, array: Any, grid: _Grid | None = None) -> int:
        """A constant that several operators share."""
        if key not in self.constants:
            self.constants[key] = self.stored(f"c{len(self.constants)}", array, grid)
        return self.constants[key]

    def stored(self, name: str, array: Any, grid: _Grid | None = None) -> int:
        buffer = schema.BufferT()
        buffer.data = array.reshape(-1).view(np.uint8)
        self.buffers.append(buffer)
        index = self.tensor(name, array.shape, array.dtype, grid)
        self.tensors[index].buffer = len(self.buffers) - 1
        return index

    def tensor(self, name: str, shape: Any, dtype: Any, grid: _Grid | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), _TYPES[np.dtype(dtype)]
        tensor.shape = np.array(shape, np.int32)
        tensor.hasRank = True
        if grid is not None:
            made = schema.QuantizationParametersT()
            made.scale = np.asarray(grid.scales, np.float32)
            made.zeroPoint = np.full(len(made.scale), grid.zero_point, np.int64)
            made.quantizedDimension = grid.axis
            tensor.quantization = made
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: Sequence[int], output: int, options: Any = None) -> int:
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(name, len(self.codes))
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.operators.append(operator)
        return output


def _grid(spread: Spread) -> _Grid:
    """The int8 grid of a range, with zero on it."""
    low, high = min(spread.low, 0.0), max(spread.high, 0.0)
    scale = (high - low) / _STEPS or 1.0 / _STEPS
    return _Grid(np.array([scale], np.float32), round(_LOWEST - low / scale))


def _padding(layer: layers.Conv, size: int) -> int | None:
    """TFLite's name for the padding of a convolution; None where it has none."""
    if layer.padding == (0, 0):
        return int(schema.Padding.VALID)
    same = layers.padding_for(size, layer.kernel, layer.stride, layer.dilation, "same")
    return int(schema.Padding.SAME) if layer.padding == same else None


def _options(step: Step) -> Any:
    """The options of an operator on whole maps; most have none."""
    if step.op in ("gelu", "gelu_tanh"):
        options = schema.GeluOptionsT()
        options.approximate = step.op == "gelu_tanh"
        return options
    if step.op not in ("add", "mul"):
        return None
    options = schema.AddOptionsT() if step.op == "add" else schema.MulOptionsT()
    options.fusedActivationFunction = _CLAMPS[step.clamp]
    return options


@cache
def _code(name: str) -> Any:
    code = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, name)
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, _OLD_CODES)
    code.version = 1
    return code


def _channels_last(shape: Dims) -> Dims:
    return (1, *shape[1:], shape[0]) if len(shape) == 3 else (1, *shape)
