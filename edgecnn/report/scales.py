"""From values to coordinates, and the round values at which an axis is marked."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

WIDE = 6.0
"""An axis is logarithmic where its largest value is so many times its smallest."""


@dataclass(frozen=True)
class Scale:
    """Maps ``low`` to ``start`` and ``high`` to ``end``, linearly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value; one outside lies at the edge."""
        inside = min(max(value, self.low), self.high)
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, inside))
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, count: int = 6) -> tuple[float, ...]:
        """Return about ``count`` round values within."""
        if not self.log or self.high / self.low < WIDE:
            return _linear_ticks(self.low, self.high, count)
        return _log_ticks(self.low, self.high, count)


def linear(values: Iterable[float], start: float, end: float, pad: float = 0.06) -> Scale:
    """Return a linear scale that holds all values, with some room on both sides."""
    low, high = _ends(values)
    room = pad * (high - low) or pad * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def fitted(values: Iterable[float], start: float, end: float, pad: float = 0.06) -> Scale:
    """Return a scale of positive values: logarithmic where they range widely."""
    low, high = _ends(values)
    if low <= 0 or high / low < WIDE:
        return linear((low, high), start, end, pad)
    room = (high / low) ** pad
    return Scale(low / room, high * room, start, end, log=True)


def from_zero(values: Iterable[float], start: float, end: float) -> Scale:
    """Return a scale of lengths: from 0 to a little above the largest."""
    return Scale(0.0, 1.04 * max(values, default=1.0) or 1.0, start, end)


def label(value: float) -> str:
    """Return a tick's or a figure's text: three or four digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 9)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ends(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)


def _linear_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    rough = (high - low) / max(1, count)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


def _log_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = tuple(f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high)
        if len(found) <= count + 2:
            return found
    return found[:: -(-len(found) // count)]
