"""How many steps the largest weight of each output channel gets.

Exporters use it, and training under 8-bit rounding, which rounds as they do.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Levels = Callable[[Weights], NDArray[np.float64]]
"""From a weight (output channels first, then input channels, height, width) to the largest
magnitude of an integer weight in each output channel."""

INT8 = 127
_PAIR_LIMIT = 127
"""Two neighbours may sum to 128, since 255 * 128 fits into 16 bits signed; one less leaves room for
their rounding."""
_BLOCK = 1 << 18
"""Weights looked at together: a dense layer of 100 million would take gigabytes at once."""


def int8(weight: Weights) -> NDArray[np.float64]:
    """All of int8 in every channel."""
    return np.full(len(weight), float(INT8))


def int8_without_saturation(weight: Weights) -> NDArray[np.float64]:
    """As much of int8 as kernels can add up that multiply in pairs.

    x86 processors without VNNI multiply uint8 activations by int8 weights and add the products of
    two neighbours in 16 bits, saturating (instruction vpmaddubsw). Neighbours follow each other in
    the order height, width, input channel. Where no two of a channel sum to more than 128 steps,
    nothing saturates; steps are made coarser only as far as that needs, by at most a factor of 2.
    Depthwise kernels add in 32 bits.
    """
    is_depthwise = weight.ndim == 4 and weight.shape[1] == 1
    if is_depthwise:
        return int8(weight)
    channels = max(1, _BLOCK * len(weight) // weight.size)
    starts = range(0, len(weight), channels)
    return np.concatenate([_without_saturation(weight[i : i + channels]) for i in starts])


def _without_saturation(weight: Weights) -> NDArray[np.float64]:
    ordered = np.moveaxis(weight, 1, -1).reshape(len(weight), -1).astype(np.float64)
    if ordered.shape[1] % 2:
        ordered = np.pad(ordered, ((0, 0), (0, 1)))
    largest = np.abs(ordered).max(axis=1)
    largest_sum = np.abs(ordered[:, 0::2] + ordered[:, 1::2]).max(axis=1)
    fitting = _PAIR_LIMIT * largest / np.maximum(largest_sum, 1e-12)
    return np.asarray(fitting.clip((_PAIR_LIMIT + 1) // 2, INT8))


def steps(weight: Weights, levels: Levels) -> NDArray[np.float32]:
    """Return the size of a step in each output channel."""
    flat = weight.reshape(len(weight), -1)
    largest = np.maximum(flat.max(axis=1), -flat.min(axis=1))
    return np.asarray(np.maximum(largest, 1e-12) / levels(weight), np.float32)
