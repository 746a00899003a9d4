"""Rows of mobile networks: repeated units, most with a shortcut, and stem, head and classifier."""

from __future__ import annotations

from collections.abc import Callable

from edgecnn.lowering.builder import Builder
from edgecnn.lowering.values import (
    Flatten,
    GlobalPool,
    Group,
    Layer,
    Linear,
    Lowered,
    Residual,
    Shape,
)
from edgecnn.spec import Block, Conventions


def lower(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    """The units of a row one after another; only the first has its stride."""
    groups: list[Layer] = []
    for repeat in range(block.repeats):
        stride = block.stride if repeat == 0 else 1
        part = Builder(block, shape, stride, conventions)
        has_skip = UNITS[block.kind](part)
        same = stride == 1 and shape.channels == block.channels
        wrap = Residual if has_skip and same and block.skip else Group
        groups.append(wrap(str(repeat), tuple(part.layers)))
        shape = part.shape
    return tuple(groups), shape


def stated_padding(block: Block) -> int | None:
    """The padding that a row states; None where the convention decides."""
    return None if block.padding < 0 else block.padding


def _conv(b: Builder) -> bool:
    block = b.block
    b.conv(
        "conv",
        block.channels,
        block.kernel,
        b.stride,
        groups=block.groups,
        dilation=block.dilation,
        padding=stated_padding(block),
        norm="bias" not in block.flags,
        bias="both" in block.flags,
    )
    return False


def _dws(b: Builder) -> bool:
    b.depthwise("depthwise", b.block.kernel, b.stride)
    b.conv("pointwise", b.block.channels)
    return False


def _mbconv(b: Builder) -> bool:
    if b.block.expand != 1:
        b.conv("expand", b.expanded)
    b.depthwise("depthwise", b.block.kernel, b.stride)
    b.squeeze_excite()
    b.conv("project", b.block.channels, activate=False)
    return True


def _fused(b: Builder) -> bool:
    if b.block.expand == 1:
        b.conv("conv", b.block.channels, b.block.kernel, b.stride)
        return True
    b.conv("expand", b.expanded, b.block.kernel, b.stride)
    b.squeeze_excite()
    b.conv("project", b.block.channels, activate=False)
    return True


def _uib(b: Builder) -> bool:
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


UNITS: dict[str, Callable[[Builder], bool]] = {
    # each appends its layers and says whether its kind has a shortcut
    "conv": _conv,
    "dws": _dws,
    "mbconv": _mbconv,
    "fused": _fused,
    "uib": _uib,
}


def _stem(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    builder = Builder(block, shape, block.stride, conventions)
    padding = stated_padding(block)
    builder.conv("conv", block.channels, block.kernel, block.stride, padding=padding)
    return tuple(builder.layers), builder.shape


def _head(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    builder = Builder(block, shape, 1, conventions)
    builder.conv("conv", block.channels, norm="bias" not in block.flags)
    return tuple(builder.layers), builder.shape


def _pool(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    return (GlobalPool("pool"),), Shape(shape.channels, 1)


def fully_connected(block: Block, shape: Shape) -> tuple[Layer, ...]:
    """A linear layer on a vector, or on a map that is flattened first."""
    features = shape.channels * shape.size**2
    flatten = () if shape.is_flat else (Flatten("flatten"),)
    return (*flatten, Linear("linear", features, block.channels))


def _linear(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    return fully_connected(block, shape), Shape(block.channels, 1, is_flat=True)


ROWS: dict[str, Callable[[Block, Shape, Conventions], Lowered]] = {
    **dict.fromkeys(UNITS, lower),
    "stem": _stem,
    "head": _head,
    "pool": _pool,
    "linear": _linear,
}
