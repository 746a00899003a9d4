"""MobileNetV4-conv small, medium and large (Qin et al. 2024, arXiv 2404.10518), appendix tables.

Universal inverted bottlenecks: `a` is the depthwise kernel before the expansion, `k` the one after
it. Rows as in timm's `mobilenetv3.py`, the reference implementation here.
"""

from __future__ import annotations

from edgecnn.families._sources import HALF, TIMM, timm
from edgecnn.spec import Conventions, ModelSpec, Published, parse_rows

SMALL = parse_rows("""
    stem_k3_s2_c32_relu
    conv_r1_k3_s2_c32_relu
    conv_r1_k1_s1_c32_relu
    conv_r1_k3_s2_c96_relu
    conv_r1_k1_s1_c64_relu
    uib_r1_a5_k5_s2_e3_c96_relu
    uib_r4_a0_k3_s1_e2_c96_relu
    uib_r1_a3_k0_s1_e4_c96_relu
    uib_r1_a3_k3_s2_e6_c128_relu
    uib_r1_a5_k5_s1_e4_c128_relu
    uib_r1_a0_k5_s1_e4_c128_relu
    uib_r1_a0_k5_s1_e3_c128_relu
    uib_r2_a0_k3_s1_e4_c128_relu
    head_c960_relu
    pool
    head_c1280_relu_fixw
    linear_c1000
""")

MEDIUM = parse_rows("""
    stem_k3_s2_c32_relu
    fused_r1_k3_s2_e4_c48_relu
    uib_r1_a3_k5_s2_e4_c80_relu
    uib_r1_a3_k3_s1_e2_c80_relu
    uib_r1_a3_k5_s2_e6_c160_relu
    uib_r2_a3_k3_s1_e4_c160_relu
    uib_r1_a3_k5_s1_e4_c160_relu
    uib_r1_a3_k3_s1_e4_c160_relu
    uib_r1_a3_k0_s1_e4_c160_relu
    uib_r1_a0_k0_s1_e2_c160_relu
    uib_r1_a3_k0_s1_e4_c160_relu
    uib_r1_a5_k5_s2_e6_c256_relu
    uib_r1_a5_k5_s1_e4_c256_relu
    uib_r2_a3_k5_s1_e4_c256_relu
    uib_r1_a0_k0_s1_e4_c256_relu
    uib_r1_a3_k0_s1_e4_c256_relu
    uib_r1_a3_k5_s1_e2_c256_relu
    uib_r1_a5_k5_s1_e4_c256_relu
    uib_r2_a0_k0_s1_e4_c256_relu
    uib_r1_a5_k0_s1_e2_c256_relu
    head_c960_relu
    pool
    head_c1280_relu_fixw
    linear_c1000
""")

LARGE = parse_rows("""
    stem_k3_s2_c24_relu
    fused_r1_k3_s2_e4_c48_relu
    uib_r1_a3_k5_s2_e4_c96_relu
    uib_r1_a3_k3_s1_e4_c96_relu
    uib_r1_a3_k5_s2_e4_c192_relu
    uib_r3_a3_k3_s1_e4_c192_relu
    uib_r1_a3_k5_s1_e4_c192_relu
    uib_r5_a5_k3_s1_e4_c192_relu
    uib_r1_a3_k0_s1_e4_c192_relu
    uib_r4_a5_k5_s2_e4_c512_relu
    uib_r1_a5_k0_s1_e4_c512_relu
    uib_r1_a5_k3_s1_e4_c512_relu
    uib_r2_a5_k0_s1_e4_c512_relu
    uib_r1_a5_k3_s1_e4_c512_relu
    uib_r1_a5_k5_s1_e4_c512_relu
    uib_r3_a5_k0_s1_e4_c512_relu
    head_c960_relu
    pool
    head_c1280_relu_fixw
    linear_c1000
""")

SMALL_CONVENTIONS = Conventions(mean=HALF, std=HALF, crop_pct=0.95)
CONVENTIONS = Conventions(crop_pct=0.95)

NOTE = (
    "timm's tool also counts 2 per element of batch normalization and 1 per pooled element, and "
    "rounds to 0.01 G; with these added ours rounds to the same figure"
)

MODELS = (
    ModelSpec(
        "mobilenet_v4_conv_small",
        "mobilenet_v4",
        256,
        SMALL,
        SMALL_CONVENTIONS,
        published=Published(3774024, 250_000_000, TIMM, 74.534, TIMM, note=NOTE),
        checkpoints=(
            timm("mobilenetv4_conv_small.e3600_r256_in1k", SMALL_CONVENTIONS, 256, 74.534),
        ),
    ),
    ModelSpec(
        "mobilenet_v4_conv_medium",
        "mobilenet_v4",
        256,
        MEDIUM,
        CONVENTIONS,
        published=Published(9715512, 1_100_000_000, TIMM, 79.916, TIMM, note=NOTE),
        checkpoints=(timm("mobilenetv4_conv_medium.e500_r256_in1k", CONVENTIONS, 256, 79.916),),
    ),
    ModelSpec(
        "mobilenet_v4_conv_large",
        "mobilenet_v4",
        256,
        LARGE,
        CONVENTIONS,
        published=Published(32590864, 2_860_000_000, TIMM, 81.864, TIMM, note=NOTE),
        checkpoints=(timm("mobilenetv4_conv_large.e500_r256_in1k", CONVENTIONS, 256, 81.864),),
    ),
)
