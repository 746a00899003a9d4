"""ResNeXt-50 32x4d and ResNeXt-101 32x8d (Xie et al. 2017, arXiv 1611.05431).

ResNet's bottleneck with a wider 3x3 convolution in 32 groups: twice as wide with 4 channels to a
group, four times with 8.
"""

from __future__ import annotations

from edgecnn.families._sources import of_torchvision, resized
from edgecnn.families.resnet import rows
from edgecnn.spec import ModelSpec, parse_rows


def _spec(name: str, unit: str, repeats: tuple[int, ...]) -> ModelSpec:
    blocks = parse_rows(rows(unit, repeats, 4))
    return ModelSpec(name, "resnext", 224, blocks, resized(232), dropout=0.0)


NARROW = _spec("resnext50_32x4d", "bottle_r{r}_k3_s{s}_e0.5_c{c}_g32_relu", (3, 4, 6, 3))
WIDE = _spec("resnext101_32x8d", "bottle_r{r}_k3_s{s}_e1_c{c}_g32_relu", (3, 4, 23, 3))

MODELS = (
    of_torchvision(NARROW, "resnet.py", 25028904, 4230, 81.198),
    of_torchvision(WIDE, "resnet.py", 88791336, 16414, 82.834),
)
MOBILE: tuple[ModelSpec, ...] = ()
