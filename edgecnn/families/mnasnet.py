"""MnasNet-A1, -B1 and -small (Tan et al. 2019, arXiv 1807.11626), Figure 7.

A1 is the searched network with squeeze-and-excitation (timm: semnasnet), B1 the one without, small
the one for 22 ms. Rows: tensorflow/tpu models/official/mnasnet. The head keeps its width.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import (
    MNASNET,
    TORCHVISION,
    at_widths,
    published_grid,
    timm,
    torchvision,
)
from edgecnn.spec import Checkpoint, Conventions, ModelSpec, Published, parse_rows

CONVENTIONS = Conventions()
PYTORCH = Conventions(interpolation="bilinear")

A1 = ModelSpec(
    "mnasnet_a1",
    "mnasnet",
    224,
    parse_rows("""
        stem_k3_s2_c32_relu
        mbconv_r1_k3_s1_e1_c16_relu_noskip
        mbconv_r2_k3_s2_e6_c24_relu
        mbconv_r3_k5_s2_e3_c40_se0.25_relu
        mbconv_r4_k3_s2_e6_c80_relu
        mbconv_r2_k3_s1_e6_c112_se0.25_relu
        mbconv_r3_k5_s2_e6_c160_se0.25_relu
        mbconv_r1_k3_s1_e6_c320_relu
        head_c1280_relu_fixw
        pool
        linear_c1000
    """),
    CONVENTIONS,
)

B1 = replace(
    A1,
    name="mnasnet_b1",
    blocks=parse_rows("""
        stem_k3_s2_c32_relu
        mbconv_r1_k3_s1_e1_c16_relu_noskip
        mbconv_r3_k3_s2_e3_c24_relu
        mbconv_r3_k5_s2_e3_c40_relu
        mbconv_r3_k5_s2_e6_c80_relu
        mbconv_r2_k3_s1_e6_c96_relu
        mbconv_r4_k5_s2_e6_c192_relu
        mbconv_r1_k3_s1_e6_c320_relu_noskip
        head_c1280_relu_fixw
        pool
        linear_c1000
    """),
)

SMALL = replace(
    A1,
    name="mnasnet_small",
    blocks=parse_rows("""
        stem_k3_s2_c8_relu
        mbconv_r1_k3_s1_e1_c8_relu
        mbconv_r1_k3_s2_e3_c16_relu
        mbconv_r2_k3_s2_e6_c16_relu
        mbconv_r4_k5_s2_e6_c32_se0.25_relu
        mbconv_r3_k3_s1_e6_c32_se0.25_relu
        mbconv_r3_k5_s2_e6_c88_se0.25_relu
        mbconv_r1_k3_s1_e6_c144_relu
        head_c1280_relu_fixw
        pool
        linear_c1000
    """),
)

# A1 at width: params, then resolution: (multiply-adds in millions, top-1)
FIGURES: dict[float, tuple[int, dict[int, tuple[float, float]]]] = {
    1.4: (
        6105992,
        {
            224: (591.5, 77.2),
            192: (435.1, 76.1),
            160: (302.8, 74.8),
            128: (194.5, 72.5),
            96: (110.3, 68.6),
        },
    ),
    1.0: (
        3887038,
        {
            224: (315.2, 75.2),
            192: (232.0, 74.0),
            160: (161.6, 72.0),
            128: (104.1, 69.3),
            96: (59.3, 64.4),
        },
    ),
    0.75: (
        2912278,
        {
            224: (226.7, 73.3),
            192: (166.9, 72.1),
            160: (116.4, 70.1),
            128: (75.0, 67.0),
            96: (42.9, 62.1),
        },
    ),
    0.5: (
        2082006,
        {
            224: (105.2, 68.9),
            192: (77.6, 67.2),
            160: (54.4, 64.9),
            128: (35.3, 60.8),
            96: (20.5, 54.7),
        },
    ),
    0.35: (
        1747018,
        {
            224: (63.2, 64.1),
            192: (46.8, 62.4),
            160: (32.9, 59.3),
            128: (21.6, 54.8),
            96: (12.7, 49.3),
        },
    ),
}
NOTE = (
    "the README's grid is 0.9 to 2.7 % above the algebra at every width; the paper's own 312 M for "
    "width 1 agrees with us"
)
NOTES = {(width, px): NOTE for width, (_, row) in FIGURES.items() for px in row}

PAPER = "arXiv 1807.11626 text, via Mycenae/PaperWeekly (index id 38205470315)"
PUBLISHED = {
    **published_grid(A1, FIGURES, NOTES, MNASNET),
    "mnasnet_a1": Published(3887038, 312_000_000, PAPER, 75.2, MNASNET),
}
CHECKPOINTS: dict[float, tuple[Checkpoint, ...]] = {
    1.0: (timm("semnasnet_100.rmsp_in1k", CONVENTIONS, 224, 75.452),),
    0.75: (timm("semnasnet_075.rmsp_in1k", CONVENTIONS, 224, 73.000),),
}

COUNTED = f"{TORCHVISION.format('mnasnet.py')}, _ops"
PYTORCH_NEW = Conventions(interpolation="bilinear", crop_pct=224 / 232)

# B1: width, params, multiply-adds in millions, torchvision's name, conventions and top-1
B1_FIGURES = (
    (1.0, 4383312, 314, "mnasnet1_0", PYTORCH, 73.456),
    (1.3, 6282256, 526, "mnasnet1_3", PYTORCH_NEW, 76.506),
    (0.75, 3170208, 215, "mnasnet0_75", PYTORCH_NEW, 71.180),
    (0.5, 2218512, 104, "mnasnet0_5", PYTORCH, 67.734),
)


def _b1(
    width: float, params: int, macs_m: int, name: str, conventions: Conventions, top1: float
) -> ModelSpec:
    checkpoints = [torchvision(name, "mnasnet.py", conventions, 224, top1)]
    if width == 1.0:
        checkpoints.insert(0, timm("mnasnet_100.rmsp_in1k", CONVENTIONS, 224, 74.672))
    return replace(
        B1.scaled(width),
        published=Published(params, macs_m * 1_000_000, COUNTED),
        checkpoints=tuple(checkpoints),
    )


MODELS = (
    *at_widths(A1, PUBLISHED, CHECKPOINTS, (1.0, 1.4, 0.75, 0.5, 0.35)),
    *(_b1(*figures) for figures in B1_FIGURES),
    replace(
        SMALL,
        published=Published(2030264, 68_000_000, MNASNET, 66.0, MNASNET),
        checkpoints=(timm("mnasnet_small.lamb_in1k", CONVENTIONS, 224, 66.204),),
    ),
)
