"""Network in Network (Lin et al. 2014, arXiv 1312.4400), the authors' model for ImageNet.

Two 1x1 convolutions behind each other one are a small perceptron at each pixel; the classifier is
a map for each class and its mean, without a fully connected layer.
"""

from __future__ import annotations

from edgecnn.families._sources import PYTORCH
from edgecnn.spec import ModelSpec, Published, parse_rows

LIN = 'Caffe model zoo, "Network in Network Imagenet Model" (gist mavenlin/d802a5849de39225bcc6)'

MODELS = (
    ModelSpec(
        "nin",
        "nin",
        224,
        parse_rows("""
            conv_r1_k11_s4_c96_relu_p0_bias
            conv_r2_k1_s1_c96_relu_bias
            maxpool_k3_s2_p0_ceil
            conv_r1_k5_s1_c256_relu_bias
            conv_r2_k1_s1_c256_relu_bias
            maxpool_k3_s2_p0_ceil
            conv_r1_k3_s1_c384_relu_bias
            conv_r2_k1_s1_c384_relu_bias
            maxpool_k3_s2_p0_ceil
            conv_r1_k3_s1_c1024_relu_bias
            conv_r1_k1_s1_c1024_relu_bias
            classmap_c1000_relu
        """),
        PYTORCH,
        dropout=0.5,
        published=Published(7595176, None, LIN, 59.36, LIN, note="multiply-adds are not published"),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
