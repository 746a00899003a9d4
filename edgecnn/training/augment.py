"""How pictures are varied while a network learns: all of a batch at once, each by itself.

From a generator of its own: torchvision's transforms go picture by picture and draw from the global
one, so that what is drawn depends on who else draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from edgecnn.errors import UsageError
from edgecnn.train_data import Pictures

NONE = "none"


class Moves(Protocol):
    """What `varied` reads of a recipe."""

    @property
    def mirror(self) -> bool: ...

    @property
    def shift(self) -> int: ...


@dataclass(frozen=True)
class Augment:
    """What may be done to a picture, drawn anew each time: `mirror,shift:4,cutout:8` as a text.

    `mirror`: with a chance of one half. `shift`: up to so many pixels each way, zeros coming in.
    `rotate`: up to so many degrees each way; `zoom`: by a factor of 1 - zoom to 1 + zoom, the
    centre staying. `cutout`: a square of so many pixels becomes zero (DeVries and Taylor, arXiv
    1708.04552); its centre may be any pixel.

    Raises UsageError on a value without sense.
    """

    mirror: bool = False
    shift: int = 0
    rotate: float = 0.0
    zoom: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        sound = {
            "shift": self.shift >= 0,
            "rotate": 0 <= self.rotate <= 180,
            "zoom": 0 <= self.zoom < 1,
            "cutout": self.cutout >= 0,
        }
        for name, good in sound.items():
            if not good:
                raise UsageError(f"{name} of the augmentation is {getattr(self, name)}.")

    @classmethod
    def parse(cls, text: str) -> Augment:
        """Read `mirror,shift:4,rotate:10,zoom:0.1,cutout:8`, or `none`; raises UsageError."""
        values: dict[str, float] = {}
        for part in [] if text == NONE else text.split(","):
            name, colon, value = part.strip().partition(":")
            if name not in _READERS or name in values or (name == "mirror") == bool(colon):
                raise UsageError(
                    f"{part!r} of the augmentation {text!r} is unknown or doubled; allowed: "
                    "mirror, shift:PIXELS, rotate:DEGREES, zoom:SHARE, cutout:PIXELS, joined by "
                    f"commas, or {NONE}."
                )
            try:
                values[name] = _READERS[name](value)
            except ValueError:
                raise UsageError(f"{part!r} of the augmentation: {value!r} is no number.") from None
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        given = [(f.name, getattr(self, f.name)) for f in fields(self)]
        parts = [name if value is True else f"{name}:{value:g}" for name, value in given if value]
        return ",".join(parts) or NONE


PHOTOGRAPHS = Augment(mirror=True, shift=4)
DIGITS = Augment(shift=1, rotate=8.0)


def usual(pictures: Pictures) -> Augment:
    """What is done where nothing else is asked for: digits are never mirrored."""
    return DIGITS if pictures.are_digits else PHOTOGRAPHS


_READERS: dict[str, Callable[[str], float]] = {
    "mirror": lambda _: True,
    "shift": int,
    "rotate": float,
    "zoom": float,
    "cutout": int,
}


def augmented(pixels: Tensor, augment: Augment, random: torch.Generator) -> Tensor:
    """Vary each picture of uint8 (N, C, H, W) by itself; shape and type stay."""
    if augment.rotate or augment.zoom:
        pixels = _turned(pixels, augment, random)
    pixels = varied(pixels, augment, random)
    return _cut(pixels, augment.cutout, random) if augment.cutout else pixels


def varied(pixels: Tensor, recipe: Moves, random: torch.Generator) -> Tensor:
    """Mirror and move each picture of (N, C, H, W) by itself, as the recipe says.

    All at once, and from a generator of its own: torchvision's transforms go picture by picture
    and draw from the global one. Pixels lie one after another in what comes back, channels inmost.
    """
    if not (recipe.mirror or recipe.shift):
        return pixels
    count, channels, size, _ = pixels.shape
    chosen = torch.rand(count, 1, generator=random) < 0.5 if recipe.mirror else None
    side = size + 2 * recipe.shift
    starts = torch.zeros(2, count, 1, dtype=torch.int64)
    if recipe.shift:
        starts = torch.randint(0, 2 * recipe.shift + 1, (2, count, 1), generator=random)
    rows, columns = starts + torch.arange(size)
    if chosen is not None:
        columns = torch.where(chosen, side - 1 - columns, columns)
    first = torch.arange(count)[:, None, None] * side
    places = ((first + rows[:, :, None]) * side + columns[:, None, :]).flatten()
    padded = functional.pad(pixels.permute(0, 2, 3, 1), (0, 0, *(recipe.shift,) * 4))
    moved = padded.reshape(-1, channels).index_select(0, places.to(pixels.device))
    return moved.view(count, size, size, channels).permute(0, 3, 1, 2)


def _turned(pixels: Tensor, augment: Augment, random: torch.Generator) -> Tensor:
    """Rotate and zoom about the centre, bilinear, zeros coming in."""
    first, second = 2 * torch.rand(2, len(pixels), generator=random) - 1
    angle = first * math.radians(augment.rotate)
    scale = 1 / (1 + second * augment.zoom)
    cos, sin, zero = scale * angle.cos(), scale * angle.sin(), torch.zeros_like(angle)
    rows = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3).to(pixels.device)
    grid = functional.affine_grid(rows, list(pixels.shape), align_corners=False)
    turned = functional.grid_sample(pixels.float(), grid, align_corners=False)
    return turned.round().to(torch.uint8)


def _cut(pixels: Tensor, side: int, random: torch.Generator) -> Tensor:
    """Set a square of each picture to zero, as much of it as lies inside."""
    count, size = len(pixels), pixels.shape[-1]
    centres = torch.randint(0, size, (2, count, 1), generator=random)
    rows, columns = (torch.arange(size) - centres + side // 2).to(pixels.device)
    inside = ((rows >= 0) & (rows < side))[:, None, :, None]
    inside = inside & ((columns >= 0) & (columns < side))[:, None, None, :]
    return pixels.masked_fill(inside, 0)
