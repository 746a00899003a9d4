"""Training under the rounding of w8a8, so that the exported file loses less (Jacob et al., arXiv
1712.05877, section 3; Krishnamoorthi, arXiv 1806.08342, section 3.2).

A trained network is tuned further through a view of it: a module with the same parameters that
rounds weights and activations where this project's exporters round them. Gradients pass the
rounding as if it were not there, and are zero outside of its range. Normalization is folded into
the convolution in front of it with the statistics it has learnt, which stay as they are, and so is
a layer's scale. What comes out are the network's own weights: any checkpoint, any format, and
exported in the usual way, whose calibration then finds the ranges that the network has learnt to
live with.

- Weights: int8, symmetric, a step per output channel, by the very function that the ONNX exporter
  uses (`export/weight_levels.py`: as much of int8 as no x86 kernel saturates with). TFLite files
  have steps as fine or finer.
- Activations: 8 bits per tensor, from 0's neighbourhood to the moving mean of the extremes of each
  batch. The input, and what convolutions, sums, products, means and functions give; not in front of
  ReLU and ReLU6, which runtimes fuse; and not the logits.
- Concatenations: each part by a range of its own, as ONNX files have it, and then the whole, whose
  range TFLite files give to the parts too.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from edgecnn.errors import UsageError, WeightsError
from edgecnn.export.weight_levels import int8_without_saturation, steps
from edgecnn.network import LayerScale, Residual, Scale, ScaledResidual

MOMENTUM = 0.01
"""Share of a batch in the moving ranges."""
_LEVELS = 255
_INT8 = 127
_SMALLEST_STEP = 2.0**-23
_FUSED = (nn.ReLU, nn.ReLU6)
_SAME_VALUES = (nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d)
_IN_ORDER = (nn.Sequential, Residual, Scale)
_FOLDED = (nn.BatchNorm2d, LayerScale)
Layer = nn.Conv2d | nn.Linear


class Rounded(nn.Module):
    """Rounds a tensor to 256 values between the extremes that it has seen."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.is_watching = False

    def forward(self, value: Tensor) -> Tensor:
        """Same shape in and out; while watching, what comes in goes out."""
        if self.training:
            self._watch(value.detach())
        if self.is_watching:
            return value
        step = ((self.high - self.low) / _LEVELS).clamp(min=_SMALLEST_STEP)
        zero = (-self.low / step).round().clamp(0, _LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(value, step, zero, 0, _LEVELS)

    def _watch(self, value: Tensor) -> None:
        low, high = value.min().clamp(max=0), value.max().clamp(min=0)
        share = 1 / (self.seen + 1) if self.is_watching else MOMENTUM
        self.low += share * (low - self.low)
        self.high += share * (high - self.high)
        self.seen += 1


class RoundedLayer(nn.Module):
    """A convolution or linear layer with rounded weights, and what is folded into it: the
    normalization or the layer's scale behind it."""

    def __init__(self, layer: Layer, folded: nn.BatchNorm2d | LayerScale | None) -> None:
        super().__init__()
        self.layer, self.folded = layer, folded

    def forward(self, value: Tensor) -> Tensor:
        """What the layer, and what is folded into it, make of it."""
        factor, offset = _affine(self.folded)
        weight = self.layer.weight
        shape = (-1, *[1] * (weight.dim() - 1))
        weight = weight if factor is None else weight * factor.view(shape)
        bare = {"weight": _rounded_weight(weight)}
        if self.layer.bias is not None:
            bare["bias"] = self.layer.bias if factor is None else self.layer.bias * factor
        result = cast(Tensor, functional_call(self.layer, bare, (value,)))
        return result if offset is None else result + offset.view(1, -1, 1, 1)


class View(nn.Sequential):
    """A network as it is trained through; normalization keeps its statistics."""

    def train(self, mode: bool = True) -> View:
        """Dropout trains, normalization does not."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def view(network: nn.Module) -> View:
    """A module with the parameters of `network`, in which 8-bit rounding happens.

    Raises UsageError where the network has no layer whose weights could be rounded.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not layers:
        raise UsageError("the network has neither convolutions nor linear layers to quantize.")
    return View(Rounded(), _viewed(network, None, layers[-1]))


def calibrate(module: View, inputs: Iterable[Tensor]) -> None:
    """Find first ranges on normalized pictures (N, C, H, W), nothing being rounded."""
    rounded = [m for m in module.modules() if isinstance(m, Rounded)]
    module.eval()
    for one in rounded:
        one.is_watching = True
        one.train()
    with torch.no_grad():
        for pictures in inputs:
            module(pictures)
    for one in rounded:
        one.is_watching = False


def ranges(module: View) -> dict[str, Tensor]:
    """The ranges that were learnt, by name."""
    found = {n: m for n, m in module.named_modules() if isinstance(m, Rounded)}
    return {name: torch.stack([m.low, m.high]).cpu() for name, m in found.items()}


def restore_ranges(module: View, saved: Mapping[str, Tensor]) -> None:
    """Set what `ranges` gave. Raises WeightsError where they are of another network."""
    found = {n: m for n, m in module.named_modules() if isinstance(m, Rounded)}
    if found.keys() != saved.keys():
        raise WeightsError("the checkpoint's ranges are those of another network.")
    for name, (low, high) in saved.items():
        found[name].low.copy_(low)
        found[name].high.copy_(high)


def _affine(norm: nn.BatchNorm2d | LayerScale | None) -> tuple[Tensor | None, Tensor | None]:
    """Factor and offset of each channel that normalization, or a layer's scale, comes to."""
    if isinstance(norm, LayerScale):
        return norm.gamma.flatten(), None
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return None, None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return factor, norm.bias - norm.running_mean * factor


def _rounded_weight(weight: Tensor) -> Tensor:
    found = steps(weight.detach().cpu().numpy().astype(np.float32), int8_without_saturation)
    step = torch.from_numpy(found).to(weight.device)
    zeros = torch.zeros(len(step), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, step, zeros, 0, -_INT8, _INT8)


def _viewed(module: nn.Module, follower: nn.Module | None, logits: Layer) -> nn.Module:
    """`module` with rounding; `follower` is what takes its output and nothing else does."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return _behind(RoundedLayer(module, None), module, follower, logits)
    children = list(module.named_children())
    if not children:
        return _behind(module, module, follower, logits)
    if type(module) is ScaledResidual:
        scale, *body = children  # the first part runs last
        parts = {scale[0]: nn.Identity()} | _in_order([*body, scale], module, follower, logits)
    elif type(module) in _IN_ORDER:
        parts = _in_order(children, module, follower, logits)
    else:
        parts = {name: _viewed(child, None, logits) for name, child in children}
    clone = copy.copy(module)  # the same parameters, other children
    clone._modules = OrderedDict(parts)
    # A sequence gives what its last part gives; a sum, a product, a concatenation are new.
    return clone if type(module) is nn.Sequential else _behind(clone, module, follower, logits)


def _in_order(
    children: list[tuple[str, nn.Module]],
    module: nn.Module,
    follower: nn.Module | None,
    logits: Layer,
) -> dict[str, nn.Module]:
    """Children that run one after another; what can be folded goes into the convolution before."""
    found: dict[str, nn.Module] = {}
    # What follows the body of a sum or product is the sum or product.
    after = follower if type(module) is nn.Sequential else None
    waiting = [(name, child) for name, child in children if not isinstance(child, nn.Identity)]
    while waiting:
        name, child = waiting.pop(0)
        behind = waiting[0][1] if waiting else None
        if isinstance(child, nn.Conv2d) and isinstance(behind, _FOLDED):
            waiting.pop(0)
            layer: nn.Module = RoundedLayer(child, behind)
            found[name] = _behind(layer, child, waiting[0][1] if waiting else after, logits)
        else:
            found[name] = _viewed(child, waiting[0][1] if waiting else after, logits)
    return found


def _behind(
    module: nn.Module, original: nn.Module, follower: nn.Module | None, logits: Layer
) -> nn.Module:
    """The module, and rounding behind it where the exporters round."""
    is_fused = isinstance(follower, _FUSED) and not isinstance(original, _FUSED)
    if original is logits or is_fused or isinstance(original, _SAME_VALUES):
        return module
    return nn.Sequential(module, Rounded())
