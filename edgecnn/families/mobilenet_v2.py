"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), Table 2, at the published widths.

The last convolution keeps 1280 channels below width 1 and widens above it.
"""

from __future__ import annotations

from edgecnn.families._sources import SLIM, at_widths, published_grid, timm, torchvision
from edgecnn.spec import Checkpoint, Conventions, ModelSpec, parse_rows

CONVENTIONS = Conventions()
TORCHVISION_V2 = Conventions(crop_pct=224 / 232, interpolation="bilinear")

BASE = ModelSpec(
    "mobilenet_v2",
    "mobilenet_v2",
    224,
    parse_rows("""
        stem_k3_s2_c32_relu6
        mbconv_r1_k3_s1_e1_c16_relu6
        mbconv_r2_k3_s2_e6_c24_relu6
        mbconv_r3_k3_s2_e6_c32_relu6
        mbconv_r4_k3_s2_e6_c64_relu6
        mbconv_r3_k3_s1_e6_c96_relu6
        mbconv_r3_k3_s2_e6_c160_relu6
        mbconv_r1_k3_s1_e6_c320_relu6
        head_c1280_relu6_upw
        pool
        linear_c1000
    """),
    CONVENTIONS,
)

# width: params, then resolution: (multiply-adds in millions, top-1)
FIGURES: dict[float, tuple[int, dict[int, tuple[int, float]]]] = {
    1.4: (6108776, {224: (582, 75.0)}),
    1.3: (5386792, {224: (509, 74.4)}),
    1.0: (
        3504872,
        {224: (300, 71.8), 192: (221, 70.7), 160: (154, 68.8), 128: (99, 65.3), 96: (56, 60.3)},
    ),
    0.75: (
        2636424,
        {224: (209, 69.8), 192: (153, 68.7), 160: (107, 66.4), 128: (69, 63.2), 96: (39, 58.8)},
    ),
    0.5: (
        1968680,
        {224: (97, 65.4), 192: (71, 63.9), 160: (50, 61.0), 128: (32, 57.7), 96: (18, 51.2)},
    ),
    0.35: (
        1677128,
        {224: (59, 60.3), 192: (43, 58.2), 160: (30, 55.7), 128: (20, 50.8), 96: (11, 45.5)},
    ),
}
NOTES = dict.fromkeys(
    ((0.75, 96), (0.5, 128), (0.5, 96), (0.35, 192), (0.35, 160), (0.35, 128), (0.35, 96)),
    "the README cuts the fraction of a million off",
)

PUBLISHED = published_grid(BASE, FIGURES, NOTES, SLIM)

CHECKPOINTS: dict[float, tuple[Checkpoint, ...]] = {
    1.0: (
        timm("mobilenetv2_100.ra_in1k", CONVENTIONS, 224, 72.910),
        torchvision("mobilenet_v2", "mobilenetv2.py", TORCHVISION_V2, 224, 72.154),
    ),
    1.4: (timm("mobilenetv2_140.ra_in1k", CONVENTIONS, 224, 76.528),),
    0.5: (timm("mobilenetv2_050.lamb_in1k", CONVENTIONS, 224, 65.928),),
}

MODELS = at_widths(BASE, PUBLISHED, CHECKPOINTS, (1.0, 1.4, 1.3, 0.75, 0.5, 0.35))
