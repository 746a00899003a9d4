"""Branches of a mixed row: parallel ways from one feature map to another, as text.

    64x1    96x1.128x3    16x1.32x5    max3.32x1

are the four branches of GoogLeNet's first module: steps joined by dots, `128x3` a 3x3 convolution
to 128 channels, `192x1x7` one of height 1 and width 7, `max3` and `avg3` pooling over 3x3. `s`
behind a step gives it the row's stride, `p0` its padding in pixels where it is not half of the
kernel. Steps joined by `+` read the same map side by side: `384x1.384x1x3+384x3x1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from edgecnn.errors import SpecError

EXAMPLE = "64x1, 96x1.128x3, max3s.32x1"
LARGEST_KERNEL = 31
LARGEST_WIDTH = 1 << 20
_CONVOLUTION = re.compile(r"(\d+)x(\d+)(?:x(\d+))?(s?)(?:p(\d+))?")
_POOL = re.compile(r"(max|avg)(\d+)(s?)(?:p(\d+))?")


@dataclass(frozen=True)
class Step:
    """A convolution to `channels`, or a pooling (`max`, `avg`) where `pool` is set.

    `is_strided`: with the row's stride, otherwise with 1. `padding` is None for half of the kernel.
    """

    channels: int
    height: int
    width: int
    is_strided: bool
    padding: int | None
    pool: str = ""

    def __str__(self) -> str:
        size = f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"
        what = f"{self.pool}{size}" if self.pool else f"{self.channels}x{size}"
        padding = "" if self.padding is None else f"p{self.padding}"
        return f"{what}{'s' * self.is_strided}{padding}"


Branch = tuple[tuple[Step, ...], ...]
"""One after another, steps that read the same map: mostly one."""


def looks_like(token: str) -> bool:
    """Whether a token of a row is meant as a branch."""
    return re.match(r"\d|max|avg", token) is not None


def check(texts: Sequence[str]) -> None:
    """Raise SpecError where a branch is not understood, is not in canonical form, or is missing."""
    if not texts:
        raise SpecError(f"a mixed row needs branches, such as {EXAMPLE}")
    for text in texts:
        if written(parse(text)) != text:
            raise SpecError(f"branch {text!r} is written {written(parse(text))!r}")


@lru_cache(maxsize=1 << 10)
def parse(text: str) -> Branch:
    """Read one branch. Raises SpecError naming the step that is not understood."""
    return tuple(tuple(_step(s, text) for s in part.split("+")) for part in text.split("."))


def written(branch: Branch) -> str:
    """The text of a branch."""
    return ".".join("+".join(map(str, part)) for part in branch)


def scaled(text: str, width: Callable[[int], int]) -> str:
    """The branch with other widths."""
    changed = [
        tuple(s if s.pool else replace(s, channels=width(s.channels)) for s in part)
        for part in parse(text)
    ]
    return written(tuple(changed))


def _step(text: str, branch: str) -> Step:
    found = _CONVOLUTION.fullmatch(text) or _POOL.fullmatch(text)
    if found is None:
        raise SpecError(
            f"step {text!r} of branch {branch!r} is not understood; steps are written 128x3, "
            "192x1x7, max3 or avg3, then s where they have the row's stride, then e.g. p0 (padding)"
        )
    first, second, *others, strided, padding = found.groups()
    is_pool = first in ("max", "avg")
    height, width = int(second), int((others and others[0]) or second)
    channels, padded = 0 if is_pool else int(first), None if padding is None else int(padding)
    if not (1 <= height <= LARGEST_KERNEL and 1 <= width <= LARGEST_KERNEL):
        raise SpecError(f"kernel of {text!r} in {branch!r}: allowed 1 to {LARGEST_KERNEL}")
    if not is_pool and not 1 <= channels <= LARGEST_WIDTH:
        raise SpecError(f"channels of {text!r} in {branch!r}: allowed 1 to {LARGEST_WIDTH}")
    if height != width and (strided or padding):
        raise SpecError(f"{text!r} in {branch!r}: only square steps have a stride or a padding")
    return Step(channels, height, width, bool(strided), padded, first if is_pool else "")
