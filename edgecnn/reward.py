"""The trade between accuracy and latency: MnasNet's reward, and the Pareto front.

MnasNet (Tan et al., CVPR 2019, arXiv 1807.11626), section 3, equations 2 and 3:
ACC * (LAT / T)^w, with w = alpha where LAT <= T, and beta above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from edgecnn.errors import UsageError

SOFT = (-0.07, -0.07)
"""alpha and beta: twice the latency has to bring 5 % more accuracy (section 3)."""
HARD = (0.0, -1.0)
"""alpha and beta: accuracy alone within the target, a sharp penalty above (figure 3, top)."""
T = TypeVar("T")


@dataclass(frozen=True)
class Reward:
    """ACC * (LAT / T)^w for a target T of `target_ms`; the higher the better.

    Raises UsageError where the target is not above 0, or an exponent is: it would reward latency.
    """

    target_ms: float
    alpha: float = SOFT[0]
    beta: float = SOFT[1]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.target_ms) and self.target_ms > 0):
            raise UsageError(f"the target is {self.target_ms:g} ms; it has to be above 0.")
        if not all(math.isfinite(w) and w <= 0 for w in (self.alpha, self.beta)):
            raise UsageError(
                f"alpha {self.alpha:g} and beta {self.beta:g}: allowed are 0 and below. MnasNet's "
                f"are {SOFT} (soft) and {HARD} (hard)."
            )

    @classmethod
    def soft(cls, target_ms: float) -> Reward:
        """The target as a soft limit, MnasNet's default."""
        return cls(target_ms, *SOFT)

    @classmethod
    def hard(cls, target_ms: float) -> Reward:
        """The target as a hard limit."""
        return cls(target_ms, *HARD)

    def __call__(self, accuracy: float, latency_ms: float) -> float:
        """The reward, in the unit of `accuracy` (a share or percent, at least 0).

        Raises UsageError where the accuracy is below 0 or the latency is not above 0.
        """
        if not (accuracy >= 0 and math.isfinite(latency_ms) and latency_ms > 0):
            raise UsageError(
                f"accuracy {accuracy:g} and latency {latency_ms:g} ms: the accuracy has to be at "
                "least 0 and the latency above 0."
            )
        exponent = self.alpha if latency_ms <= self.target_ms else self.beta
        # e^(w * log(LAT / T)), not a power: the quotient of extreme latencies would overflow.
        relative = math.log(latency_ms) - math.log(self.target_ms)
        return accuracy * math.exp(exponent * relative)


def front(items: Iterable[T], figures: Callable[[T], tuple[float, float]]) -> tuple[T, ...]:
    """The items that no other one beats, fastest first; O(n log n).

    `figures` gives (accuracy, latency_ms) of an item. One item beats another where it is at least
    as accurate and as fast, and better in one of them; equal items stay side by side.
    """
    ordered = sorted(items, key=lambda item: (figures(item)[1], -figures(item)[0]))
    kept: list[T] = []
    best: tuple[float, float] | None = None
    for item in ordered:
        if best is None or figures(item)[0] > best[0] or figures(item) == best:
            kept.append(item)
            best = figures(item)
    return tuple(kept)
