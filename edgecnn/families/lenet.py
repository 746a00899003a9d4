"""LeNet-1, LeNet-4 and LeNet-5 (LeCun et al. 1998), for digits in the middle of 28 x 28 pixels.

Subsampling layers are the paper's: the mean of 2 x 2 pixels with a trained coefficient and bias for
each map, then the squashing function. The 32 x 32 pixels that the paper gives LeNet-4 and LeNet-5
are here 28 x 28 with a padding of 2: the border is empty there, too.

Replaced: a second convolution reads every map of the layer before. In the paper a table connects
each of its maps with some of them (LeNet-1: 20 of 48 pairs, LeNet-5: 60 of 96), and LeNet-4
subsamples its four maps to eight. LeNet-5's output, distances to drawn digits (RBF, fixed weights),
is a linear layer. The tangent is not scaled.
"""

from __future__ import annotations

from edgecnn.families._sources import DIGITS, LECUN, LECUN_TABLE, MNIST
from edgecnn.spec import ModelSpec, Published, parse_rows

LENET1 = """
    conv_r1_k5_s1_c4_tanh_p0_bias
    subsample_k2_s2_tanh
    conv_r1_k5_s1_c12_tanh_p0_bias
    subsample_k2_s2_tanh
    linear_c10
"""
LENET4 = """
    conv_r1_k5_s1_c4_tanh_p2_bias
    subsample_k2_s2_tanh
    conv_r1_k5_s1_c16_tanh_p0_bias
    subsample_k2_s2_tanh
    dense_c120_tanh
    linear_c10
"""
LENET5 = """
    conv_r1_k5_s1_c6_tanh_p2_bias
    subsample_k2_s2_tanh
    conv_r1_k5_s1_c16_tanh_p0_bias
    subsample_k2_s2_tanh
    conv_r1_k5_s1_c120_tanh_p0_bias
    dense_c84_tanh
    linear_c10
"""


def _model(name: str, rows: str, params: int, macs: int, error: float, note: str) -> ModelSpec:
    """`macs` as the paper has them, `error` in percent."""
    published = Published(params, macs, LECUN, 100 - error, LECUN_TABLE, MNIST, note)
    return ModelSpec(
        name,
        "lenet",
        28,
        parse_rows(rows),
        DIGITS,
        dropout=0.0,
        input_channels=1,
        published=published,
    )


MODELS = (
    _model(
        "lenet1",
        LENET1,
        3278,
        100_000,
        1.7,
        '"about 100,000", and 2,600 parameters: with 20 of 48 pairs of maps connected',
    ),
    _model(
        "lenet4",
        LENET4,
        51090,
        260_000,
        1.1,
        "260,000, and 17,000 parameters: 120 units that read all 16 maps have 48,120 alone; the "
        "paper does not say what they read",
    ),
    _model(
        "lenet5",
        LENET5,
        61750,
        340_908,
        0.95,
        "connections: biases and subsampled pixels counted, 60 of 96 pairs of maps connected",
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
