"""Aliasing by itself: a wave that is too fast for the pixels that are kept comes back as another.

Keeping every s-th pixel leaves room for 0.5 / s cycles per pixel (Nyquist); a blur before it takes
away what is faster. Binomial blurs as in Zhang, "Making Convolutional Networks Shift-Invariant
Again" (ICML 2019, arXiv 1904.11486), section 4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import UsageError

Floats = NDArray[np.float64]


def binomial(taps: int) -> Floats:
    """Weights of a binomial filter, which sum to 1: [1, 2, 1] / 4 of 3 taps.

    Raises UsageError where taps is no odd number from 1 to 9.
    """
    if taps not in range(1, 10, 2):
        raise UsageError(f"a blur of {taps} taps; allowed: 1 (none), 3, 5, 7 or 9.")
    row = np.array([1.0])
    for _ in range(taps - 1):
        row = np.convolve(row, [0.5, 0.5])
    return row


def zone_plate(size: int) -> Floats:
    """Rings that become narrower outwards: (size, size), from 0 to 1.

    r pixels from the centre the wave has r / size cycles per pixel, thus 0.5 where the rings touch
    the sides.
    """
    at = np.arange(size) - (size - 1) / 2
    rings = np.cos(np.pi * (at[:, np.newaxis] ** 2 + at[np.newaxis] ** 2) / size)
    return np.asarray(0.5 + 0.5 * rings)


def every(picture: Floats, step: int) -> Floats:
    """Each `step`-th pixel of (height, width): what a stride does."""
    return picture[::step, ::step]


def blurred_every(picture: Floats, step: int, taps: int) -> Floats:
    """The same, halving by halving with a binomial blur before each; step is a power of 2."""
    row = binomial(taps)
    while step > 1:
        padded = np.pad(picture, len(row) // 2, mode="reflect")
        across = sum(w * padded[:, i : i + picture.shape[1]] for i, w in enumerate(row))
        down = sum(w * across[i : i + picture.shape[0]] for i, w in enumerate(row))
        picture, step = np.asarray(down)[::2, ::2], step // 2
    return picture
