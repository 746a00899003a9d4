"""`ModelSpec` -> `torch.nn.Module`: the only place where layers become torch modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import layers
from edgecnn.spec import ModelSpec

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "swish": nn.SiLU,
    "hswish": nn.Hardswish,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "hsigmoid": nn.Hardsigmoid,
    "tanh": nn.Tanh,
}


class PaddedConv2d(nn.Conv2d):
    """Convolution after an asymmetric zero pad, which `nn.Conv2d` itself does not know.

    The pad is a constant of the network's resolution: an exporter sees no dynamic shape.
    """

    def __init__(self, layer: layers.Conv) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias,
        )
        before, after = layer.padding
        self.pad = (before, after, before, after)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        return super().forward(functional.pad(input, self.pad))


class LayerNorm2d(nn.LayerNorm):
    """Normalization over the channels of each pixel."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), the same shape out."""
        normalized = super().forward(input.permute(0, 2, 3, 1))
        # Contiguous, or torch's exporter writes the order in memory into the graph, as a Gather.
        return normalized.permute(0, 3, 1, 2).contiguous()


class LayerScale(nn.Module):
    """A trained factor for each channel, small at the start of a training."""

    def __init__(self, channels: int, initial: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, 1, 1), initial))

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W), the same shape out."""
        return input * self.gamma


class Projected(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, input: Tensor) -> Tensor:
        """Both parts change the shape alike."""
        result: Tensor = self.body(input) + self.shortcut(input)
        return result


class ScaledResidual(nn.Sequential):
    """x + scale(body(x)); the scale is the first part and runs last."""

    def forward(self, input: Tensor) -> Tensor:
        """Same shape in and out."""
        scale, *body = self
        result = input
        for part in body:
            result = part(result)
        scaled: Tensor = scale(result)
        return input + scaled


class Branches(nn.ModuleDict):
    """All parts on the same map, their results one behind the other along the channels."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, the sum of the parts' channels, H', W')."""
        return torch.cat([part(input) for part in self.values()], 1)


class Residual(nn.Sequential):
    """x + body(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Same shape in and out."""
        return _run(self, input) + input


class Scale(nn.Sequential):
    """x * body(x), one factor per channel."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return input * _run(self, input)


def _run(body: nn.Sequential, value: Tensor) -> Tensor:
    for module in body:
        value = module(value)
    return value


def build(spec: ModelSpec) -> nn.Module:
    """The network of a spec: float32, (N, *spec.input_shape) in, logits (N, classes) out.

    In training mode and freshly initialized (see `initialize`); load weights with `weights.py`.
    """
    network = nn.Sequential(_named(layers.lower(spec)))
    initialize(network)
    return network


def initialize(network: nn.Module) -> None:
    """Normal by fan-out for convolutions, ones and zeros for normalization, small for linear.

    As He et al., arXiv 1502.01852; reproducible under `torch.manual_seed`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            deviation = (2.0 / max(1, fan_out // module.groups)) ** 0.5
            nn.init.normal_(module.weight, 0.0, deviation)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _named(body: Iterable[layers.Layer]) -> OrderedDict[str, nn.Module]:
    return OrderedDict((layer.name, _module(layer)) for layer in body)


def _module(layer: layers.Layer) -> nn.Module:
    return _MODULES[type(layer)](layer)


def _conv(layer: layers.Conv) -> nn.Conv2d:
    before, after = layer.padding
    if before != after:
        return PaddedConv2d(layer)
    return nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        layer.stride,
        before,
        layer.dilation,
        layer.groups,
        layer.bias,
    )


def _strip_conv(layer: layers.StripConv) -> nn.Conv2d:
    kernel = (layer.height, layer.width)
    padding = (layer.height // 2, layer.width // 2)
    channels = (layer.in_channels, layer.out_channels)
    return nn.Conv2d(*channels, kernel, padding=padding, bias=False)


def _pool(layer: layers.Pool) -> nn.Module:
    window = (layer.kernel, layer.stride, layer.padding)
    if layer.kind == "max":
        return nn.MaxPool2d(*window, ceil_mode=layer.ceil)
    return nn.AvgPool2d(*window, ceil_mode=layer.ceil)


def _body(group: layers.Group) -> nn.Sequential:
    return nn.Sequential(_named(group.body))


_MODULES: dict[type, Callable[[Any], nn.Module]] = {
    layers.Conv: _conv,
    layers.StripConv: _strip_conv,
    layers.LayerNorm: lambda layer: LayerNorm2d(layer.channels, eps=layer.eps),
    layers.LayerScale: lambda layer: LayerScale(layer.channels),
    layers.Pool: _pool,
    layers.BatchNorm: lambda layer: nn.BatchNorm2d(layer.channels, eps=layer.eps),
    layers.Activation: lambda layer: ACTIVATIONS[layer.function](),
    layers.GlobalPool: lambda layer: nn.AdaptiveAvgPool2d(1),
    layers.Flatten: lambda layer: nn.Flatten(1),
    layers.Dropout: lambda layer: nn.Dropout(layer.rate),
    layers.Linear: lambda layer: nn.Linear(layer.in_features, layer.out_features),
    layers.Group: _body,
    layers.Projected: lambda layer: Projected(_body(layer.body), _body(layer.shortcut)),
    layers.ScaledResidual: lambda layer: ScaledResidual(_named((layer.scale, *layer.body))),
    layers.Branches: lambda layer: Branches(_named(layer.branches)),
    layers.Residual: lambda layer: Residual(_named(layer.body)),
    layers.Scale: lambda layer: Scale(_named(layer.body)),
}
