"""EfficientNetV2 B0 to B3, S, M, L (Tan and Le 2021, arXiv 2104.00298).

Rows: google/automl efficientnetv2. B1 to B3 are B0 scaled, with channels rounded to the nearest
multiple of 8 without the 90 % rule, as the reference does. Resolutions are those of evaluation.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import EFFICIENTNET_V2, HALF, crop_pct, timm, torchvision
from edgecnn.spec import Block, Conventions, ModelSpec, Published, parse_rows

GOOGLE = Conventions(padding="same", bn_eps=1e-3)
LARGE = replace(GOOGLE, mean=HALF, std=HALF, crop_pct=1.0)
PYTORCH = Conventions(bn_eps=1e-3, crop_pct=1.0, interpolation="bilinear")
PYTORCH_L = replace(PYTORCH, mean=HALF, std=HALF, interpolation="bicubic")

BASE = ModelSpec(
    "efficientnet_v2_b0",
    "efficientnet_v2",
    224,
    parse_rows("""
        stem_k3_s2_c32_swish
        fused_r1_k3_s1_e1_c16_swish
        fused_r2_k3_s2_e4_c32_swish
        fused_r2_k3_s2_e4_c48_swish
        mbconv_r3_k3_s2_e4_c96_se0.25_swish
        mbconv_r5_k3_s1_e6_c112_se0.25_swish
        mbconv_r8_k3_s2_e6_c192_se0.25_swish
        head_c1280_swish
        pool
        linear_c1000
    """),
    GOOGLE,
    width_floor=0.0,
)

ROWS_S = parse_rows("""
    stem_k3_s2_c24_swish
    fused_r2_k3_s1_e1_c24_swish
    fused_r4_k3_s2_e4_c48_swish
    fused_r4_k3_s2_e4_c64_swish
    mbconv_r6_k3_s2_e4_c128_se0.25_swish
    mbconv_r9_k3_s1_e6_c160_se0.25_swish
    mbconv_r15_k3_s2_e6_c256_se0.25_swish
    head_c1280_swish
    pool
    linear_c1000
""")

ROWS_M = parse_rows("""
    stem_k3_s2_c24_swish
    fused_r3_k3_s1_e1_c24_swish
    fused_r5_k3_s2_e4_c48_swish
    fused_r5_k3_s2_e4_c80_swish
    mbconv_r7_k3_s2_e4_c160_se0.25_swish
    mbconv_r14_k3_s1_e6_c176_se0.25_swish
    mbconv_r18_k3_s2_e6_c304_se0.25_swish
    mbconv_r5_k3_s1_e6_c512_se0.25_swish
    head_c1280_swish
    pool
    linear_c1000
""")

ROWS_L = parse_rows("""
    stem_k3_s2_c32_swish
    fused_r4_k3_s1_e1_c32_swish
    fused_r7_k3_s2_e4_c64_swish
    fused_r7_k3_s2_e4_c96_swish
    mbconv_r10_k3_s2_e4_c192_se0.25_swish
    mbconv_r19_k3_s1_e6_c224_se0.25_swish
    mbconv_r25_k3_s2_e6_c384_se0.25_swish
    mbconv_r7_k3_s1_e6_c640_se0.25_swish
    head_c1280_swish
    pool
    linear_c1000
""")


def _published(params: int, macs_m: float, top1: float, note: str | None = None) -> Published:
    return Published(params, round(macs_m * 1e6), EFFICIENTNET_V2, top1, EFFICIENTNET_V2, note=note)


def _base(
    index: int,
    scaling: tuple[float, float, int, float],
    published: Published,
    timm_top1: float,
) -> ModelSpec:
    """`scaling`: width, depth, resolution, dropout."""
    width, depth, resolution, dropout = scaling
    conventions = replace(GOOGLE, crop_pct=crop_pct(resolution))
    name = f"efficientnet_v2_b{index}"
    checkpoint = timm(f"tf_efficientnetv2_b{index}.in1k", conventions, resolution, timm_top1)
    return replace(
        BASE.scaled(width, depth, resolution),
        name=name,
        conventions=conventions,
        dropout=dropout,
        published=published,
        checkpoints=(checkpoint,),
    )


def _sized(
    size: str,
    resolution: int,
    rows: tuple[Block, ...],
    dropout: float,
    published: Published,
    timm_top1: float,
    torchvision_top1: float,
) -> ModelSpec:
    name = f"efficientnet_v2_{size}"
    pytorch = PYTORCH_L if size == "l" else PYTORCH
    return ModelSpec(
        name,
        "efficientnet_v2",
        resolution,
        rows,
        LARGE,
        dropout=dropout,
        published=published,
        checkpoints=(
            timm(f"tf_efficientnetv2_{size}.in1k", LARGE, resolution, timm_top1),
            torchvision(name, "efficientnet.py", pytorch, resolution, torchvision_top1),
        ),
    )


MODELS = (
    _base(0, (1.0, 1.0, 224, 0.2), _published(7139704, 720, 78.7), 78.386),
    _base(1, (1.0, 1.1, 240, 0.2), _published(8141052, 1200, 79.8), 79.518),
    _base(2, (1.1, 1.2, 260, 0.3), _published(10096086, 1700, 80.5), 80.226),
    _base(3, (1.2, 1.4, 300, 0.3), _published(14358406, 3000, 82.1), 81.960),
    _sized("s", 384, ROWS_S, 0.2, _published(21458488, 8400, 83.9), 83.900, 84.228),
    _sized("m", 480, ROWS_M, 0.3, _published(54139356, 24700, 85.2), 85.208, 85.112),
    _sized("l", 480, ROWS_L, 0.4, _published(118515272, 56300, 85.7), 85.660, 85.808),
)
