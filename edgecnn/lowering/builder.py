"""Collects the layers of one unit of a row and follows the shape."""

from __future__ import annotations

from edgecnn.errors import SpecError
from edgecnn.lowering.values import (
    Activation,
    BatchNorm,
    Conv,
    GlobalPool,
    Layer,
    LayerNorm,
    Pool,
    Scale,
    Shape,
    StripConv,
)
from edgecnn.spec import Block, Conventions, round_channels


def padding_for(size: int, kernel: int, stride: int, dilation: int, rule: str) -> tuple[int, int]:
    """(before, after) in pixels. "same": TensorFlow's, output is ceil(size / stride)."""
    if rule == "symmetric":
        both = ((stride - 1) + dilation * (kernel - 1)) // 2
        return both, both
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


class Builder:
    """The layers of one unit in the making; lives only while a row is lowered."""

    def __init__(self, block: Block, shape: Shape, stride: int, conventions: Conventions) -> None:
        self.block, self.shape, self.stride = block, shape, stride
        self.in_channels = shape.channels
        self.conventions = conventions
        self.layers: list[Layer] = []

    @property
    def expanded(self) -> int:
        """Channels inside an inverted bottleneck."""
        return round_channels(self.in_channels * self.block.expand)

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        activate: bool = True,
        norm: bool = True,
        bias: bool = False,
    ) -> None:
        """Convolution, then batch normalization (or a bias), then the row's activation.

        With `bias` there is one also before a normalization.
        """
        size, rule = self.shape.size, self.conventions.padding
        if padding is None:
            pad = padding_for(size, kernel, stride, dilation, rule)
        else:
            pad = (padding, padding)
        out_size = (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
        self._check(out_size)
        if self.shape.channels % groups or channels % groups:
            raise SpecError(
                f"{self.block}: {self.shape.channels} channels to {channels} in {groups} groups; "
                "groups must divide both"
            )
        before, has_bias = self.shape.channels, bias or not norm
        self.layers.append(
            Conv(name, before, channels, kernel, stride, groups, has_bias, pad, dilation)
        )
        self._finish(name, channels, norm, activate)
        self.shape = Shape(channels, out_size)

    def depthwise(self, name: str, kernel: int, stride: int, *, activate: bool = True) -> None:
        """A convolution of each channel by itself."""
        channels = self.shape.channels
        self.conv(name, channels, kernel, stride, groups=channels, activate=activate)

    def strip(self, name: str, channels: int, height: int, width: int) -> None:
        """A convolution one pixel high or wide, normalized and activated."""
        self.layers.append(StripConv(name, self.shape.channels, channels, height, width))
        self._finish(name, channels, norm=True, activate=True)
        self.shape = Shape(channels, self.shape.size)

    def _finish(self, name: str, channels: int, norm: bool, activate: bool) -> None:
        if norm:
            self.layers.append(BatchNorm(f"{name}_bn", channels, self.conventions.bn_eps))
        if activate:
            self.activate(f"{name}_act")

    def activate(self, name: str) -> None:
        """The row's activation."""
        if self.block.activation != "none":
            self.layers.append(Activation(name, self.block.activation))

    def layer_norm(self, name: str) -> None:
        """Normalization over the channels of each pixel."""
        self.layers.append(LayerNorm(name, self.shape.channels, self.conventions.bn_eps))

    def pool(
        self, name: str, kind: str, kernel: int, stride: int, padding: int | None, *, ceil: bool
    ) -> None:
        """Maximum or mean of a window. Padding without a number is the convention's."""
        size = self.shape.size
        if padding is None:
            before, after = padding_for(size, kernel, stride, 1, self.conventions.padding)
            if before != after:
                raise SpecError(
                    f"{self.block}: on {size} px its padding would differ from side to side, which "
                    "pooling does not know; state it, e.g. p0"
                )
            padding = before
        if 2 * padding > kernel:
            raise SpecError(f"{self.block}: padding is {padding}; at most half of the kernel")
        layer = Pool(name, kind, kernel, stride, padding, ceil)
        self._check(layer.size_of(size))
        self.layers.append(layer)
        self.shape = Shape(self.shape.channels, layer.size_of(size))

    def squeeze_excite(self) -> None:
        """Where the row asks for it; see `Block` for the two styles."""
        block, channels = self.block, self.shape.channels
        if block.hse:
            reduced, inner, gate = round_channels(channels * block.hse), "relu", "hsigmoid"
        elif block.se:
            reduced, inner, gate = round(self.in_channels * block.se), block.activation, "sigmoid"
        else:
            return
        self.gate(reduced, inner, gate)

    def gate(self, reduced: int, inner: str, gate: str) -> None:
        """A factor for each channel, made from all of their means."""
        channels, reduced = self.shape.channels, max(1, reduced)
        body = (
            GlobalPool("pool"),
            Conv("reduce", channels, reduced, 1, 1, 1, True, (0, 0)),
            Activation("reduce_act", inner),
            Conv("expand", reduced, channels, 1, 1, 1, True, (0, 0)),
            Activation("gate", gate),
        )
        self.layers.append(Scale("se", body))

    def _check(self, out_size: int) -> None:
        if out_size < 1:
            raise SpecError(f"{self.block}: a {self.shape.size} px feature map is too small for it")
