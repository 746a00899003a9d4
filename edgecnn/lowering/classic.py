"""Rows of the networks before and beside the mobile ones: LeNet to ConvNeXt."""

from __future__ import annotations

from collections.abc import Callable

from edgecnn import branches
from edgecnn.errors import SpecError
from edgecnn.lowering.builder import Builder
from edgecnn.lowering.mobile import fully_connected, stated_padding
from edgecnn.lowering.values import (
    Activation,
    Branches,
    Flatten,
    GlobalPool,
    Group,
    Layer,
    LayerScale,
    Lowered,
    Projected,
    Residual,
    ScaledResidual,
    Shape,
)
from edgecnn.spec import Block, Conventions


def _residual_row(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    """Units of ResNet; the first has the stride, and a projection where the shape changes."""
    units: list[Layer] = []
    for repeat in range(block.repeats):
        stride = block.stride if repeat == 0 else 1
        body = Builder(block, shape, stride, conventions)
        _BODIES[block.kind](body)
        if block.se:
            reduced = round(block.channels * block.se)
            body.gate(reduced, block.activation, "sigmoid")
        joined: Layer = Residual("sum", tuple(body.layers))
        if stride > 1 or shape.channels != block.channels:
            project = Builder(block, shape, stride, conventions)
            project.conv("conv", block.channels, 1, stride, activate=False)
            joined = Projected(
                "sum", Group("body", tuple(body.layers)), Group("shortcut", tuple(project.layers))
            )
        shape = body.shape
        units.append(Group(str(repeat), (joined, Activation("act", block.activation))))
    return tuple(units), shape


def _basic(b: Builder) -> None:
    b.conv("conv1", b.block.channels, b.block.kernel, b.stride)
    b.conv("conv2", b.block.channels, b.block.kernel, activate=False)


def _bottle(b: Builder) -> None:
    block = b.block
    first, second = (b.stride, 1) if "first" in block.flags else (1, b.stride)
    inner = round(block.channels * block.expand)
    b.conv("reduce", inner, stride=first)
    b.conv("conv", inner, block.kernel, second, groups=block.groups)
    b.conv("expand", block.channels, activate=False)


_BODIES: dict[str, Callable[[Builder], None]] = {"basic": _basic, "bottle": _bottle}


def _mixed(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    made = [
        _branch(block, shape, conventions, branches.parse(text), f"branch{i}")
        for i, text in enumerate(block.branches)
    ]
    return _joined(block, "concat", made)


def _branch(
    block: Block, shape: Shape, conventions: Conventions, branch: branches.Branch, name: str
) -> tuple[Group, Shape]:
    builder = Builder(block, shape, block.stride, conventions)
    for index, part in enumerate(branch):
        if len(part) == 1:
            _step(builder, part[0], index)
            continue
        sides = []
        for number, step in enumerate(part):
            side = Builder(block, builder.shape, block.stride, conventions)
            _step(side, step, index)
            sides.append((Group(f"side{number}", tuple(side.layers)), side.shape))
        split, builder.shape = _joined(block, f"split{index}", sides)
        builder.layers.extend(split)
    return Group(name, tuple(builder.layers)), builder.shape


def _step(b: Builder, step: branches.Step, index: int) -> None:
    stride = b.stride if step.is_strided else 1
    if step.pool:
        b.pool(f"pool{index}", step.pool, step.height, stride, step.padding, ceil=False)
    elif step.height != step.width:
        b.strip(f"conv{index}", step.channels, step.height, step.width)
    else:
        b.conv(f"conv{index}", step.channels, step.height, stride, padding=step.padding)


def _joined(block: Block, name: str, made: list[tuple[Group, Shape]]) -> Lowered:
    sizes = {shape.size for _, shape in made}
    if len(sizes) > 1:
        raise SpecError(f"{block}: its branches end in maps of {sorted(sizes)} px; one is needed")
    channels = sum(shape.channels for _, shape in made)
    return (Branches(name, tuple(group for group, _ in made)),), Shape(channels, sizes.pop())


def _cnext(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    layers: list[Layer] = []
    if block.stride > 1 or shape.channels != block.channels:
        shrink = Builder(block, shape, block.stride, conventions)
        shrink.layer_norm("norm")
        shrink.conv(
            "conv",
            block.channels,
            block.stride,
            block.stride,
            padding=0,
            norm=False,
            activate=False,
        )
        layers.append(Group("shrink", tuple(shrink.layers)))
        shape = shrink.shape
    for repeat in range(block.repeats):
        b = Builder(block, shape, 1, conventions)
        channels = shape.channels
        b.conv("depthwise", channels, block.kernel, groups=channels, norm=False, activate=False)
        b.layer_norm("norm")
        b.conv("expand", round(channels * block.expand), norm=False)
        b.conv("project", channels, norm=False, activate=False)
        layers.append(ScaledResidual(str(repeat), LayerScale("scale", channels), tuple(b.layers)))
    return tuple(layers), shape


def _norm(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    builder = Builder(block, shape, 1, conventions)
    builder.layer_norm("norm")
    return tuple(builder.layers), shape


def _window(kind: str) -> Callable[[Block, Shape, Conventions], Lowered]:
    def row(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
        builder = Builder(block, shape, block.stride, conventions)
        padding = stated_padding(block)
        is_ceil = "ceil" in block.flags
        builder.pool("pool", kind, block.kernel, block.stride, padding, ceil=is_ceil)
        return tuple(builder.layers), builder.shape

    return row


def _subsample(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    """A 1x1 depthwise convolution has one coefficient and one bias for each map."""
    builder = Builder(block, shape, block.stride, conventions)
    builder.pool("pool", "avg", block.kernel, block.stride, 0, ceil=False)
    channels = shape.channels
    builder.conv("coefficient", channels, groups=channels, norm=False)
    return tuple(builder.layers), builder.shape


def _dense(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    layers = fully_connected(block, shape)
    if block.activation != "none":
        layers = (*layers, Activation("act", block.activation))
    return layers, Shape(block.channels, 1, is_flat=True)


def _classmap(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    builder = Builder(block, shape, 1, conventions)
    builder.conv("conv", block.channels, norm=False)
    layers = (*builder.layers, GlobalPool("pool"), Flatten("flatten"))
    return layers, Shape(block.channels, 1, is_flat=True)


ROWS: dict[str, Callable[[Block, Shape, Conventions], Lowered]] = {
    "basic": _residual_row,
    "bottle": _residual_row,
    "mixed": _mixed,
    "cnext": _cnext,
    "norm": _norm,
    "maxpool": _window("max"),
    "avgpool": _window("avg"),
    "subsample": _subsample,
    "dense": _dense,
    "classmap": _classmap,
}
