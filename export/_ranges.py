"""Ranges of activations, measured on images."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import ExportError

Range = tuple[float, float]
Observation = Mapping[str, NDArray[Any]]
"""The values of some tensors for one image, by the tensor's name."""

CLIPPED_SHARE = 1e-5
"""Share of a tensor's values that each end of its range may cut off. Single outliers would
otherwise make the quantization step of all others coarser."""

_BINS = 4096
_BLOCK = 1 << 16
"""Values counted at a time: what is computed from them stays in a processor's cache."""
_SMALLEST_LIMIT = 2.0**-20


class Histogram:
    """Counts of values in equal bins over [-limit, limit]; the limit doubles where it must."""

    def __init__(self) -> None:
        self._limit = _SMALLEST_LIMIT
        self._counts = np.zeros(2 * _BINS, np.int64)
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, values: NDArray[Any]) -> None:
        """Count ``values``, of any shape.

        Raises:
            ValueError: some are infinite, or not a number.
        """
        flat = values.reshape(-1)
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"values from {low} to {high}")
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        while max(-low, high) >= self._limit:
            self._double()
        for start in range(0, flat.size, _BLOCK):
            bins = flat[start : start + _BLOCK] * np.float32(_BINS / self._limit)
            bins += np.float32(_BINS)
            self._counts += np.bincount(bins.astype(np.intp), minlength=2 * _BINS)[: 2 * _BINS]

    def range(self, share: float) -> Range:
        """Return the range that cuts off at most ``share`` of the values at each end."""
        if share == 0.0:
            return self.lowest, self.highest
        allowed = share * self._counts.sum()
        below = np.searchsorted(np.cumsum(self._counts), allowed, side="right")
        above = np.searchsorted(np.cumsum(self._counts[::-1]), allowed, side="right")
        width = self._limit / _BINS
        low = max(self.lowest, float(below) * width - self._limit)
        high = min(self.highest, self._limit - float(above) * width)
        return (self.lowest, self.highest) if low >= high else (low, high)

    def _double(self) -> None:
        inner = self._counts.reshape(_BINS, 2).sum(axis=1)
        self._counts = np.zeros_like(self._counts)
        self._counts[_BINS // 2 : _BINS // 2 + _BINS] = inner
        self._limit *= 2.0


def measure(observations: Iterable[Observation], whole: frozenset[str]) -> dict[str, Range]:
    """Return the range of each tensor over all observations.

    Args:
        whole: tensors of which nothing may be cut off, such as the logits: there the largest value
            is the answer.

    Raises:
        ExportError: a tensor holds values that are infinite, or not a number.
    """
    histograms: dict[str, Histogram] = {}
    for observation in observations:
        for name, values in observation.items():
            try:
                histograms.setdefault(name, Histogram()).add(values)
            except ValueError as error:
                raise ExportError(
                    f"{name} has {error} on a calibration image: no 8-bit range holds infinity or "
                    "nan. The weights, or the pictures' normalization, are wrong."
                ) from error
    return {
        name: histogram.range(0.0 if name in whole else CLIPPED_SHARE)
        for name, histogram in histograms.items()
    }
