"""VGG-11, 13, 16 and 19 (Simonyan and Zisserman 2015, arXiv 1409.1556, table 1: A, B, D, E).

3x3 convolutions all through: two of them see as far as one of 5x5, three as far as one of 7x7. As
published with biases, and torchvision's variants that have batch normalization, too.
"""

from __future__ import annotations

from edgecnn.families._sources import PYTORCH, of_torchvision
from edgecnn.spec import ModelSpec, parse_rows

# convolutions before each pooling
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
CLASSIFIER = "dense_c4096_relu dense_c4096_relu linear_c1000"


def _vgg(
    depth: int, macs_m: int, plain: tuple[int, float], bn: tuple[int, float]
) -> tuple[ModelSpec, ...]:
    """Parameters and top-1 without and with batch normalization; multiply-adds are the same."""
    variants = ((f"vgg{depth}", "bias", plain), (f"vgg{depth}_bn", "both", bn))
    return tuple(
        of_torchvision(_spec(name, depth, flag), "vgg.py", params, macs_m, top1)
        for name, flag, (params, top1) in variants
    )


def _spec(name: str, depth: int, flag: str) -> ModelSpec:
    stages = zip(DEPTHS[depth], WIDTHS, strict=True)
    rows = [f"conv_r{n}_k3_s1_c{c}_relu_{flag} maxpool_k2_s2_p0" for n, c in stages]
    blocks = parse_rows(" ".join([*rows, CLASSIFIER]))
    return ModelSpec(name, "vgg", 224, blocks, PYTORCH, dropout=0.5)


MODELS = (
    *_vgg(11, 7609, (132863336, 69.020), (132868840, 70.370)),
    *_vgg(13, 11308, (133047848, 69.928), (133053736, 71.586)),
    *_vgg(16, 15470, (138357544, 71.592), (138365992, 73.360)),
    *_vgg(19, 19632, (143667240, 72.376), (143678248, 74.218)),
)
MOBILE: tuple[ModelSpec, ...] = ()
