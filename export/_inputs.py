"""The input that a model has, from what its source says."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from edgecnn.contract import INPUT_NAME, InputContract, Layout, Recipe, color_of
from edgecnn.errors import ExportError, SourceError
from edgecnn.export.calibration import ImageSet
from edgecnn.export.weight_levels import Levels
from edgecnn.sources import Source

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


def input_contract(source: Source, layout: Layout, dtype: str = "float32") -> InputContract:
    """Return the contract of one image in ``layout``, float32 normalized or uint8 pixels.

    Raises:
        SourceError: the source does not say all of it.
    """
    imgsz = _known(source.imgsz, "input size", "--imgsz")
    mean = _known(source.mean, "mean", "--mean")
    channels = len(mean)
    return InputContract(
        name=INPUT_NAME,
        shape=(1, imgsz, imgsz, channels) if layout == "NHWC" else (1, channels, imgsz, imgsz),
        dtype=dtype,
        layout=layout,
        imgsz=imgsz,
        mean=mean,
        std=_known(source.std, "standard deviation", "--std"),
        crop_pct=_known(source.crop_pct, "crop", "--crop-pct"),
        interpolation=_known(source.interpolation, "interpolation", "--interpolation"),
        color=color_of(channels),
    )


@dataclass(frozen=True)
class Prepared:
    """A source ready for rounding its weights; ``notes`` goes behind the scheme in words."""

    source: Source
    corrected: bool
    notes: str


def prepare(source: Source, recipe: Recipe, images: ImageSet | None, levels: Levels) -> Prepared:
    """Correct the biases of a source for weights rounded to ``levels``, where possible.

    It stays as it is where its weights are not rounded, where there are no images, and where it has
    no PyTorch layers (an ONNX file, a program of torch.export). So does one that was trained under
    this rounding: the shift is part of what it has learnt.
    """
    if recipe.is_quantized and source.tuned_for == str(recipe):
        return Prepared(source, False, "; trained under this rounding")
    untouched = Prepared(source, False, "")
    if not recipe.is_quantized or images is None or source.module is None:
        return untouched
    from edgecnn.export._bias_correction import can_correct, corrected

    if not can_correct(source.module):
        return untouched
    module = corrected(source.module, images, input_contract(source, "NCHW"), levels)
    return Prepared(replace(source, module=module), True, "; biases corrected")


def torch_module(source: Source, format_name: str) -> "nn.Module":
    """Return the PyTorch module that a format is made from.

    Raises:
        ExportError: the source is an ONNX file and has none.
    """
    if source.module is None:
        raise ExportError(
            f"{source.text}: {format_name} is made from PyTorch, and an ONNX file has no module. "
            "Pass the PyTorch model, or --format onnx."
        )
    return source.module


def _known(value: T | None, what: str, flag: str) -> T:
    if value is None:
        raise SourceError(f"the model does not say its {what}; pass {flag}.")
    return value
