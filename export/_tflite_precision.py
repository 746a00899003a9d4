"""Lower precisions of a TFLite model, by ai-edge-quantizer's recipes."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import TensorType
from ai_edge_quantizer import quantizer, recipe_manager
from ai_edge_quantizer.qtyping import TFLOperationName as Op

from edgecnn.contract import OUTPUT_NAME, InputContract, Recipe
from edgecnn.export._ranges import Observation, measure
from edgecnn.export._tflite_padding import around_max_pools
from edgecnn.export._tflite_products import without_halves
from edgecnn.export.calibration import ImageSet, model_inputs, required_images
from edgecnn.formats import _tflite_tree

_NORMALIZATION = r"_Pixels_normalize;\d*;?$"
"""Outputs of the operators that turn pixels into the model's input: they stay float32."""

_LOGITS = rf"^{OUTPUT_NAME};?$"

_NO_QUANTIZE = quantizer.AlgorithmName.NO_QUANTIZE
_CAST = quantizer.AlgorithmName.FLOAT_CASTING


def lowered(
    content: bytes, recipe: Recipe, images: ImageSet | None, image: InputContract
) -> tuple[bytes, str]:
    """Return the float32 model ``content`` in the precision of ``recipe``, and how in words."""
    match str(recipe):
        case "w8a8":
            scheme = (
                "ai-edge-quantizer static: weights int8 per channel symmetric, activations int8 "
                "per tensor 99.999 % of the values, last layer with float32 result; input float32"
            )
            return _static(content, required_images(images), image), scheme
        case "w8a32":
            scheme = "ai-edge-quantizer dynamic_wi8_afp32: weights int8 per channel symmetric"
            return _quantized(content, _dynamic_recipe()), scheme
        case "fp16":
            scheme = "ai-edge-quantizer float casting: float16 weights, computed in float32"
            return _quantized(content, _half_recipe()), scheme
    return content, ""


def _static(content: bytes, images: ImageSet, image: InputContract) -> bytes:
    padded = around_max_pools(content)
    observations = _observe(content, images, image, left_out=padded)
    measured = measure(observations, whole=frozenset({OUTPUT_NAME}))
    for name, inner in padded.items():
        measured[name] = measured[inner]
    ranges = without_halves(content, measured)
    statistics = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
        for name, (low, high) in ranges.items()
    }
    return _quantized(content, _static_recipe(), statistics)


def _observe(
    content: bytes, images: ImageSet, image: InputContract, left_out: Collection[str]
) -> Iterator[Observation]:
    """Yield the values of all float32 activations, but of those ``left_out``, for each image."""
    interpreter = Interpreter(
        model_content=content, num_threads=2, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    graph = _tflite_tree.unpack(content).subgraphs[0]
    input_index = int(graph.inputs[0])
    computed = {input_index} | {int(i) for op in graph.operators for i in op.outputs}
    observed = {
        index: graph.tensors[index].name.decode()
        for index in computed
        if graph.tensors[index].type == TensorType.FLOAT32
        and graph.tensors[index].name.decode() not in left_out
    }
    for array in model_inputs(images, image):
        interpreter.set_tensor(input_index, array)
        interpreter.invoke()
        yield {name: interpreter.get_tensor(index) for index, name in observed.items()}


def _quantized(content: bytes, recipe: Any, ranges: Any = None) -> bytes:
    result = quantizer.Quantizer(content, recipe).quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def _static_recipe() -> Any:
    manager = recipe_manager.RecipeManager()
    manager.add_static_config(".*", Op.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for edge in (Op.INPUT, Op.OUTPUT):
        manager.add_quantization_config(".*", edge, algorithm_key=_NO_QUANTIZE)
    manager.add_quantization_config(_NORMALIZATION, Op.ALL_SUPPORTED, algorithm_key=_NO_QUANTIZE)
    # Int8 logits would tie, and be cut off where a picture's are larger than any calibrated one.
    manager.add_dynamic_config(_LOGITS, Op.FULLY_CONNECTED, num_bits=8)
    return manager.get_quantization_recipe()


def _dynamic_recipe() -> Any:
    manager = recipe_manager.RecipeManager()
    manager.add_dynamic_config(".*", Op.ALL_SUPPORTED, num_bits=8)
    return manager.get_quantization_recipe()


def _half_recipe() -> Any:
    manager = recipe_manager.RecipeManager()
    manager.add_weight_only_config(".*", Op.ALL_SUPPORTED, num_bits=16, algorithm_key=_CAST)
    return manager.get_quantization_recipe()
