"""ConvNeXt tiny, small and base (Liu et al. 2022, arXiv 2201.03545).

A ResNet after the manner of transformers: a stem that cuts the picture in squares of 4 x 4, 7x7
depthwise convolutions, layer normalization, GELU, few activations, a trained scale for each branch.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import of_torchvision, resized, timm
from edgecnn.spec import Conventions, ModelSpec, parse_rows

EPS = 1e-6
OF_TIMM = Conventions(bn_eps=EPS)


def _convnext(
    size: str,
    channels: int,
    depth: int,
    shorter_side: int,
    figures: tuple[int, int, float],
    timm_top1: float,
) -> ModelSpec:
    """`depth` of the third stage; `figures`: parameters, M multiply-adds, torchvision's top-1."""
    stages = zip((3, 3, depth, 3), (1, 2, 2, 2), range(4), strict=True)
    units = [f"cnext_r{r}_k7_s{s}_e4_c{channels << i}_gelu" for r, s, i in stages]
    stem = f"conv_r1_k4_s4_c{channels}_p0_none_bias norm"
    spec = ModelSpec(
        f"convnext_{size}",
        "convnext",
        224,
        parse_rows(" ".join([stem, *units, "pool norm linear_c1000"])),
        replace(resized(shorter_side), bn_eps=EPS),
        dropout=0.0,
    )
    known = of_torchvision(spec, "convnext.py", *figures)
    other = timm(f"convnext_{size}.fb_in1k", OF_TIMM, 224, timm_top1)
    return replace(known, checkpoints=(*known.checkpoints, other))


MODELS = (
    _convnext("tiny", 96, 9, 236, (28589128, 4456, 82.520), 82.066),
    _convnext("small", 96, 27, 230, (50223688, 8684, 83.616), 83.144),
    _convnext("base", 128, 27, 232, (88591464, 15355, 84.062), 83.838),
)
MOBILE: tuple[ModelSpec, ...] = ()
