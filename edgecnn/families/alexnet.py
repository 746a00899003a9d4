"""AlexNet: torchvision's, of one tower (Krizhevsky 2014, arXiv 1404.5997), and the original of two.

The original (Krizhevsky et al. 2012) was spread over two GPUs: its second, fourth and fifth
convolution read the maps of their own GPU only, which are two groups. Left out of both: local
response normalization, which has no weights, gained the original 1.4 points of top-1 error (section
3.3), and is not in torchvision's.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import PYTORCH, of_torchvision
from edgecnn.spec import ModelSpec, Published, parse_rows

ONE_TOWER = """
    conv_r1_k11_s4_c64_relu_p2_bias
    maxpool_k3_s2_p0
    conv_r1_k5_s1_c192_relu_bias
    maxpool_k3_s2_p0
    conv_r1_k3_s1_c384_relu_bias
    conv_r2_k3_s1_c256_relu_bias
    maxpool_k3_s2_p0
    dense_c4096_relu
    dense_c4096_relu
    linear_c1000
"""
TWO_TOWERS = """
    conv_r1_k11_s4_c96_relu_p2_bias
    maxpool_k3_s2_p0
    conv_r1_k5_s1_c256_g2_relu_bias
    maxpool_k3_s2_p0
    conv_r1_k3_s1_c384_relu_bias
    conv_r1_k3_s1_c384_g2_relu_bias
    conv_r1_k3_s1_c256_g2_relu_bias
    maxpool_k3_s2_p0
    dense_c4096_relu
    dense_c4096_relu
    linear_c1000
"""
KRIZHEVSKY = "Krizhevsky et al. 2012, NIPS, table 2 (1 CNN: 40.7 % validation error)"
SZE = "Sze et al. 2017, arXiv 1703.09039, table II"


def _spec(name: str, rows: str) -> ModelSpec:
    return ModelSpec(name, "alexnet", 224, parse_rows(rows), PYTORCH, dropout=0.5)


MODELS = (
    of_torchvision(_spec("alexnet", ONE_TOWER), "alexnet.py", 61100840, 714, 56.522),
    replace(
        _spec("alexnet_two_towers", TWO_TOWERS),
        published=Published(60965224, 724_000_000, SZE, 59.3, KRIZHEVSKY),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
