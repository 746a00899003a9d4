"""EfficientNet B0 to B7 (Tan and Le 2019, arXiv 1905.11946): B0 and its compound scaling.

Rows and coefficients: tensorflow/tpu models/official/efficientnet/efficientnet_builder.py@082b226.
Top-1 is that of the AutoAugment or RandAugment weights which timm ported from TensorFlow.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import EFFICIENTNET, TORCHVISION, crop_pct, timm, torchvision
from edgecnn.spec import Conventions, ModelSpec, Published, parse_rows

FILE = TORCHVISION.format("efficientnet.py")
COUNTED = f"{FILE}, _ops"

ROWS = parse_rows("""
    stem_k3_s2_c32_swish
    mbconv_r1_k3_s1_e1_c16_se0.25_swish
    mbconv_r2_k3_s2_e6_c24_se0.25_swish
    mbconv_r2_k5_s2_e6_c40_se0.25_swish
    mbconv_r3_k3_s2_e6_c80_se0.25_swish
    mbconv_r3_k5_s1_e6_c112_se0.25_swish
    mbconv_r4_k5_s2_e6_c192_se0.25_swish
    mbconv_r1_k3_s1_e6_c320_se0.25_swish
    head_c1280_swish
    pool
    linear_c1000
""")

BASE = ModelSpec(
    "efficientnet_b0", "efficientnet", 224, ROWS, Conventions(padding="same", bn_eps=1e-3)
)


def _b(
    index: int,
    scaling: tuple[float, float, int, float],
    params: int,
    macs_m: float,
    paper_top1: float,
    timm_weights: tuple[str, float],
    torchvision_weights: tuple[int, int, float],
    macs_source: str = COUNTED,
    note: str | None = None,
) -> ModelSpec:
    """`scaling`: width, depth, resolution, dropout; torchvision: crop, resize in pixels, top-1."""
    width, depth, resolution, dropout = scaling
    google = replace(BASE.conventions, crop_pct=crop_pct(resolution))
    recipe, timm_top1 = timm_weights
    crop, resize, torchvision_top1 = torchvision_weights
    pytorch = Conventions(
        bn_eps=1e-5 if index < 5 else 1e-3,
        crop_pct=crop / resize,
        interpolation="bilinear" if index == 1 else "bicubic",
    )
    name = f"efficientnet_b{index}"
    return replace(
        BASE.scaled(width, depth, resolution),
        name=name,
        conventions=google,
        dropout=dropout,
        published=Published(
            params, round(macs_m * 1e6), macs_source, paper_top1, EFFICIENTNET, note=note
        ),
        checkpoints=(
            timm(f"tf_{name}.{recipe}", google, resolution, timm_top1),
            torchvision(name, "efficientnet.py", pytorch, crop, torchvision_top1),
        ),
    )


MODELS = (
    _b(0, (1.0, 1.0, 224, 0.2), 5288548, 386, 76.3, ("aa_in1k", 76.882), (224, 256, 77.692)),
    _b(1, (1.0, 1.1, 240, 0.2), 7794184, 687, 78.8, ("aa_in1k", 78.840), (240, 255, 79.838)),
    _b(
        2,
        (1.1, 1.2, 260, 0.3),
        9109994,
        1000,
        79.8,
        ("aa_in1k", 80.074),
        (288, 288, 80.608),
        macs_source=EFFICIENTNET,
    ),
    _b(3, (1.2, 1.4, 300, 0.3), 12233232, 1827, 81.1, ("aa_in1k", 81.648), (300, 320, 82.008)),
    _b(4, (1.4, 1.8, 380, 0.4), 19341616, 4394, 82.6, ("aa_in1k", 83.040), (380, 384, 83.384)),
    _b(5, (1.6, 2.2, 456, 0.4), 30389784, 10266, 83.3, ("ra_in1k", 83.834), (456, 456, 83.444)),
    _b(6, (1.8, 2.6, 528, 0.5), 43040704, 19068, 84.0, ("aa_in1k", 84.124), (528, 528, 84.008)),
    _b(7, (2.0, 3.1, 600, 0.5), 66347960, 37746, 84.4, ("ra_in1k", 84.926), (600, 600, 84.122)),
)
