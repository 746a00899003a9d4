"""Durations of any number of frames in a fixed amount of memory."""

import math
from dataclasses import dataclass, field

import numpy as np

LEAST_MS, MOST_MS = 0.01, 1e7
GROWTH = 1.01
"""A percentile is off by at most 1 %."""
_STEP = math.log(GROWTH)
_COUNT = math.ceil(math.log(MOST_MS / LEAST_MS) / _STEP) + 1


@dataclass
class Histogram:
    """Counts by duration, in buckets each 1 % wider than the one before."""

    _counts: list[int] = field(default_factory=lambda: [0] * _COUNT)
    _total: int = 0
    _sum_ms: float = 0.0
    _least_ms: float = math.inf
    _most_ms: float = 0.0

    def add(self, ms: float) -> None:
        """Count a duration."""
        at = math.ceil(math.log(max(ms, LEAST_MS) / LEAST_MS) / _STEP)
        self._counts[min(at, _COUNT - 1)] += 1
        self._total += 1
        self._sum_ms += ms
        self._least_ms, self._most_ms = min(self._least_ms, ms), max(self._most_ms, ms)

    def __len__(self) -> int:
        return self._total

    def percentile(self, percent: float) -> float | None:
        """Return the duration that so many per cent do not exceed; None without any."""
        if not self._total:
            return None
        rank = max(1, math.ceil(percent / 100 * self._total))
        at = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(LEAST_MS * GROWTH**at, self._most_ms)

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the JSON object: percentiles, extremes and the mean, in ms."""
        if not self._total:
            return {"count": 0}
        percentiles = {f"p{p}": self.percentile(p) for p in (50, 90, 95, 99)}
        return {
            "count": self._total,
            **percentiles,
            "min": self._least_ms,
            "max": self._most_ms,
            "mean": self._sum_ms / self._total,
        }

    def bars(self, count: int = 12) -> list[tuple[float, float, int]]:
        """Return lower and upper limit in ms, and how many, of about ``count`` wider buckets."""
        used = np.flatnonzero(self._counts)
        if not len(used):
            return []
        first, last = int(used[0]), int(used[-1]) + 1
        wide = max(1, -(-(last - first) // count))
        return [
            (
                LEAST_MS * GROWTH ** (start - 1),
                LEAST_MS * GROWTH ** (start + wide - 1),
                sum(self._counts[start : start + wide]),
            )
            for start in range(first, last, wide)
        ]
