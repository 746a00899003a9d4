"""What an operator costs under ncnn, as a few terms whose prices differ between boards.

A term is an amount of work in units that take one price: a board's latency of an operator is the
sum of term times price. The terms follow the kernels that ncnn has (Tencent/ncnn, docs and
src/layer/arm): matrix products for pointwise convolutions, Winograd's for 3x3 ones of stride 1,
own kernels for depthwise ones up to 5x5, channels in packs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Features, Signature, features

Floats = NDArray[np.float64]

EXPECTED = {
    "pointwise": 1.0,
    "winograd": 0.4,
    "convolution": 1.3,
    "few_channels": 1.5,
    "thin_groups": 3.0,
    "unpacked": 1.0,
    "depthwise": 3.0,
    "depthwise_large": 2.5,
    "depthwise_moved": 5.0,
    "moved": 5.0,
    "winograd_moved": 10.0,
    "beyond_cache": 3.0,
    "weights": 5.0,
    "vector_weights": 5.0,
    "others_moved": 5.0,
    "gate": 5.0,
    "normalization": 40.0,
    "window": 2.0,
    "operator": 0.1,
}
"""The prices to expect, in those of a million multiply-adds in a matrix product.

Round figures, from the arithmetic that a kernel needs and from the balance of these machines: a
number read from or written to memory costs about as much as 5 multiply-adds. An operator costs
0.1 for being called. What boards say counts more, see `_published_fit`.
"""

TERMS = tuple(EXPECTED)
_AT = {name: index for index, name in enumerate(TERMS)}
_PACK = 8
"""ncnn keeps channels in packs of 4 (fp32) or 8 (fp16)."""
_WINOGRAD_FILTERS = 16
_THIN = 16
"""Channels of a group below which a grouped convolution runs in its own slow kernel."""
_FEW = 8
_CACHE_BYTES = 1e6
"""About the second-level caches of these boards: 0.5 MB (A53, A76) to 1 MB (A72)."""
_FLOAT = 4
_MILLION = 1e6
_GATES = ("swish", "hswish", "sigmoid", "hsigmoid", "softmax")
_POOLS = ("max_pool", "avg_pool")
_OVER_WINDOWS = ("depthwise_conv", "deconv")


def terms(of: Signature) -> Floats:
    """The work of an operator, shape (terms,): millions of multiply-adds or of numbers moved."""
    found = np.zeros(len(TERMS))
    figures = features(of)
    moved = (figures.input_bytes + figures.output_bytes) / _FLOAT / _MILLION
    amounts = _convolution(of, figures, moved) if figures.weight_bytes else _other(of, moved)
    if of.op in _OVER_WINDOWS:
        amounts = _depthwise(of, figures, moved)
    if of.op in _POOLS:
        amounts["window"] = figures.elements * of.area / _MILLION
    beyond = figures.input_bytes + figures.output_bytes - _CACHE_BYTES
    if beyond > 0:
        amounts["beyond_cache"] = beyond / _FLOAT / _MILLION
    amounts["operator"] = 1.0
    for name, amount in amounts.items():
        found[_AT[name]] = amount
    return found


def total(signatures: Sequence[Signature]) -> Floats:
    """The work of a network, shape (terms,)."""
    found: Floats = np.sum([terms(one) for one in signatures], axis=0)
    return found


def _convolution(of: Signature, figures: Features, moved: float) -> dict[str, float]:
    """Convolutions that are not depthwise, and fully connected layers."""
    macs, weights = figures.macs / _MILLION, figures.weight_bytes / _FLOAT / _MILLION
    channels, filters = figures.channels_in // of.groups, figures.channels_out // of.groups
    if figures.height_in == figures.height_out == 1:
        return {"vector_weights": weights}
    if of.groups > 1 and channels < _THIN:
        return {"thin_groups": macs, "moved": moved}
    if channels < _FEW:
        return {"few_channels": macs, "moved": moved}
    winograd = of.kernel == 3 and of.stride == 1 and filters >= _WINOGRAD_FILTERS
    by = "pointwise" if of.kernel == 1 else "winograd" if winograd else "convolution"
    amounts = {by: macs, "winograd_moved" if winograd else "moved": moved, "weights": weights}
    if channels % _PACK or filters % _PACK:
        amounts["unpacked"] = macs
    if of.groups > 1:  # its groups are cut out of the map, and joined again
        amounts["moved"] = amounts.get("moved", 0.0) + moved
    return amounts


def _depthwise(of: Signature, figures: Features, moved: float) -> dict[str, float]:
    by = "depthwise" if of.kernel <= 3 else "depthwise_large"
    return {by: figures.elements * of.area / _MILLION, "depthwise_moved": moved}


def _other(of: Signature, moved: float) -> dict[str, float]:
    amounts = {"others_moved": moved}
    if of.op in _GATES:
        amounts["gate"] = moved
    if of.op == "lrn":
        amounts["normalization"] = moved
    return amounts
