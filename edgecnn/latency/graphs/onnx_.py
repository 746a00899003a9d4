"""A planned network as an ONNX graph.

In float32 it has the form that torch's exporter and onnxslim give it; in w8a8 the pairs of
QuantizeLinear and DequantizeLinear that onnxruntime's quantizer puts into that form, under the
settings of our export: see `export/_onnx_static.py`, and the lists in onnxruntime's
`quantization/registry.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgecnn import layers
from edgecnn.block import GELU_SCALE
from edgecnn.contract import INPUT_NAME, OUTPUT_NAME
from edgecnn.latency.graphs.plan import (
    BIAS_DEVIATION,
    IMAGE,
    Dims,
    Noise,
    Plan,
    Spread,
    Step,
    weight_shape,
)

OPSET = 20
_IR_VERSION = 10
_STEPS = 255
_RATIO_BASE = 127
_WEIGHT_LIMIT = 63
"""No two neighbours sum to more than 127, at which kernels of x86 could saturate."""

_NODES = {
    "add": "Add", "mul": "Mul", "relu": "Relu", "relu6": "Clip", "sigmoid": "Sigmoid",
    "tanh": "Tanh", "gelu": "Gelu", "gelu_tanh": "Gelu", "gelu_scale": "Mul",
    "hswish": "HardSwish", "hsigmoid": "HardSigmoid", "flatten": "Reshape",
}  # fmt: skip
_CONSTANTS = {
    "axes": np.array([2, 3], np.int64),
    "flat": np.array([1, -1], np.int64),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "scale": np.array(GELU_SCALE, np.float32),
}
_MORE_INPUTS = {"relu6": ("zero", "six"), "flatten": ("flat",), "gelu_scale": ("scale",)}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "hsigmoid": {"alpha": 1 / 6}, "flatten": {"allowzero": 1}, "gelu_tanh": {"approximate": "tanh"},
}  # fmt: skip
_QUANTIZED = ("conv", "linear", "add", "mul", "gelu_scale", "sigmoid", "pool")
"""Steps whose inputs and results onnxruntime's quantizer quantizes; the others follow."""


def content(plan: Plan, precision: str, noise: Noise) -> bytes:
    """Return the bytes of the file; `precision` is fp32 or w8a8."""
    writer = _Quantized(plan, noise) if precision == "w8a8" else _Writer(plan, noise)
    writer.write()
    last = plan.steps[-1].shape
    graph = helper.make_graph(
        writer.nodes,
        plan.name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [1, *plan.input_shape])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [1, *last])],
        writer.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


class _Writer:
    """Float32: a tensor has the name of the step that makes it."""

    def __init__(self, plan: Plan, noise: Noise) -> None:
        self.plan, self.noise = plan, noise
        self.nodes: list[Any] = []
        self.constants = [numpy_helper.from_array(v, k) for k, v in _CONSTANTS.items()]

    def write(self) -> None:
        for index, step in enumerate(self.plan.steps):
            self.step(index, step)

    def name(self, index: int) -> str:
        """What a step's result is called."""
        if index == len(self.plan.steps) - 1:
            return OUTPUT_NAME
        return f"t{index}" if index >= 0 else INPUT_NAME

    def read(self, index: int) -> str:
        """What the readers of a step's result read."""
        return self.name(index)

    def step(self, index: int, step: Step) -> None:
        inputs = [self.read(source) for source in step.inputs]
        name = self.name(index)
        if step.layer is None:
            self.plain(step, inputs, name)
            return
        inputs += self.weights(index, step, weight_shape(step.layer))
        made = name if step.clamp == "none" else f"{name}_unclamped"
        self.node(*_weighted(step.layer), inputs, made)
        if step.clamp != "none":
            self.function(step.clamp, [made], name)

    def plain(self, step: Step, inputs: Sequence[str], name: str) -> None:
        if step.op == "pool":
            self.node("ReduceMean", {"keepdims": 1}, [*inputs, "axes"], name)
        elif step.clamp == "none":
            self.function(step.op, inputs, name)
        else:
            self.function(step.op, inputs, f"{name}_unclamped")
            self.function(step.clamp, [f"{name}_unclamped"], name)

    def function(self, op: str, inputs: Sequence[str], name: str) -> None:
        more = _MORE_INPUTS.get(op, ())
        self.node(_NODES[op], _ATTRIBUTES.get(op, {}), [*inputs, *more], name)

    def weights(self, index: int, step: Step, shape: Dims) -> list[str]:
        """Add the weight and the bias of a step; return their names."""
        bias = self.noise.normal(shape[:1], BIAS_DEVIATION)
        arrays = {f"w{index}": self.noise.normal(shape, step.deviation), f"b{index}": bias}
        return [self.constant(name, array) for name, array in arrays.items()]

    def node(self, op: str, attributes: dict[str, Any], inputs: Sequence[str], output: str) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], f"{output}_{op}", **attributes))

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name


class _Quantized(_Writer):
    """w8a8: results pass through a QuantizeLinear and a DequantizeLinear."""

    def __init__(self, plan: Plan, noise: Noise) -> None:
        super().__init__(plan, noise)
        self.grids = _grids(plan)
        self.through = _quantized(plan)

    def write(self) -> None:
        if IMAGE in self.through:
            self.pair(IMAGE, INPUT_NAME)
        super().write()

    def read(self, index: int) -> str:
        return f"{super().name(index)}_dequantized" if index in self.through else self.name(index)

    def name(self, index: int) -> str:
        name = super().name(index)
        is_output = name == OUTPUT_NAME and index in self.through
        return f"t{index}" if is_output else name

    def step(self, index: int, step: Step) -> None:
        # A clamp's work is done by the range of the result that it clamps.
        super().step(index, replace(step, clamp="none"))
        if index in self.through:
            self.pair(index, self.name(index))

    def plain(self, step: Step, inputs: Sequence[str], name: str) -> None:
        if step.op == "pool":
            self.node("GlobalAveragePool", {}, inputs, name)
        elif step.op == "gelu_scale":
            self.node("Mul", {}, [*inputs, self.factor(f"{name}_factor")], name)
        else:
            super().plain(step, inputs, name)

    def factor(self, name: str) -> str:
        """What gelu_sigmoid multiplies by, as the largest number of its own grid."""
        grid = np.array(_STEPS, np.uint8), np.float32(GELU_SCALE / _STEPS), np.array(0, np.uint8)
        parts = zip(("quantized", "scale", "zero"), grid, strict=True)
        inputs = [self.constant(f"{name}_{part}", np.asarray(array)) for part, array in parts]
        self.node("DequantizeLinear", {}, inputs, name)
        return name

    def pair(self, index: int, name: str) -> None:
        scale, zero = self.grids[index]
        grid = [self.constant(f"{name}_scale", scale), self.constant(f"{name}_zero", zero)]
        self.node("QuantizeLinear", {}, [name, *grid], f"{name}_quantized")
        last = OUTPUT_NAME if index == len(self.plan.steps) - 1 else self.read(index)
        self.node("DequantizeLinear", {}, [f"{name}_quantized", *grid], last)

    def weights(self, index: int, step: Step, shape: Dims) -> list[str]:
        units = self.noise.step(shape[0], _WEIGHT_LIMIT, step.deviation)
        weight = self.noise.integers(shape, _WEIGHT_LIMIT)
        bias_units = units * self.grids[step.inputs[0]][0]
        bias = self.noise.normal(shape[:1], BIAS_DEVIATION) / bias_units
        return [
            self.stored(f"w{index}", weight, units),
            self.stored(f"b{index}", np.rint(bias).astype(np.int32), bias_units),
        ]

    def stored(self, name: str, values: Any, units: Any) -> str:
        zeros = np.zeros(len(units), values.dtype)
        arrays = {f"{name}_quantized": values, f"{name}_scale": units, f"{name}_zero": zeros}
        inputs = [self.constant(key, array) for key, array in arrays.items()]
        self.node("DequantizeLinear", {"axis": 0}, inputs, name)
        return name


def _weighted(layer: layers.Conv | layers.Linear) -> tuple[str, dict[str, Any]]:
    if isinstance(layer, layers.Linear):
        return "Gemm", {"transB": 1}
    before, after = layer.padding
    return "Conv", {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "dilations": [layer.dilation] * 2,
        "pads": [before, before, after, after],
        "group": layer.groups,
    }


def _quantized(plan: Plan) -> set[int]:
    """Results that are quantized: where a step that is, makes or reads them.

    The last layer's are not. A view is quantized where what it shows is, and where it is read.
    """
    found: set[int] = set()
    for index, step in enumerate(plan.steps):
        if step.op in _QUANTIZED:
            found.update(step.inputs)
            found.update([index] if step.op != "linear" else [])
        elif step.op == "flatten" and step.inputs[0] in found:
            found.add(index)
    return found


def _grids(plan: Plan) -> dict[int, tuple[Any, Any]]:
    """Scale and zero point of each result, the input's included, as float32 and uint8."""
    from edgecnn.export._onnx_static import _fix_ratios, _parameters

    ranges = {index: _range(plan.spread(index)) for index in range(IMAGE, len(plan.steps))}
    scales = {str(index): (high - low) / _STEPS for index, (low, high) in ranges.items()}
    fixed: dict[str, float] = {}
    for index, step in enumerate(plan.steps):
        if step.op == "add":
            _fix_ratios([str(i) for i in step.inputs], str(index), scales, fixed)
    grids: dict[int, tuple[Any, Any]] = {}
    for index, limits in ranges.items():
        scale = fixed.get(str(index), scales[str(index)])
        made = _parameters(limits, scale)
        grids[index] = (made["scale"], made["zero_point"])
        if index >= 0 and plan.steps[index].op == "flatten":
            grids[index] = grids[plan.steps[index].inputs[0]]
    return grids


def _range(spread: Spread) -> tuple[float, float]:
    low, high = min(spread.low, 0.0), max(spread.high, 0.0)
    return (low, high) if low < high else (0.0, 1.0)
