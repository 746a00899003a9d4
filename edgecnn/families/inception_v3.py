"""Inception v3 (Szegedy et al. 2016, arXiv 1512.00567), as torchvision has it.

5x5 kernels become two of 3x3, and 7x7 ones a strip across and a strip down; the map shrinks in
modules that pool and convolve with a stride side by side. The classifier on the way, which only
helps training, is left out.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import HALF, TORCHVISION, resized, torchvision
from edgecnn.spec import ModelSpec, Published, parse_rows

# torchvision takes ImageNet's mean and deviation and makes these of them inside the network.
CONVENTIONS = replace(resized(342, 299), bn_eps=1e-3, mean=HALF, std=HALF)


def _strips(width: int) -> str:
    """A module on 17 x 17 pixels; `width` is that of the strips."""
    w = width
    across_and_down = f"{w}x1.{w}x1x7.192x7x1"
    twice = f"{w}x1.{w}x7x1.{w}x1x7.{w}x7x1.192x1x7"
    return f"mixed_s1_192x1_{across_and_down}_{twice}_avg3.192x1_relu"


ROWS = f"""
    stem_k3_s2_c32_p0_relu
    conv_r1_k3_s1_c32_p0_relu
    conv_r1_k3_s1_c64_relu
    maxpool_k3_s2_p0
    conv_r1_k1_s1_c80_relu
    conv_r1_k3_s1_c192_p0_relu
    maxpool_k3_s2_p0
    mixed_s1_64x1_48x1.64x5_64x1.96x3.96x3_avg3.32x1_relu
    mixed_s1_64x1_48x1.64x5_64x1.96x3.96x3_avg3.64x1_relu
    mixed_s1_64x1_48x1.64x5_64x1.96x3.96x3_avg3.64x1_relu
    mixed_s2_384x3sp0_64x1.96x3.96x3sp0_max3sp0_relu
    {_strips(128)}
    {_strips(160)}
    {_strips(160)}
    {_strips(192)}
    mixed_s2_192x1.320x3sp0_192x1.192x1x7.192x7x1.192x3sp0_max3sp0_relu
    mixed_s1_320x1_384x1.384x1x3+384x3x1_448x1.384x3.384x1x3+384x3x1_avg3.192x1_relu
    mixed_s1_320x1_384x1.384x1x3+384x3x1_448x1.384x3.384x1x3+384x3x1_avg3.192x1_relu
    pool
    linear_c1000
"""
FILE = "inception.py"
WEIGHTS = replace(
    torchvision("inception_v3", FILE, CONVENTIONS, 299, 77.294), left_out=("AuxLogits",)
)

MODELS = (
    ModelSpec(
        "inception_v3",
        "inception_v3",
        299,
        parse_rows(ROWS),
        CONVENTIONS,
        dropout=0.5,
        published=Published(
            23834568, 5_713_000_000, TORCHVISION.format(FILE), 77.294, TORCHVISION.format(FILE)
        ),
        checkpoints=(WEIGHTS,),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
