"""Scores that follow the last seconds and not a single frame."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import UsageError
from edgecnn.stream.frame import NS_PER_S

Scores = NDArray[np.float32]


@dataclass
class Smoothing:
    """An exponential mean over time: after ``seconds``, a change has come through by 63 %.

    The time between frames counts, not their number; 0 seconds smooth nothing.
    """

    seconds: float
    _mean: Scores | None = None
    _last_ns: int = 0

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise UsageError(f"smoothing over {self.seconds:g} s; it must be 0 or more.")

    def add(self, at_ns: int, scores: Scores) -> Scores:
        """Take the scores of a frame taken at a moment; return the mean."""
        mean, passed_s = self._mean, (at_ns - self._last_ns) / NS_PER_S
        if mean is None or self.seconds == 0:
            self._mean = scores
        else:
            new = 1 - math.exp(-max(0.0, passed_s) / self.seconds)
            self._mean = mean + np.float32(new) * (scores - mean)
        self._last_ns = at_ns
        return self._mean
