"""ZFNet (Zeiler and Fergus 2014, arXiv 1311.2901), figure 3.

AlexNet after a look at what its filters see: the first ones are 7 x 7 with stride 2 in place of
11 x 11 with stride 4, and no convolution is split in two. Contrast normalization behind the first
two pooling layers, which has no weights, is left out.
"""

from __future__ import annotations

from edgecnn.families._sources import PYTORCH
from edgecnn.spec import ModelSpec, Published, parse_rows

ZEILER = "arXiv 1311.2901v3, table 2 (1 convnet as per fig. 3: 38.4 % validation error)"

MODELS = (
    ModelSpec(
        "zfnet",
        "zfnet",
        224,
        parse_rows("""
            conv_r1_k7_s2_c96_relu_p1_bias
            maxpool_k3_s2_p0_ceil
            conv_r1_k5_s2_c256_relu_p0_bias
            maxpool_k3_s2_p0_ceil
            conv_r2_k3_s1_c384_relu_bias
            conv_r1_k3_s1_c256_relu_bias
            maxpool_k3_s2_p0
            dense_c4096_relu
            dense_c4096_relu
            linear_c1000
        """),
        PYTORCH,
        dropout=0.5,
        published=Published(
            62357608, None, ZEILER, 61.6, ZEILER, note="multiply-adds are not published"
        ),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
