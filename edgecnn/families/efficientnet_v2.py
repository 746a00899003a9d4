"""EfficientNetV2 B0 to B3, S, M, L, and its ablation (Tan and Le 2021, arXiv 2104.00298).

Rows: google/automl efficientnetv2. B1 to B3 are B0 scaled, with channels rounded to the nearest
multiple of 8 without the 90 % rule, as the reference does. Resolutions are those of evaluation.

The ablation (table 3 of the paper) is EfficientNet-B4 with fused bottlenecks in the first stages.
Its rows are not published. Ours give its parameters within 0.5 %: the third stage then has 3x3
kernels, the fifth and sixth keep their 5x5, and the last two have no squeeze-and-excitation.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families import efficientnet
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


ABLATION_SOURCE = "arXiv 2104.00298, table 3"
ABLATION_NOTE = (
    "2 per element of batch normalization, which the paper's tools count, make up for the unfused "
    "network's difference; the fused ones' rows are not published, and up to 2.6 % stay unexplained"
)


def _ablated(fused: int, params: int, macs_g: float, top1: float) -> ModelSpec:
    """EfficientNet-B4 with its first `fused` stages fused; multiply-adds in billions."""
    b4 = efficientnet.BASE.scaled(1.4, 1.8, 380)
    stages = range(1, fused + 1)
    rows = tuple(_fused(b, i) if i in stages else b for i, b in enumerate(b4.blocks))
    return replace(
        b4,
        name=f"efficientnet_v2_fused_{f'1_{fused}' if fused else 'none'}",
        family="efficientnet_v2",
        blocks=rows,
        dropout=0.4,
        published=Published(
            params, round(macs_g * 1e9), ABLATION_SOURCE, top1, ABLATION_SOURCE, note=ABLATION_NOTE
        ),
    )


def _fused(block: Block, stage: int) -> Block:
    kernel = 3 if stage == 3 else block.kernel
    return replace(block, kind="fused", kernel=kernel, se=0.0 if stage > 5 else block.se)


MOBILE = (
    _base(0, (1.0, 1.0, 224, 0.2), _published(7139704, 720, 78.7), 78.386),
    _base(1, (1.0, 1.1, 240, 0.2), _published(8141052, 1200, 79.8), 79.518),
    _base(2, (1.1, 1.2, 260, 0.3), _published(10096086, 1700, 80.5), 80.226),
    _base(3, (1.2, 1.4, 300, 0.3), _published(14358406, 3000, 82.1), 81.960),
    _sized("s", 384, ROWS_S, 0.2, _published(21458488, 8400, 83.9), 83.900, 84.228),
    _sized("m", 480, ROWS_M, 0.3, _published(54139356, 24700, 85.2), 85.208, 85.112),
    _sized("l", 480, ROWS_L, 0.4, _published(118515272, 56300, 85.7), 85.660, 85.808),
)
ABLATION = (
    _ablated(0, 19341616, 4.5, 82.8),
    _ablated(3, 19988638, 7.5, 83.1),
    _ablated(5, 43199662, 21.3, 83.1),
    _ablated(7, 131793142, 34.4, 81.7),
)
MODELS = MOBILE + ABLATION
