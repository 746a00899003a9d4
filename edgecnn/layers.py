"""What a `ModelSpec` is made of, as values, without torch.

`lower(spec)` turns rows into layers once; `network.py` makes modules of them and `workload.py`
counts them, so the two cannot disagree. Every layer has a name; nested names joined by dots are the
names of torch modules, of workload operators and of state-dict entries. Layers stand in execution
order, which is also the order of parameters in timm's and torchvision's checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from edgecnn.errors import SpecError
from edgecnn.spec import Block, Conventions, ModelSpec, round_channels


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
class BatchNorm:
    """Batch normalization over channels."""

    name: str
    channels: int
    eps: float


@dataclass(frozen=True, slots=True)
class Activation:
    """An elementwise function; `function` is one of `block.ACTIVATIONS`."""

    name: str
    function: str


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """Mean over height and width; (N, C, H, W) -> (N, C, 1, 1)."""

    name: str


@dataclass(frozen=True, slots=True)
class Flatten:
    """(N, C, 1, 1) -> (N, C)."""

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
class Scale:
    """x * body(x), body giving one factor per channel: squeeze-and-excitation."""

    name: str
    body: tuple[Layer, ...]


Layer: TypeAlias = (
    Conv
    | BatchNorm
    | Activation
    | GlobalPool
    | Flatten
    | Dropout
    | Linear
    | Group
    | Residual
    | Scale
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A feature map: channels, and height = width in pixels."""

    channels: int
    size: int


def lower(spec: ModelSpec) -> tuple[Layer, ...]:
    """All layers of a model for an input of `spec.input_shape`, one group per row."""
    rows = []
    for index, (block, shape) in enumerate(row_shapes(spec)):
        body, _ = lower_row(block, shape, spec.conventions)
        if index + 1 == len(spec.blocks):
            body = (Dropout("dropout", spec.dropout), *body)
        rows.append(Group(f"{block.kind}{index}", body))
    return tuple(rows)


def row_shapes(spec: ModelSpec) -> Iterator[tuple[Block, Shape]]:
    """Each row with the shape that enters it."""
    shape = Shape(spec.input_channels, spec.resolution)
    for block in spec.blocks:
        yield block, shape
        _, shape = lower_row(block, shape, spec.conventions)


@lru_cache(maxsize=1 << 16)
def lower_row(
    block: Block, shape: Shape, conventions: Conventions
) -> tuple[tuple[Layer, ...], Shape]:
    """The layers of one row and the shape that leaves it."""
    if block.kind in _WHOLE_ROWS:
        return _WHOLE_ROWS[block.kind](block, shape, conventions)
    groups: list[Layer] = []
    for repeat in range(block.repeats):
        stride = block.stride if repeat == 0 else 1
        part = _Builder(block, shape, stride, conventions)
        has_skip = _UNITS[block.kind](part)
        same = stride == 1 and shape.channels == block.channels
        wrap = Residual if has_skip and same and block.skip else Group
        groups.append(wrap(str(repeat), tuple(part.layers)))
        shape = part.shape
    return tuple(groups), shape


def padding_for(size: int, kernel: int, stride: int, dilation: int, rule: str) -> tuple[int, int]:
    """(before, after) in pixels. "same": TensorFlow's, output is ceil(size / stride)."""
    if rule == "symmetric":
        both = ((stride - 1) + dilation * (kernel - 1)) // 2
        return both, both
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


class _Builder:
    """Collects the layers of one unit and follows the shape; lives only inside `lower_row`."""

    def __init__(self, block: Block, shape: Shape, stride: int, conventions: Conventions) -> None:
        self.block, self.shape, self.stride = block, shape, stride
        self.in_channels = shape.channels
        self.conventions = conventions
        self.layers: list[Layer] = []

    @property
    def expanded(self) -> int:
        return round_channels(self.in_channels * self.block.expand)

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        activate: bool = True,
        norm: bool = True,
    ) -> None:
        """Convolution, then batch normalization (or a bias), then the row's activation."""
        size, rule = self.shape.size, self.conventions.padding
        pad = padding_for(size, kernel, stride, 1, rule)
        out_size = (size + sum(pad) - kernel) // stride + 1
        if out_size < 1:
            raise SpecError(f"{self.block}: a {size} px feature map is too small for it")
        groups = channels if depthwise else 1
        self.layers.append(
            Conv(name, self.shape.channels, channels, kernel, stride, groups, not norm, pad)
        )
        if norm:
            self.layers.append(BatchNorm(f"{name}_bn", channels, self.conventions.bn_eps))
        if activate and self.block.activation != "none":
            self.layers.append(Activation(f"{name}_act", self.block.activation))
        self.shape = Shape(channels, out_size)

    def depthwise(self, name: str, kernel: int, stride: int, *, activate: bool = True) -> None:
        self.conv(name, self.shape.channels, kernel, stride, depthwise=True, activate=activate)

    def squeeze_excite(self) -> None:
        """Where the row asks for it; see `Block` for the two styles."""
        block, channels = self.block, self.shape.channels
        if block.hse:
            reduced, inner, gate = round_channels(channels * block.hse), "relu", "hsigmoid"
        elif block.se:
            reduced, inner, gate = round(self.in_channels * block.se), block.activation, "sigmoid"
        else:
            return
        reduced = max(1, reduced)
        body = (
            GlobalPool("pool"),
            Conv("reduce", channels, reduced, 1, 1, 1, True, (0, 0)),
            Activation("reduce_act", inner),
            Conv("expand", reduced, channels, 1, 1, 1, True, (0, 0)),
            Activation("gate", gate),
        )
        self.layers.append(Scale("se", body))


def _conv(b: _Builder) -> bool:
    b.conv("conv", b.block.channels, b.block.kernel, b.stride)
    return False


def _dws(b: _Builder) -> bool:
    b.depthwise("depthwise", b.block.kernel, b.stride)
    b.conv("pointwise", b.block.channels)
    return False


def _mbconv(b: _Builder) -> bool:
    if b.block.expand != 1:
        b.conv("expand", b.expanded)
    b.depthwise("depthwise", b.block.kernel, b.stride)
    b.squeeze_excite()
    b.conv("project", b.block.channels, activate=False)
    return True


def _fused(b: _Builder) -> bool:
    if b.block.expand == 1:
        b.conv("conv", b.block.channels, b.block.kernel, b.stride)
        return True
    b.conv("expand", b.expanded, b.block.kernel, b.stride)
    b.squeeze_excite()
    b.conv("project", b.block.channels, activate=False)
    return True


def _uib(b: _Builder) -> bool:
    block = b.block
    if block.start_kernel:
        start_stride = 1 if block.kernel else b.stride
        b.depthwise("start", block.start_kernel, start_stride, activate=False)
    b.conv("expand", b.expanded)
    if block.kernel:
        b.depthwise("depthwise", block.kernel, b.stride)
    b.squeeze_excite()
    b.conv("project", block.channels, activate=False)
    return True


_UNITS: dict[str, Callable[[_Builder], bool]] = {
    # each appends its layers and says whether its kind has a shortcut
    "conv": _conv,
    "dws": _dws,
    "mbconv": _mbconv,
    "fused": _fused,
    "uib": _uib,
}


def _stem(block: Block, shape: Shape, conventions: Conventions) -> tuple[tuple[Layer, ...], Shape]:
    builder = _Builder(block, shape, block.stride, conventions)
    builder.conv("conv", block.channels, block.kernel, block.stride)
    return tuple(builder.layers), builder.shape


def _head(block: Block, shape: Shape, conventions: Conventions) -> tuple[tuple[Layer, ...], Shape]:
    builder = _Builder(block, shape, 1, conventions)
    builder.conv("conv", block.channels, norm="bias" not in block.flags)
    return tuple(builder.layers), builder.shape


def _pool(block: Block, shape: Shape, conventions: Conventions) -> tuple[tuple[Layer, ...], Shape]:
    return (GlobalPool("pool"),), Shape(shape.channels, 1)


def _linear(
    block: Block, shape: Shape, conventions: Conventions
) -> tuple[tuple[Layer, ...], Shape]:
    features = shape.channels * shape.size**2
    layers = (Flatten("flatten"), Linear("linear", features, block.channels))
    return layers, Shape(block.channels, 1)


_WHOLE_ROWS: dict[str, Callable[[Block, Shape, Conventions], tuple[tuple[Layer, ...], Shape]]] = {
    "stem": _stem,
    "head": _head,
    "pool": _pool,
    "linear": _linear,
}
