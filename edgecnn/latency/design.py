"""Random networks to calibrate a device with.

A latency model knows what it has seen. These networks take their operators from the whole range of
what the zoo and the search spaces hold: every kind of block, channels from a few to thousands, maps
from one pixel to hundreds of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log, log2, prod
from random import Random

from edgecnn.errors import UsageError
from edgecnn.layers import Shape, lower_row
from edgecnn.spec import Block, Conventions, ModelSpec
from edgecnn.workload import row_operators

FAMILY = "designed"
_HEADS_BEHIND = 1 / 3
"""Share of networks with a convolution behind the mean, as MobileNetV3 and V4 have."""

_CHANNELS_TIMES_SIZE = 2000
"""Networks for phones have 16 channels on maps of 112 pixels, and 96 to 320 on 14 to 7."""
_USUAL_SPREAD = 0.7
_ODD = 0.25
"""Share of networks that have any number of channels on any map, any kernel and any stride; others
as published ones have. Without, tables would say of unusual networks what they do not know; with
more, most of what is measured would be convolutions that no network has."""

_GATES = (("",), ("",), ("",), ("", "se"), ("se",), ("", "hse"), ("", "", "se", "hse"))
"""What rows of one network have: a network mostly has gates or none, and what it has changes how
its other operators find the caches."""
_ONE_ACTIVATION = 0.6
"""Share of networks with the same activation everywhere; the others have two."""

_GRAINS = (8, 8, 16, 32)
"""Of what the channels of a network are multiples. Kernels compute 16 or 32 channels at a time, and
networks that know it, such as MobileNetV1, have no others."""

_SPANS = ("rows", "resolution", "channels", "head", "classes", "last_map")
_STEMS = {True: (1, 2, 2, 2), False: (1, *(2,) * 15)}
"""Strides of the first convolution."""
_DENSE = ("conv", "fused")
_EXPANSIONS = (1.0, 3.0, 4.0, 6.0, 6.0)
Span = tuple[int, int]
"""Smallest and largest, both allowed."""


@dataclass(frozen=True)
class Ranges:
    """What networks are drawn from. Channels, pixels and costs are drawn on a logarithmic scale.

    `width` is a factor on the channels of a whole network, `channels` are those that leave a row,
    `head` those of the convolutions before and behind the mean. Rows of stride 2 lie anywhere, as
    many as lead to a map of `last_map` pixels at the mean. `kernels` are of depthwise convolutions,
    `dense_kernels` of others; in odd networks the former are of all. A `conv` row may also be
    pointwise.
    An entry that stands twice in a tuple is drawn twice as often. `row_macs` and `tensor_elements`
    bound a row's multiply-adds, and the size of each of its results and weights: channels are
    halved until both fit; where that is not enough, the row becomes a pointwise convolution of
    stride 2.
    """

    rows: Span = (3, 12)
    resolution: Span = (32, 320)
    width: tuple[float, float] = (1.0, 1.0)
    channels: Span = (8, 640)
    head: Span = (256, 2048)
    classes: Span = (10, 1500)
    expand: tuple[float, float] = (1.0, 6.0)
    kinds: tuple[str, ...] = ("mbconv", "mbconv", "mbconv", "uib", "fused", "dws", "conv")
    kernels: tuple[int, ...] = (*(3,) * 14, *(5,) * 7, 7)
    dense_kernels: tuple[int, ...] = (*(3,) * 12, 5, 7)
    last_map: Span = (4, 320)
    repeats: tuple[int, ...] = (1, 1, 2, 2, 3, 4)
    ratios: tuple[float, ...] = (0.25, 0.25, 0.25, 0.5)
    activations: tuple[str, ...] = ("relu", "relu6", "swish", "hswish")
    row_macs: int = 150_000_000
    tensor_elements: int = 4_000_000

    def __post_init__(self) -> None:
        spans = {n: getattr(self, n) for n in _SPANS}
        spans["expand"] = self.expand
        if not 0 < self.width[0] <= self.width[1]:
            raise UsageError(
                f"the range of width is {self.width[0]:g} to {self.width[1]:g}; allowed: above 0, "
                "in order."
            )
        for name, (low, high) in spans.items():
            if not 1 <= low <= high:
                raise UsageError(
                    f"the range of {name} is {low:g} to {high:g}; allowed: 1 or more, in order."
                )


_DEFAULT = Ranges()


def random_spec(random: Random, ranges: Ranges = _DEFAULT) -> ModelSpec:
    """Return a network drawn with `random`: the same state gives the same network.

    Raises:
        UsageError: not even the smallest row fits the bounds on cost.
    """
    return _Drawing(random, ranges).spec()


class _Drawing:
    """One network in the making: the rows so far, and the map that leaves them."""

    def __init__(self, random: Random, ranges: Ranges) -> None:
        self.random, self.ranges = random, ranges
        self.conventions = Conventions(padding=random.choice(("same", "symmetric")))
        self.activations = random.choices(ranges.activations, k=2)
        if random.random() < _ONE_ACTIVATION:
            self.activations = self.activations[:1]
        self.gates = random.choice(_GATES)
        self.width = exp(random.uniform(*map(log, ranges.width)))
        self.is_odd = random.random() < _ODD
        self.grain = random.choice(_GRAINS)
        self.shape = Shape(3, self.pixels())
        self.resolution = self.shape.size
        self.blocks: list[Block] = []

    def spec(self) -> ModelSpec:
        self.add(self.stem())
        for stride in self.strides(self.random.randint(*self.ranges.rows)):
            self.add(self.row(stride))
        self.add(Block("head", self.log_uniform(self.ranges.head), activation=self.act()))
        self.add(Block("pool"))
        if self.random.random() < _HEADS_BEHIND:
            channels, flags = self.log_uniform(self.ranges.head), ("bias",)
            self.add(Block("head", channels, activation=self.act(), flags=flags))
        self.add(Block("linear", self.log_uniform(self.ranges.classes)))
        name = f"{FAMILY}-{self.random.getrandbits(40):010x}"
        return ModelSpec(name, FAMILY, self.resolution, tuple(self.blocks), self.conventions)

    def add(self, block: Block) -> None:
        block = self.fitting(block)
        _, self.shape = lower_row(block, self.shape, self.conventions)
        self.blocks.append(block)

    def fitting(self, block: Block) -> Block:
        """The row, made cheaper until it fits the bounds."""
        while not self.fits(block):
            smaller = self.smaller(block)
            if smaller == block:
                allowed = f"{self.ranges.row_macs} multiply-adds, {self.ranges.tensor_elements}"
                raise UsageError(
                    f"{block} on {self.shape} is beyond what a row may cost ({allowed} elements); "
                    "allow more, or fewer pixels."
                )
            block = smaller
        return block

    def smaller(self, block: Block) -> Block:
        """One step down: fewer layers, fewer channels, at last a row that makes the map smaller."""
        lowest, expand = self.ranges.channels[0], self.ranges.expand[0]
        if block.repeats > 1:
            return replace(block, repeats=1)
        if block.channels > lowest:
            return replace(block, channels=max(block.channels // 2, lowest))
        if block.expand > expand:
            # A fused row of expansion 1 is one convolution, which has no gate.
            keeps = block.kind != "fused" or expand > 1
            return replace(block, expand=expand, se=block.se * keeps, hse=block.hse * keeps)
        return Block("conv", lowest, stride=2, activation=self.activations[0])

    def fits(self, block: Block) -> bool:
        operators = row_operators(block, self.shape, self.conventions)
        largest = max(max(prod(one.out_shape), one.params) for one in operators)
        macs = sum(operator.macs for operator in operators)
        return macs <= self.ranges.row_macs and largest <= self.ranges.tensor_elements

    def stem(self) -> Block:
        kernel, stride = self.dense_kernel(), self.random.choice(_STEMS[self.is_odd])
        channels = self.around(self.log_uniform((self.ranges.channels[0], 64)))
        return Block("stem", channels, kernel=kernel, stride=stride, activation=self.act())

    def strides(self, rows: int) -> list[int]:
        """Of each row, in any order."""
        size = self.shape.size
        low, high = (min(bound, size) for bound in self.ranges.last_map)
        halvings = min(round(log2(size / self.log_uniform((low, high)))), rows)
        found = [2] * halvings + [1] * (rows - halvings)
        self.random.shuffle(found)
        return found

    def row(self, stride: int) -> Block:
        random, ranges = self.random, self.ranges
        kind = random.choice(ranges.kinds)
        stays = random.random() < 0.3
        channels = self.shape.channels if stays else self.channels()
        row = Block(
            kind,
            channels,
            repeats=random.choice(ranges.repeats),
            kernel=self.dense_kernel() if kind in _DENSE else self.kernel(),
            stride=stride,
            activation=self.act(),
        )
        if kind == "conv" and random.random() < 0.3:
            return replace(row, kernel=1)
        return row if kind in ("conv", "dws") else self.expanded(row)

    def expanded(self, row: Block) -> Block:
        """A row of a kind that expands its channels, with a gate or without."""
        random = self.random
        expand = random.choice((random.uniform(*self.ranges.expand), *_EXPANSIONS))
        low, high = self.ranges.expand
        row = replace(row, expand=round(min(max(expand, low), high), 2))
        if row.kind == "uib":
            start, kernel = random.choice((0, self.kernel())), random.choice((0, row.kernel))
            stride = row.stride if start or kernel else 1
            row = replace(row, start_kernel=start, kernel=kernel, stride=stride)
        if row.kind == "fused" and row.expand == 1:
            return row
        gate, ratio = random.choice(self.gates), random.choice(self.ranges.ratios)
        return replace(row, se=ratio * (gate == "se"), hse=ratio * (gate == "hse"))

    def kernel(self) -> int:
        return self.random.choice(self.ranges.kernels)

    def dense_kernel(self) -> int:
        return self.kernel() if self.is_odd else self.random.choice(self.ranges.dense_kernels)

    def act(self) -> str:
        return self.random.choice(self.activations)

    def channels(self) -> int:
        """As many as networks have on a map of this size; in odd networks any number."""
        low, high = self.ranges.channels
        if self.is_odd:
            return self.around(self.log_uniform((low, high)))
        usual = self.width * _CHANNELS_TIMES_SIZE / self.shape.size
        drawn = round(usual * exp(self.random.gauss(0, _USUAL_SPREAD)))
        return self.around(min(max(drawn, low), high))

    def pixels(self) -> int:
        low, high = self.ranges.resolution
        pixels = self.log_uniform((low, high))
        step = self.random.choice((1, 8, 32))
        return min(max(round(pixels / step) * step, low), high)

    def around(self, channels: int) -> int:
        """A multiple of the network's grain; in odd networks one of 8, of 4, or any number."""
        step = self.random.choice((8, 4, 1)) if self.is_odd else self.grain
        low, high = self.ranges.channels
        return min(max(round(channels / step) * step, low), high)

    def log_uniform(self, span: Sequence[int]) -> int:
        return round(exp(self.random.uniform(log(span[0]), log(span[1]))))
