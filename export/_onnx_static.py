"""w8a8 of an ONNX graph, so that the file computes the same on x86 and on aarch64.

Three things keep onnxruntime's kernels from agreeing, and each is avoided here:

- x86 without VNNI adds two products of activation and weight in 16 bits and saturates there;
  weights are rounded so that no pair of them reaches that (see ``weight_levels``).
- A quantized Add computes in float32, with fused multiply-add on some processors only, and rounds
  sums differently that lie on half a step. Scales whose ratios are odd fractions have no such sums.
- The mean over an image has no integer kernel as ReduceMean; as GlobalAveragePool it has one.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgecnn.contract import INPUT_NAME, OUTPUT_NAME, InputContract
from edgecnn.export._onnx_precision import channel_axis
from edgecnn.export._ranges import Observation, Range, measure
from edgecnn.export.calibration import ImageSet, model_inputs
from edgecnn.export.weight_levels import int8_without_saturation, steps

SCHEME = (
    "onnxruntime QDQ: weights int8 per channel symmetric without saturating pairs, activations "
    "uint8 per tensor 99.999 % of the values; input and logits float32"
)

_STEPS = 255
_RATIO_BASE = 127
_ACTIVATIONS = ("Clip", "Relu")
_SAME_VALUES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def quantize(model: onnx.ModelProto, images: ImageSet, contract: InputContract) -> onnx.ModelProto:
    """Return the graph with quantize/dequantize pairs, ranges from ``images``."""
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        TensorsData,
        quantize_static,
        save_tensors_data,
    )

    model = onnx.shape_inference.infer_shapes(_pooled(model))
    ranges = _ranges(model, images, contract)
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
        path, table = Path(folder) / "quantized.onnx", Path(folder) / "ranges.json"
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, data), table)
        quantize_static(
            model,
            path,
            calibration_cache_path=table,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "TensorQuantOverrides": _add_scales(model, ranges) | _weight_scales(model),
                # The largest logits of other images lie outside any measured range.
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
            },
        )
        return onnx.load(path)


def _pooled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which means over height and width are GlobalAveragePool."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.extend(_as_pool(node) if _is_image_mean(node, constants) else [node])
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _is_image_mean(node: onnx.NodeProto, constants: dict[str, Any]) -> bool:
    if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
        return False
    return sorted(axis % 4 for axis in constants[node.input[1]].tolist()) == [2, 3]


def _as_pool(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    keeps = next((bool(a.i) for a in node.attribute if a.name == "keepdims"), True)
    output = node.output[0]
    if keeps:
        return [helper.make_node("GlobalAveragePool", node.input[:1], [output], node.name)]
    pooled = f"{output}_pooled"
    return [
        helper.make_node("GlobalAveragePool", node.input[:1], [pooled], node.name),
        helper.make_node("Flatten", [pooled], [output], f"{node.name}_flatten", axis=1),
    ]


def _ranges(model: onnx.ModelProto, images: ImageSet, contract: InputContract) -> dict[str, Range]:
    """Measure every float32 tensor; one that only feeds an activation takes over its range."""
    observed = _observed(model)
    ranges = measure(_observe(model, observed, images, contract), frozenset({OUTPUT_NAME}))
    ranges = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ranges.items()}
    for node in reversed(model.graph.node):
        if node.op_type in _ACTIVATIONS and node.input[0] not in ranges:
            ranges[node.input[0]] = ranges[node.output[0]]
    for node in model.graph.node:
        if node.op_type in _SAME_VALUES and node.input[0] in ranges:
            ranges[node.output[0]] = ranges[node.input[0]]
    return ranges


def _observed(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    values = (*graph.value_info, *graph.output)
    floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    uses = Counter(name for node in graph.node for name in node.input)
    covered = {
        n.input[0] for n in graph.node if n.op_type in _ACTIVATIONS and uses[n.input[0]] == 1
    }
    covered |= {n.output[0] for n in graph.node if n.op_type in _SAME_VALUES}
    outputs = [name for node in graph.node for name in node.output]
    return [name for name in outputs if name in floats and name not in covered - {OUTPUT_NAME}]


def _observe(
    model: onnx.ModelProto, names: list[str], images: ImageSet, contract: InputContract
) -> Iterator[Observation]:
    """Yield the values of the input and of ``names`` for each image."""
    import onnxruntime

    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name != OUTPUT_NAME
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        probed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for array in model_inputs(images, contract):
        values = session.run(names, {INPUT_NAME: array})
        yield {INPUT_NAME: array, **dict(zip(names, values, strict=True))}


def _add_scales(model: onnx.ModelProto, ranges: dict[str, Range]) -> dict[str, Any]:
    """Return scales for the tensors of each Add, input to output as i / 127.

    A sum is then a multiple of 1/127 of a step, at least 1/254 away from half a step, which is
    far more than the rounding error of float32. Scales only grow, mostly by 1 or 2 percent.
    """
    scales = {name: (high - low) / _STEPS or 1.0 for name, (low, high) in ranges.items()}
    fixed: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type == "Add" and all(name in scales for name in node.input):
            _fix_ratios(list(node.input), node.output[0], scales, fixed)
    return {name: [_parameters(ranges[name], scale)] for name, scale in fixed.items()}


def _weight_scales(model: onnx.ModelProto) -> dict[str, Any]:
    """Return the scales of the weights, one for each output channel."""
    weights = {i.name: i for i in model.graph.initializer}
    scales = {}
    for node in model.graph.node:
        axis = channel_axis(node)
        if axis is not None and node.input[1] in weights:
            values = onnx.numpy_helper.to_array(weights[node.input[1]])
            found = steps(np.moveaxis(values, axis, 0), int8_without_saturation)
            scales[node.input[1]] = [_weight_parameters(axis, scale) for scale in found]
    return scales


def _weight_parameters(axis: int, scale: np.float32) -> dict[str, Any]:
    return {"axis": axis, "scale": np.array(scale), "zero_point": np.array(0, np.int8)}


def _fix_ratios(
    inputs: list[str], output: str, scales: dict[str, float], fixed: dict[str, float]
) -> None:
    bound = [name for name in inputs if name in fixed]
    result = scales[output]
    if len(bound) == len(inputs):
        return
    if bound:
        known = fixed[bound[0]]
        parts = math.floor(_RATIO_BASE * known / result + 1e-9)
        if parts < 1:  # So small beside the output that no such ratio keeps the output's range.
            return
        result = known * _RATIO_BASE / parts
    for name in inputs:
        if name not in fixed:
            parts = math.ceil(_RATIO_BASE * scales[name] / result - 1e-9)
            fixed[name] = result * parts / _RATIO_BASE
    fixed[output] = result


def _parameters(limits: Range, scale: float) -> dict[str, Any]:
    """Centre the representable values on the range, since the scale may be larger than it needs."""
    middle = (limits[0] + limits[1]) / 2
    zero_point = round(min(max(_STEPS / 2 - middle / scale, 0), _STEPS))
    return {"scale": np.array(scale, np.float32), "zero_point": np.array(zero_point, np.uint8)}
