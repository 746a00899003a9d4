"""Empirical bias correction: undo the shift of a layer's mean that rounding its weights causes.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(ICCV 2019, section 4.2 and appendix D: the empirical form). Layer by layer, the mean output of each
channel is measured with the original weights and with the rounded ones (behind layers that are
already corrected), and the difference goes into the bias. The weights themselves stay: the
quantizer of each format rounds them in the same way, symmetric with a range per channel.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgecnn.contract import InputContract
from edgecnn.export.calibration import ImageSet, model_inputs
from edgecnn.export.weight_levels import Levels, steps

_MAX_IMAGES = 32
_MAX_PIXELS = _MAX_IMAGES * 224 * 224
_MIN_IMAGES = 8

Layer = nn.Conv2d | nn.Linear


def can_correct(module: nn.Module) -> bool:
    """Tell whether ``module`` has layers whose bias can be corrected."""
    return bool(_layers(module))


def corrected(
    module: nn.Module, images: ImageSet, contract: InputContract, levels: Levels
) -> nn.Module:
    """Return a copy of ``module`` whose biases make up for rounding its weights to ``levels``.

    Args:
        module: in eval mode; float32 NCHW input.
        contract: of a float32 NCHW input.
        levels: as the quantizer will round the weights.
    """
    batch = _batch(images, contract)
    result = copy.deepcopy(module)
    rounded = copy.deepcopy(module)
    for layer in _layers(rounded).values():
        layer.weight.data = _rounded(layer.weight.data, levels)
    with torch.inference_mode():
        means = _record_means(module, batch)
        shifts = _measure_shifts(rounded, batch, means)
    for name, layer in _layers(result).items():
        if name in shifts:
            bias = shifts[name] if layer.bias is None else layer.bias.data + shifts[name]
            layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return result


def _batch(images: ImageSet, contract: InputContract) -> Tensor:
    """One batch, since a layer is corrected on all images before the next one is measured."""
    fitting = max(_MIN_IMAGES, min(_MAX_IMAGES, _MAX_PIXELS // contract.imgsz**2))
    arrays = list(model_inputs(images.first(fitting), contract))
    return torch.from_numpy(np.concatenate(arrays))


def _layers(module: nn.Module) -> dict[str, Layer]:
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def _rounded(weight: Tensor, levels: Levels) -> Tensor:
    """Round symmetrically with a step per output channel."""
    step = torch.from_numpy(steps(weight.numpy(), levels)).reshape(-1, *[1] * (weight.dim() - 1))
    return torch.round(weight / step) * step


def _record_means(module: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Return the mean output of each channel of the layers that run exactly once."""
    found: dict[str, list[Tensor]] = {}

    def record(name: str, layer: Layer, output: Tensor) -> None:
        found.setdefault(name, []).append(_channel_means(layer, output))

    with _hooked(module, record):
        module(batch)
    return {name: means[0] for name, means in found.items() if len(means) == 1}


def _measure_shifts(
    module: nn.Module, batch: Tensor, means: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Run the rounded module, correcting each layer's output on the way."""
    shifts: dict[str, Tensor] = {}

    def correct(name: str, layer: Layer, output: Tensor) -> Tensor | None:
        if name not in means:
            return None
        shifts[name] = means[name] - _channel_means(layer, output)
        is_image = isinstance(layer, nn.Conv2d)
        return output + (shifts[name][:, None, None] if is_image else shifts[name])

    with _hooked(module, correct):
        module(batch)
    return shifts


def _channel_means(layer: Layer, output: Tensor) -> Tensor:
    channels = 1 if isinstance(layer, nn.Conv2d) else output.dim() - 1
    return output.mean([axis for axis in range(output.dim()) if axis != channels])


@contextmanager
def _hooked(module: nn.Module, call: Any) -> Iterator[None]:
    """Call ``call(name, layer, output)`` behind each layer; what it returns replaces the output."""
    handles = [
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: call(name, layer, output)
        )
        for name, layer in _layers(module).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
