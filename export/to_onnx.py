"""ONNX: torch's dynamo exporter, onnxslim, and onnxruntime's quantizer.

A foreign ``.onnx`` file takes the same way, without the exporter.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.contract import INPUT_NAME, OUTPUT_NAME, InputContract, Layout, Recipe
from edgecnn.errors import ExportError, SourceError
from edgecnn.export import Conversion
from edgecnn.export._inputs import input_contract, prepare
from edgecnn.export._quiet import converting
from edgecnn.export.calibration import ImageSet, required_images
from edgecnn.export.weight_levels import int8, int8_without_saturation
from edgecnn.sources import Source

if TYPE_CHECKING:
    import onnx
    from torch import nn

name = "onnx"
runtime = "ort"
precisions: tuple[str, ...] = ("fp32", "fp16", "w8a8", "w8a32")
requires: tuple[str, ...] = (
    "torch>=2.13", "onnx>=1.18", "onnxscript>=0.5", "onnxslim>=0.1.90", "onnxruntime>=1.20",
)  # fmt: skip
layout: Layout = "NCHW"
takes_uint8 = True


def convert(
    source: Source,
    recipe: Recipe,
    path: Path,
    *,
    calibration: ImageSet | None,
    uint8_input: bool,
) -> Conversion:
    """See :class:`edgecnn.export.Exporter`."""
    from edgecnn.export import _onnx_graph as graph

    image = input_contract(source, layout)
    levels = int8_without_saturation if recipe.needs_calibration else int8
    prepared = prepare(source, recipe, calibration, levels)
    model = float_model(prepared.source)
    with converting(f"conversion of {source.name} to {recipe}"):
        model, scheme = _lowered(model, recipe, calibration, image)
        graph.strip(model)
        if uint8_input:
            graph.take_uint8(model, image.imgsz, image.mean, image.std)
        graph.check(model)
    path.write_bytes(model.SerializeToString())
    return Conversion(
        scheme + prepared.notes,
        calibrated=prepared.corrected or recipe.needs_calibration,
        saturation_free=levels is int8_without_saturation,
    )


def _lowered(
    model: "onnx.ModelProto", recipe: Recipe, images: ImageSet | None, image: InputContract
) -> tuple["onnx.ModelProto", str]:
    """Return the graph in the precision of ``recipe``, and the scheme in words."""
    from edgecnn.export import _onnx_precision as precision
    from edgecnn.export import _onnx_static as static

    match str(recipe):
        case "fp16":
            return precision.to_fp16(model), precision.FP16_SCHEME
        case "w8a32":
            return precision.to_w8a32(model), precision.W8A32_SCHEME
        case "w8a8":
            return static.quantize(model, required_images(images), image), static.SCHEME
    return model, ""


def float_model(source: Source) -> "onnx.ModelProto":
    """Return the float32 graph: input ``image`` (1, C, imgsz, imgsz), output ``logits``.

    Raises:
        ExportError: torch's exporter cannot convert the module, or the graph is no classifier.
    """
    from edgecnn.export import _onnx_graph as graph

    with converting(f"torch.onnx export of {source.name}"):
        import onnxslim

        shape = input_contract(source, layout).shape
        raw = _foreign(source) if source.module is None else _traced(source.module, shape)
        graph.rename_edges(raw)
        graph.fix_input_shape(raw, shape)
        model: onnx.ModelProto = onnxslim.slim(raw)
    return model


def _traced(module: "nn.Module", shape: tuple[int, ...]) -> "onnx.ModelProto":
    import torch

    program = torch.onnx.export(
        module,
        (torch.zeros(shape),),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        verbose=False,
    )
    if program is None:
        raise ExportError("torch.onnx.export gave no program.")
    return program.model_proto


def _foreign(source: Source) -> "onnx.ModelProto":
    import onnx

    if source.path is None:
        raise SourceError(f"{source.name} has neither a PyTorch module nor an ONNX file.")
    return onnx.load(source.path)
