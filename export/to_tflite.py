"""TFLite: litert-torch, and ai-edge-quantizer."""

from pathlib import Path

from edgecnn.contract import INPUT_NAME, Layout, Recipe
from edgecnn.export import Conversion
from edgecnn.export._inputs import input_contract, prepare, torch_module
from edgecnn.export._quiet import converting
from edgecnn.export.calibration import ImageSet
from edgecnn.export.weight_levels import int8
from edgecnn.sources import Source

name = "tflite"
runtime = "litert"
precisions: tuple[str, ...] = ("fp32", "fp16", "w8a8", "w8a32")
requires: tuple[str, ...] = (
    "torch>=2.13", "litert-torch>=0.10", "ai-edge-quantizer>=0.10", "ai-edge-litert>=2.0",
)  # fmt: skip
layout: Layout = "NHWC"
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
    from edgecnn.export import _tflite_graph as graph
    from edgecnn.export import _tflite_precision as precision

    image = input_contract(source, layout, "uint8" if uint8_input else "float32")
    prepared = prepare(source, recipe, calibration, int8)
    content = graph.with_edge_names(float_model(prepared.source, uint8_input))
    with converting(f"conversion of {source.name} to {recipe}"):
        content, scheme = precision.lowered(content, recipe, calibration, image)
    path.write_bytes(graph.with_edge_names(content))
    return Conversion(scheme + prepared.notes, prepared.corrected or recipe.needs_calibration)


def float_model(source: Source, uint8_input: bool) -> bytes:
    """Return the float32 model: input NHWC, float32 normalized or uint8 pixels.

    Raises:
        ExportError: litert-torch cannot convert the module, or there is none.
    """
    module = torch_module(source, name)
    import torch

    from edgecnn.export._torch_modules import ImageInput

    with converting(f"litert-torch conversion of {source.name}"):
        import litert_torch

        image = input_contract(source, layout)
        wrapped = ImageInput(module, image, uint8_input)
        example = torch.zeros(image.shape, dtype=torch.uint8 if uint8_input else torch.float32)
        converted = litert_torch.convert(wrapped, sample_kwargs={INPUT_NAME: example})
        return bytes(converted.model_content())
