"""What a `ModelSpec` is made of, as values, without torch.

`lower(spec)` turns rows into layers once; `network.py` makes modules of them and `workload.py`
counts them, so the two cannot disagree. Layers stand in execution order, which is also the order of
parameters in timm's and torchvision's checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from edgecnn.errors import SpecError
from edgecnn.lowering import classic, mobile
from edgecnn.lowering.builder import padding_for
from edgecnn.lowering.values import (
    Activation,
    BatchNorm,
    Branches,
    Conv,
    Dropout,
    Flatten,
    GlobalPool,
    Group,
    Layer,
    LayerNorm,
    LayerScale,
    Linear,
    Lowered,
    Pool,
    Projected,
    Residual,
    Scale,
    ScaledResidual,
    Shape,
    StripConv,
)
from edgecnn.spec import Block, Conventions, ModelSpec

__all__ = [
    "Activation",
    "BatchNorm",
    "Branches",
    "Conv",
    "Dropout",
    "Flatten",
    "GlobalPool",
    "Group",
    "Layer",
    "LayerNorm",
    "LayerScale",
    "Linear",
    "Pool",
    "Projected",
    "Residual",
    "Scale",
    "ScaledResidual",
    "Shape",
    "StripConv",
    "lower",
    "lower_row",
    "padding_for",
    "row_shapes",
]

_ROWS = mobile.ROWS | classic.ROWS


def lower(spec: ModelSpec) -> tuple[Layer, ...]:
    """All layers of a model for an input of `spec.input_shape`, one group per row.

    Dropout stands before the classifier, and behind each dense row.
    """
    rows: list[Group] = []
    last = len(spec.blocks) - 1
    for index, (block, shape) in enumerate(row_shapes(spec)):
        body, _ = lower_row(block, shape, spec.conventions)
        after_dense = index > 0 and spec.blocks[index - 1].kind == "dense"
        if index == last or (block.kind == "dense" and after_dense):
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
def lower_row(block: Block, shape: Shape, conventions: Conventions) -> Lowered:
    """The layers of one row and the shape that leaves it.

    Raises SpecError where the map is too small for the row, or its channels do not fit.
    """
    if shape.is_flat and block.kind not in ("dense", "linear"):
        raise SpecError(f"{block} needs a map with height and width; dense rows leave a vector")
    return _ROWS[block.kind](block, shape, conventions)
