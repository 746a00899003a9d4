"""The figures of an operator that a latency model looks at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Features, Signature, features

LINEAR = (
    "one", "macs", "macs in tiles of 8", "macs in tiles of 16", "macs in tiles of 32",
    "macs in tiles of 64", "macs in matrix tiles", "tiles of 16", "patches", "pixels_out",
    "rows_out", "input_bytes", "output_bytes", "weight_bytes",
    "pixels of few channels",
)  # fmt: skip
"""What the time of an operator is first taken to be a sum of.

Matrix kernels compute tiles of a few pixels by 8 to 64 channels, and whole ones even where the
result is smaller; a depthwise kernel computes 8 or 16 channels of a pixel. Processors that multiply
matrices (AMX) take 16 pixels by 64 channels by 64 products. `patches` are the inputs of all
results, as a convolution gathers them. `pixels of few channels` are those of a convolution with
fewer than 16 results a pixel: onnxruntime's w8a8 takes 6.0 ns a pixel from 8 channels to 8, and 2.5
to 24 (an AMD EPYC).
"""
_MACS, _MOVED = [1e-8] * 6, [1e-7] * 3
UNITS = np.array([1e-3, *_MACS, 1e-5, 1e-7, 1e-6, 1e-4, *_MOVED, 1e-6])
"""Brings the coefficients near 1 millisecond."""
_TILE_PIXELS = 5
_FEW = 16
_MATRIX_PIXELS, _MATRIX_CHANNELS, _MATRIX_PRODUCTS = 16, 64, 64
TREES = (
    "kind", "activation", "channels_in", "channels_out", "pixels_in", "pixels_out", "width_out",
    "area", "stride", "macs", "input_bytes", "output_bytes", "weight_bytes", "reduction",
    "channels_in % 8", "channels_in % 16", "channels_out % 8", "channels_out % 16",
    "channels_out % 32", "channels_out % 64", "width_out % 8", "macs / bytes", "inputs",
    "touched", "weights of all",
)  # fmt: skip
"""What the trees correct that sum by. `reduction` is the number of products in one result. Kernels
take 8 or 16 channels in a vector and up to four vectors at a time; what is left over costs more.
The last two are the place (`edgecnn.encoding.Place`).
"""
OF_PLACE = TREES[-2:]
"""Those that an operator never gets faster by: the more, the less is still in a cache."""
SPANNED = ("channels_in", "channels_out", "pixels_out", "macs", "weight_bytes")
"""Figures whose range a table knows."""

Floats = NDArray[np.float64]


def kind(of: Signature) -> str:
    """Operators of one kind are fitted together: what it is, and the runtime's name for it.

    A pointwise convolution gathers no patches, and is a kind of its own.
    """
    op = "pointwise_conv" if of.op == "conv" and of.area == 1 else of.op
    return f"{op}/{of.node}"


def linear(signatures: Sequence[Signature], precision: str) -> Floats:
    """The figures of `LINEAR`, shape (n, 15)."""
    rows = [_linear(one, features(one, precision)) for one in signatures]
    found: Floats = np.array(rows, np.float64).reshape(-1, len(LINEAR)) * UNITS
    return found


def _linear(of: Signature, f: Features) -> tuple[float, ...]:
    pixels, moved = f.height_out * f.width_out, (f.input_bytes, f.output_bytes, f.weight_bytes)
    if not f.macs:
        return (1, *[0] * 8, pixels, f.height_out, *moved, 0)
    if of.op == "depthwise_conv":
        groups_8, groups_16 = _ceil(f.channels_out, 8), _ceil(f.channels_out, 16)
        grouped = (8 * groups_8 * pixels * f.area, 16 * groups_16 * pixels * f.area, 0, 0, 0)
        return (1, f.macs, *grouped, groups_16 * pixels, 0, pixels, f.height_out, *moved, 0)
    products = f.channels_in // f.groups * f.area
    across = _whole(pixels, _TILE_PIXELS)
    tiled = [across * _whole(f.channels_out, width) * products for width in (8, 16, 32, 64)]
    in_matrices = _matrix_macs(pixels, f.channels_out, products)
    tiles_16 = _ceil(pixels, _TILE_PIXELS) * _ceil(f.channels_out, 16)
    gathered = pixels * products
    of_few = pixels * (f.channels_out < _FEW)
    return (
        1, f.macs, *tiled, in_matrices, tiles_16, gathered, pixels, f.height_out, *moved, of_few
    )  # fmt: skip


def _matrix_macs(pixels: int, channels: int, products: int) -> int:
    return (
        _whole(pixels, _MATRIX_PIXELS)
        * _whole(channels, _MATRIX_CHANNELS)
        * _whole(products, _MATRIX_PRODUCTS)
    )


def _whole(value: int, step: int) -> int:
    return step * _ceil(value, step)


def _ceil(value: int, step: int) -> int:
    return -(-value // step)


def trees(
    signatures: Sequence[Signature],
    precision: str,
    kinds: Sequence[str],
    activations: Sequence[str],
) -> Floats:
    """The figures of `TREES`, shape (n, 25); -1 for a kind or activation that is not listed."""
    kind_at = {name: at for at, name in enumerate(kinds)}
    activation_at = {name: at for at, name in enumerate(activations)}
    rows = []
    for one in signatures:
        f = features(one, precision)
        moved = f.input_bytes + f.output_bytes + f.weight_bytes
        rows.append((
            kind_at.get(kind(one), -1),
            activation_at.get(one.activation, -1),
            f.channels_in,
            f.channels_out,
            f.height_in * f.width_in,
            f.height_out * f.width_out,
            f.width_out,
            f.area,
            f.stride,
            f.macs,
            f.input_bytes,
            f.output_bytes,
            f.weight_bytes,
            f.channels_in // f.groups * f.area,
            f.channels_in % 8,
            f.channels_in % 16,
            f.channels_out % 8,
            f.channels_out % 16,
            f.channels_out % 32,
            f.channels_out % 64,
            f.width_out % 8,
            f.macs / moved,
            1 + bool(one.second_shape),
            *one.place,
        ))  # fmt: skip
    return np.array(rows, np.float64).reshape(-1, len(TREES))


def spanned(signatures: Sequence[Signature], precision: str) -> Floats:
    """The figures of `SPANNED`, shape (n, 5)."""
    rows = [
        (f.channels_in, f.channels_out, f.height_out * f.width_out, f.macs, f.weight_bytes)
        for f in (features(one, precision) for one in signatures)
    ]
    return np.array(rows, np.float64).reshape(-1, len(SPANNED))
