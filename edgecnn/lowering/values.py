"""The layers that a network is made of, as values.

Every layer has a name; nested names joined by dots are the names of torch modules, of workload
operators and of state-dict entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Conv:
    """2-D convolution, square kernel; `padding` is (top = left, bottom = right) in pixels."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    bias: bool
    padding: tuple[int, int]
    dilation: int = 1


@dataclass(frozen=True, slots=True)
class StripConv:
    """Convolution with a kernel of one pixel height or width, without bias; the map keeps its size.

    An n x n convolution is factorized into two of them (Inception v3, arXiv 1512.00567, 3.2).
    """

    name: str
    in_channels: int
    out_channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Batch normalization over channels."""

    name: str
    channels: int
    eps: float


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalization over the channels of each pixel, with a weight and a bias for each channel."""

    name: str
    channels: int
    eps: float


@dataclass(frozen=True, slots=True)
class LayerScale:
    """A trained factor for each channel (arXiv 2103.17239, section 2.1)."""

    name: str
    channels: int


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function; `function` is one of `block.ACTIVATIONS`."""

    name: str
    function: str


@dataclass(frozen=True, slots=True)
class Pool:
    """The maximum (`max`) or the mean (`avg`) of a square window, zeros of the padding counted.

    With `ceil` a last window may reach over the edge (and the mean is of what lies inside).
    """

    name: str
    kind: str
    kernel: int
    stride: int
    padding: int
    ceil: bool

    def size_of(self, size: int) -> int:
        """Height and width of the result; 0 or less where the map is too small."""
        free = size + 2 * self.padding - self.kernel
        if not self.ceil:
            return free // self.stride + 1
        steps = -(-free // self.stride)
        # No window starts behind the map.
        return steps + 1 if steps * self.stride < size + self.padding else steps


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Mean over height and width; (N, C, H, W) -> (N, C, 1, 1)."""

    name: str


@dataclass(frozen=True, slots=True)
class Flatten:
    """(N, C, H, W) -> (N, C H W)."""

    name: str


@dataclass(frozen=True, slots=True)
class Dropout:
    """Active in training only; costs nothing at inference."""

    name: str
    rate: float


@dataclass(frozen=True, slots=True)
class Linear:
    """Fully connected, with bias; (N, in_features) -> (N, out_features)."""

    name: str
    in_features: int
    out_features: int


@dataclass(frozen=True, slots=True)
class Group:
    """Layers one after another."""

    name: str
    body: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """x + body(x)."""

    name: str
    body: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Projected:
    """body(x) + shortcut(x), where the shortcut changes the shape as the body does."""

    name: str
    body: Group
    shortcut: Group


@dataclass(frozen=True, slots=True)
class ScaledResidual:
    """x + scale(body(x)). The scale stands first, as its weight does in checkpoints."""

    name: str
    scale: LayerScale
    body: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Branches:
    """The results of all branches on the same map, one behind the other along the channels."""

    name: str
    branches: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """x * body(x), body giving one factor per channel: squeeze-and-excitation."""

    name: str
    body: tuple[Layer, ...]


Layer: TypeAlias = (
    Conv
    | StripConv
    | BatchNorm
    | LayerNorm
    | LayerScale
    | Activation
    | Pool
    | GlobalPool
    | Flatten
    | Dropout
    | Linear
    | Group
    | Residual
    | Projected
    | ScaledResidual
    | Branches
    | Scale
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A feature map: channels, and height = width in pixels; or a vector, where `is_flat`."""

    channels: int
    size: int
    is_flat: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        """(C, H, W) or (C,)."""
        return (self.channels,) if self.is_flat else (self.channels, self.size, self.size)


Lowered: TypeAlias = tuple[tuple[Layer, ...], Shape]
"""The layers of a row or unit, and the shape that leaves it."""
