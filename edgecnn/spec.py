"""A whole network as text and as a value: rows (`Block`), resolution, conventions.

`ModelSpec.parse(str(spec)) == spec`; `spec.scaled(...)` applies the papers' scaling rules. What is
published about a model, and where its weights are, travels with it but is not part of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from edgecnn import branches
from edgecnn.block import CLASSIFIERS, KINDS, Block, parse_rows
from edgecnn.contract import COLORS, INTERPOLATIONS
from edgecnn.errors import SpecError

__all__ = [
    "Block",
    "Checkpoint",
    "Conventions",
    "ModelSpec",
    "Published",
    "parse_name",
    "parse_rows",
    "round_channels",
    "scaled_name",
]

PADDINGS = ("same", "symmetric")
MAX_RESOLUTION = 4096
IMAGENET = "ImageNet-1k val 50k"


@dataclass(frozen=True)
class Conventions:
    """What weights were trained under, and a network must repeat to give the same answers.

    `padding`: "same" is TensorFlow's (asymmetric where stride and size ask for it), "symmetric" is
    PyTorch's. Pixels x from 0 to 255 become (x - mean) / std per channel (R, G, B, or gray alone),
    after the shorter side was resized to resolution / crop_pct and the centre cropped.
    """

    padding: str = "symmetric"
    bn_eps: float = 1e-5
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise SpecError(f"unknown padding {self.padding!r}; known: {', '.join(PADDINGS)}")
        if self.interpolation not in INTERPOLATIONS:
            raise SpecError(
                f"unknown interpolation {self.interpolation!r}; known: {', '.join(INTERPOLATIONS)}"
            )
        if not 0 < self.crop_pct <= 1:
            raise SpecError(f"crop_pct is {self.crop_pct}; allowed: above 0, up to 1")
        if not 0 < self.bn_eps < 1:
            raise SpecError(f"bn_eps is {self.bn_eps}; allowed: between 0 and 1")
        if len(self.mean) not in COLORS.values() or len(self.std) != len(self.mean):
            raise SpecError(f"mean {self.mean} and std {self.std}: three numbers each, or one")
        if min(self.std) <= 0:
            raise SpecError(f"std {self.std}: each must be above 0")


@dataclass(frozen=True)
class Published:
    """Published figures of a model: a third kind beside measured and predicted, with sources.

    `params` is exact (our own count, equal to the reference implementation's); `macs` is the
    published number of multiply-adds, each counted once; `note` says why ours differs by more than
    1 % where it does. `top1` in percent on `val_set`.
    """

    params: int
    macs: int | None
    source: str
    top1: float | None = None
    top1_source: str | None = None
    val_set: str = IMAGENET
    note: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights that fit a model: where they are, the conventions they ask for, their accuracy.

    `source` is `package:DISTRIBUTION`, `timm:NAME` or `torchvision:NAME`. `resolution` is the one
    at which `top1` (percent, ImageNet-1k val, 50,000 images) was measured. `left_out` names parts
    that only train: classifiers on the way.
    """

    source: str
    conventions: Conventions
    resolution: int
    top1: float | None = None
    top1_source: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """A whole network: rows, input resolution in pixels (square), conventions.

    `input_channels` is 3 for RGB and 1 for gray; conventions have a mean and a deviation for each.

    Two specs are equal when they compute the same thing under the same name: published figures and
    checkpoints are knowledge about a model, not part of it.
    `width_divisor` and `width_floor` are the rounding rule of width scaling: channels are rounded
    to the nearest multiple, but up where that would lose more than 1 - floor of them (MobileNetV2,
    EfficientNet). A divisor of 1 is MobileNetV1's plain multiplication.
    """

    name: str
    family: str
    resolution: int
    blocks: tuple[Block, ...]
    conventions: Conventions = Conventions()
    dropout: float = 0.2
    width_divisor: int = 8
    width_floor: float = 0.9
    input_channels: int = 3
    published: Published | None = field(default=None, compare=False, repr=False)
    checkpoints: tuple[Checkpoint, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name or any(c.isspace() for c in self.name + self.family):
            raise SpecError(f"model name {self.name!r} and family {self.family!r}: no spaces")
        if not 8 <= self.resolution <= MAX_RESOLUTION:
            raise SpecError(f"resolution is {self.resolution}; allowed: 8 to {MAX_RESOLUTION}")
        if not self.blocks or self.blocks[-1].kind not in CLASSIFIERS:
            raise SpecError(
                f"{self.name}: the last row must be a linear row, e.g. linear_c1000, or a classmap"
            )
        if not 0 <= self.dropout < 1:
            raise SpecError(f"dropout is {self.dropout}; allowed: 0 up to 1")
        if self.width_divisor < 1 or not 0 <= self.width_floor <= 1:
            raise SpecError("width_divisor is at least 1 and width_floor between 0 and 1")
        if self.input_channels not in COLORS.values():
            raise SpecError(f"input_channels is {self.input_channels}; allowed: 3 (RGB), 1 (gray)")
        if len(self.conventions.mean) != self.input_channels:
            raise SpecError(
                f"{self.name}: mean {self.conventions.mean} for {self.input_channels} input "
                "channels; there must be one value for each"
            )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the input."""
        return self.input_channels, self.resolution, self.resolution

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.blocks[-1].channels

    @property
    def accuracy(self) -> tuple[float, str] | None:
        """Top-1 in percent and its source: of the weights `auto` loads, else of the paper.

        On ImageNet-1k: an accuracy on other pictures (`published.val_set`) compares with none.
        """
        for checkpoint in self.checkpoints[:1]:
            if checkpoint.top1 is not None and checkpoint.resolution == self.resolution:
                return checkpoint.top1, checkpoint.top1_source or checkpoint.source
        published = self.published
        if published is None or published.top1 is None or published.val_set != IMAGENET:
            return None
        return published.top1, published.top1_source or published.source

    def with_classes(self, num_classes: int) -> ModelSpec:
        """The same network with another number of logits (int above 0); no checkpoint fits it."""
        if num_classes == self.num_classes:
            return self
        head = replace(self.blocks[-1], channels=num_classes)
        blocks = (*self.blocks[:-1], head)
        return replace(self, blocks=blocks, published=None, checkpoints=())

    def with_conventions(self, conventions: Conventions) -> ModelSpec:
        """The same rows under other padding, epsilon and preprocessing."""
        return replace(self, conventions=conventions)

    def scaled(
        self, width: float = 1.0, depth: float = 1.0, resolution: int | None = None
    ) -> ModelSpec:
        """Scale channels, repeats and input size by the papers' rules.

        Channels round to `width_divisor`, never below `width_floor` (MobileNetV2 3.2, EfficientNet
        3.3); repeats round up (EfficientNet's reference implementation). Flags exempt rows. The new
        name says what was done: `mobilenet_v2@w0.75,d1.2,r192`. Published figures and checkpoints
        do not carry over, except that weights survive a change of resolution.
        """
        if not (0 < width <= 16 and 0 < depth <= 16):
            raise SpecError(f"width {width:g} and depth {depth:g}: allowed above 0, up to 16")
        resolution = resolution or self.resolution
        if width == 1 and depth == 1:
            if resolution == self.resolution:
                return self
            name = scaled_name(self.name, 1.0, 1.0, resolution)
            return replace(self, name=name, resolution=resolution, published=None)
        blocks = tuple(_scaled_block(self, block, width, depth) for block in self.blocks)
        changed = None if resolution == self.resolution else resolution
        name = scaled_name(self.name, width, depth, changed)
        return replace(
            self, name=name, resolution=resolution, blocks=blocks, published=None, checkpoints=()
        )

    def __str__(self) -> str:
        c = self.conventions
        head = [
            ("model", self.name),
            ("family", self.family),
            ("resolution", str(self.resolution)),
            *([("input_channels", str(self.input_channels))] if self.input_channels != 3 else []),
            ("padding", c.padding),
            ("bn_eps", repr(c.bn_eps)),
            ("mean", _numbers(c.mean)),
            ("std", _numbers(c.std)),
            ("crop_pct", repr(c.crop_pct)),
            ("interpolation", c.interpolation),
            ("dropout", repr(self.dropout)),
            ("width_divisor", str(self.width_divisor)),
            ("width_floor", repr(self.width_floor)),
        ]
        rows = [("block", str(block)) for block in self.blocks]
        return "".join(f"{key} {value}\n" for key, value in head + rows)

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Read a whole model: one `key value` a line, `block ROW` for each row, `#` comments.

        Raises SpecError naming the line and the token.
        """
        values: dict[str, str] = {}
        blocks: list[Block] = []
        for number, line in enumerate(text.splitlines(), start=1):
            key, _, value = line.partition("#")[0].strip().partition(" ")
            if not key:
                continue
            try:
                if key == "block":
                    blocks.append(Block.parse(value.strip()))
                elif key not in _SPEC_KEYS or key in values or not value:
                    known = ", ".join((*_SPEC_KEYS, "block"))
                    raise SpecError(f"key {key!r} is unknown, empty or doubled; known: {known}")
                else:
                    values[key] = value.strip()
            except SpecError as error:
                raise SpecError(f"line {number}: {error}") from None
        return _spec_from(values, tuple(blocks))


def round_channels(channels: float, divisor: int = 8, floor: float = 0.9) -> int:
    """Nearest multiple of `divisor`, at least one, raised where less than `floor` would be kept.

    With a divisor of 1: plain truncation with a minimum of 8, as MobileNetV1's `depth_multiplier`.
    """
    if divisor == 1:
        return max(8, int(channels))
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < floor * channels else rounded


def scaled_name(name: str, width: float, depth: float, resolution: int | None) -> str:
    """The canonical name of a scaled model, `base@w0.75,d1.2,r192`; parts left alone are left out.

    Raises SpecError where `name` says already that the same dimension was scaled: rounding twice
    gives another network than rounding once.
    """
    base, done_width, done_depth, done_resolution = parse_name(name)
    if (width, depth) != (1, 1) and (done_width, done_depth) != (1, 1):
        raise SpecError(f"{name} is scaled already; scale {base} itself")
    width, depth = width * done_width, depth * done_depth
    pixels = resolution or done_resolution
    words = [f"w{width:g}"] * (width != 1) + [f"d{depth:g}"] * (depth != 1)
    words += [f"r{pixels}"] if pixels else []
    return f"{base}@{','.join(words)}" if words else base


def parse_name(name: str) -> tuple[str, float, float, int | None]:
    """Split `base@w0.75,d1.2,r192` into base, width, depth, resolution (None: the base's own).

    Raises SpecError naming the part that is not understood.
    """
    base, at, suffix = name.partition("@")
    width, depth, resolution = _parse_scaling(suffix, name) if at else (1.0, 1.0, None)
    return base, width, depth, resolution


_SCALING = {"w": r"w(\d*\.?\d+)", "d": r"d(\d*\.?\d+)", "r": r"r(\d{1,5})"}


def _parse_scaling(suffix: str, name: str) -> tuple[float, float, int | None]:
    values: dict[str, float] = {}
    for part in suffix.split(","):
        match = re.fullmatch(_SCALING.get(part[:1], r"\b\B"), part)
        if match is None or part[0] in values:
            raise SpecError(
                f"{part!r} in {name!r} is not understood; scaling is written "
                "@w<width>,d<depth>,r<pixels>, each at most once, e.g. mobilenet_v2@w0.75,r192"
            )
        values[part[0]] = float(match[1])
    resolution = int(values["r"]) if "r" in values else None
    return values.get("w", 1.0), values.get("d", 1.0), resolution


def _scaled_block(spec: ModelSpec, block: Block, width: float, depth: float) -> Block:
    channels, repeats, parts = block.channels, block.repeats, block.branches
    if block.kind not in CLASSIFIERS and "fixw" not in block.flags and width != 1:

        def scaled(channels: int) -> int:
            return round_channels(channels * width, spec.width_divisor, spec.width_floor)

        parts = tuple(branches.scaled(part, scaled) for part in parts)
        if "channels" in KINDS[block.kind].required:
            channels = max(scaled(channels), channels if "upw" in block.flags else 0)
    if KINDS[block.kind].stage and "fixd" not in block.flags:
        # 1e-9: 10 x 1.1 is 11.000000000000002 in binary and must not become 12
        repeats = math.ceil(repeats * depth - 1e-9)
    return replace(block, channels=channels, repeats=repeats, branches=parts)


_CONVENTION_KEYS = ("padding", "bn_eps", "mean", "std", "crop_pct", "interpolation")
_SPEC_KEYS = (
    "model",
    "family",
    "resolution",
    "input_channels",
    *_CONVENTION_KEYS,
    "dropout",
    "width_divisor",
    "width_floor",
)


def _spec_from(values: dict[str, str], blocks: tuple[Block, ...]) -> ModelSpec:
    missing = [key for key in ("model", "family", "resolution") if key not in values]
    if missing:
        raise SpecError(f"the model text lacks {', '.join(missing)}")
    readers: dict[str, Callable[[str], Any]] = {
        "resolution": int,
        "input_channels": int,
        "bn_eps": float,
        "mean": _read_numbers,
        "std": _read_numbers,
        "crop_pct": float,
        "dropout": float,
        "width_divisor": int,
        "width_floor": float,
    }
    read: dict[str, Any] = {}
    for key, value in values.items():
        try:
            read[key] = readers.get(key, str)(value)
        except ValueError:
            raise SpecError(f"{key} {value!r} is not a number of the right form") from None
    conventions = Conventions(**{k: read.pop(k) for k in _CONVENTION_KEYS if k in read})
    return ModelSpec(name=read.pop("model"), blocks=blocks, conventions=conventions, **read)


def _numbers(values: tuple[float, ...]) -> str:
    return ",".join(repr(v) for v in values)


def _read_numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))
