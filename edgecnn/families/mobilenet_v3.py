"""MobileNetV3 large and small (Howard et al. 2019, arXiv 1905.02244), Tables 1 and 2.

Also width 0.75 and the minimalistic variants, which have neither squeeze-and-excitation nor
hard-swish nor 5x5 kernels. The last convolution, after pooling, has a bias in place of batch
normalization and keeps its width.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import HALF, SLIM, TORCHVISION, timm, torchvision
from edgecnn.spec import Checkpoint, Conventions, ModelSpec, Published, parse_rows

GOOGLE = Conventions(padding="same", bn_eps=1e-3, mean=HALF, std=HALF, interpolation="bilinear")
PYTORCH_LARGE = Conventions(bn_eps=1e-3, crop_pct=224 / 232, interpolation="bilinear")
PYTORCH_SMALL = Conventions(bn_eps=1e-3, interpolation="bilinear")

LARGE = parse_rows("""
    stem_k3_s2_c16_hswish
    mbconv_r1_k3_s1_e1_c16_relu
    mbconv_r1_k3_s2_e4_c24_relu
    mbconv_r1_k3_s1_e3_c24_relu
    mbconv_r3_k5_s2_e3_c40_hse0.25_relu
    mbconv_r1_k3_s2_e6_c80_hswish
    mbconv_r1_k3_s1_e2.5_c80_hswish
    mbconv_r2_k3_s1_e2.3_c80_hswish
    mbconv_r2_k3_s1_e6_c112_hse0.25_hswish
    mbconv_r3_k5_s2_e6_c160_hse0.25_hswish
    head_c960_hswish
    pool
    head_c1280_hswish_bias_fixw
    linear_c1000
""")

SMALL = parse_rows("""
    stem_k3_s2_c16_hswish
    mbconv_r1_k3_s2_e1_c16_hse0.25_relu
    mbconv_r1_k3_s2_e4.5_c24_relu
    mbconv_r1_k3_s1_e3.67_c24_relu
    mbconv_r1_k5_s2_e4_c40_hse0.25_hswish
    mbconv_r2_k5_s1_e6_c40_hse0.25_hswish
    mbconv_r2_k5_s1_e3_c48_hse0.25_hswish
    mbconv_r3_k5_s2_e6_c96_hse0.25_hswish
    head_c576_hswish
    pool
    head_c1024_hswish_bias_fixw
    linear_c1000
""")

LARGE_MINIMALISTIC = parse_rows("""
    stem_k3_s2_c16_relu
    mbconv_r1_k3_s1_e1_c16_relu
    mbconv_r1_k3_s2_e4_c24_relu
    mbconv_r1_k3_s1_e3_c24_relu
    mbconv_r3_k3_s2_e3_c40_relu
    mbconv_r1_k3_s2_e6_c80_relu
    mbconv_r1_k3_s1_e2.5_c80_relu
    mbconv_r2_k3_s1_e2.3_c80_relu
    mbconv_r2_k3_s1_e6_c112_relu
    mbconv_r3_k3_s2_e6_c160_relu
    head_c960_relu
    pool
    head_c1280_relu_bias_fixw
    linear_c1000
""")

SMALL_MINIMALISTIC = parse_rows("""
    stem_k3_s2_c16_relu
    mbconv_r1_k3_s2_e1_c16_relu
    mbconv_r1_k3_s2_e4.5_c24_relu
    mbconv_r1_k3_s1_e3.67_c24_relu
    mbconv_r1_k3_s2_e4_c40_relu
    mbconv_r2_k3_s1_e6_c40_relu
    mbconv_r2_k3_s1_e3_c48_relu
    mbconv_r3_k3_s2_e6_c96_relu
    head_c576_relu
    pool
    head_c1024_relu_bias_fixw
    linear_c1000
""")

BASE_LARGE = ModelSpec("mobilenet_v3_large", "mobilenet_v3", 224, LARGE, GOOGLE)
BASE_SMALL = ModelSpec("mobilenet_v3_small", "mobilenet_v3", 224, SMALL, GOOGLE)


def _with(
    spec: ModelSpec,
    params: int,
    macs_m: int,
    top1: float,
    *checkpoints: Checkpoint,
    source: str = SLIM,
    note: str | None = None,
) -> ModelSpec:
    published = Published(params, macs_m * 1_000_000, source, top1, SLIM, note=note)
    return replace(spec, published=published, checkpoints=checkpoints)


MODELS = (
    _with(
        BASE_LARGE,
        5483032,
        217,
        75.2,
        timm("tf_mobilenetv3_large_100.in1k", GOOGLE, 224, 75.510),
        torchvision("mobilenet_v3_large", "mobilenetv3.py", PYTORCH_LARGE, 224, 75.274),
    ),
    _with(
        BASE_LARGE.scaled(0.75),
        3993528,
        155,
        73.3,
        timm("tf_mobilenetv3_large_075.in1k", GOOGLE, 224, 73.442),
    ),
    _with(
        replace(BASE_LARGE, name="mobilenet_v3_large_minimalistic", blocks=LARGE_MINIMALISTIC),
        3924288,
        209,
        72.3,
        timm("tf_mobilenetv3_large_minimal_100.in1k", GOOGLE, 224, 72.270),
    ),
    _with(
        BASE_SMALL,
        2542856,
        57,
        67.5,
        timm("tf_mobilenetv3_small_100.in1k", GOOGLE, 224, 67.922),
        torchvision("mobilenet_v3_small", "mobilenetv3.py", PYTORCH_SMALL, 224, 67.668),
        source=f"{TORCHVISION.format('mobilenetv3.py')}, _ops",
        note="the README of TensorFlow says 66 M and 2.9 M parameters: an older table with a "
        "1280-wide last convolution; the released network has 1024",
    ),
    _with(
        BASE_SMALL.scaled(0.75),
        2041872,
        44,
        65.4,
        timm("tf_mobilenetv3_small_075.in1k", GOOGLE, 224, 65.706),
        note="the README's 44 M and 2.4 M parameters belong to a 1280-wide last convolution "
        "(43.8 M, 2.41 M); the released network has 1024",
    ),
    _with(
        replace(BASE_SMALL, name="mobilenet_v3_small_minimalistic", blocks=SMALL_MINIMALISTIC),
        2044736,
        65,
        61.9,
        timm("tf_mobilenetv3_small_minimal_100.in1k", GOOGLE, 224, 62.892),
        note="not reproducible: these rows give 52.3 M by algebra; timm's 0.06 G for the same "
        "network also counts 2 per element of batch normalization, and agrees with us",
    ),
)
