"""How much networks feel of what slows the reference down.

A neighbour on the same processor core slows a network that computes more than one that waits for
memory, so the reference's pace tells another network's only in part. That part is learnt from all
samples together: what is left of their latencies, once a rough model of the networks is taken off,
against the pace at which they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

USUAL, _SPREAD = 0.75, 0.3
"""Taken for granted as long as the paces hardly differ: shares seen on two busy machines were 0.5
and 0.9 to 1.1."""
_ALLOWED = (0.0, 1.3)
_STEPS = 8
_OUTLIER = 2.5
"""In deviations, by the median: beyond it a residual pulls no harder."""


def felt(latencies_ms: Sequence[float], rough_ms: Sequence[float], paces: Sequence[float]) -> float:
    """The exponent of the pace in a latency: 0 where networks do not feel it, 1 where all of it.

    `rough_ms` are predicted latencies that know nothing of the pace; `paces` those of the reference
    beside each network, in any unit. A regression through the means that starts from `USUAL`; what
    is an outlier depends on the share, so that it is taken in a few steps.
    """
    left = np.log(np.asarray(latencies_ms) / np.asarray(rough_ms))
    slower = np.log(np.asarray(paces))
    slower = slower - slower.mean()
    share = USUAL
    for _ in range(_STEPS):
        off = left - share * slower
        off = off - np.median(off)
        deviation = 1.4826 * float(np.median(np.abs(off)))
        if len(left) < 2 or deviation == 0:
            return share
        off = np.clip(off, -_OUTLIER * deviation, _OUTLIER * deviation)
        prior = (deviation / _SPREAD) ** 2
        pull = float(slower @ (off - off.mean())) - prior * (share - USUAL)
        share = float(np.clip(share + pull / (float(slower @ slower) + prior), *_ALLOWED))
    return share
