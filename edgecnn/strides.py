"""Networks for small pictures: the same rows with fewer strides.

A network made for 224 pixels makes the map 32 times smaller; of 32 pixels nothing would be left.
What is usual on CIFAR is to keep the rows and to drop the first strides (e.g. EfficientNet's and
MobileNetV2's many reimplementations for it: a stem of stride 1, and no stride in the first stages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from edgecnn.errors import SpecError
from edgecnn.spec import Block, ModelSpec

SMALLEST_MAP = 4
"""Pixels that the last map should have left, each way."""


def output_stride(spec: ModelSpec) -> int:
    """How many times smaller the last map is than the input: the product of all strides."""
    return prod(block.stride for block in spec.blocks)


def suited(strides: Sequence[int], resolution: int, smallest: int = SMALLEST_MAP) -> int:
    """The output stride, with as few of the first strides dropped as leave a map of `smallest`.

    `strides` are those of the rows in their order. At 224 pixels nothing is dropped, at 32 the
    first two of five.
    """
    left = list(strides)
    for index in range(len(left)):
        if resolution // prod(left) >= smallest:
            break
        left[index] = 1
    return prod(left)


def dropped(strides: Sequence[int], wanted: int) -> frozenset[int]:
    """The rows whose stride becomes 1, from the first on, so that the output stride is `wanted`.

    Raises SpecError naming the output strides that can be had.
    """
    rows = [index for index, stride in enumerate(strides) if stride > 1]
    found = {
        prod(strides[index] for index in rows[count:]): frozenset(rows[:count])
        for count in range(len(rows) + 1)
    }
    if wanted not in found:
        allowed = ", ".join(map(str, sorted(found)))
        raise SpecError(f"an output stride of {wanted} cannot be had; allowed: {allowed}.")
    return found[wanted]


def with_output_stride(spec: ModelSpec, wanted: int) -> ModelSpec:
    """The network with the first strides dropped; its name says so: `mobilenet_v2-os8`.

    Weights fit as before, but were trained for other maps: they do not come along. Raises SpecError
    as `dropped`.
    """
    rows = dropped([block.stride for block in spec.blocks], wanted)
    if not rows:
        return spec
    base, at, scaling = spec.name.partition("@")
    blocks = tuple(denser(b) if i in rows else b for i, b in enumerate(spec.blocks))
    name = f"{base}-os{wanted}{at}{scaling}"
    return replace(spec, name=name, blocks=blocks, published=None, checkpoints=())


def denser(block: Block) -> Block:
    """The row without its stride."""
    return replace(block, stride=1)
