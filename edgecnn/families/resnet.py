"""ResNet-18, 34, 50, 101 and 152 (He et al. 2016, arXiv 1512.03385), table 1.

As in torchvision, the stride of a bottleneck is in its 3x3 convolution. In the paper it is in the
first 1x1 (flag `first`), which then sees a quarter of the pixels: 3.8 in place of 4.1 billion
multiply-adds for ResNet-50.
"""

from __future__ import annotations

from edgecnn.families._sources import PYTORCH, of_torchvision, resized
from edgecnn.spec import Conventions, ModelSpec, parse_rows

CHANNELS = (64, 128, 256, 512)


def rows(unit: str, repeats: tuple[int, ...], expansion: int = 1) -> str:
    """The rows of a network whose units are written `unit`, with {r}, {s} and {c} in it.

    `expansion` is how many times wider a unit's result is than its 3x3 convolution in ResNet.
    """
    stages = [
        unit.format(r=repeat, s=1 if index == 0 else 2, c=channels * expansion)
        for index, (repeat, channels) in enumerate(zip(repeats, CHANNELS, strict=True))
    ]
    return " ".join(["stem_k7_s2_c64_relu maxpool_k3_s2_p1", *stages, "pool linear_c1000"])


def _spec(name: str, text: str, conventions: Conventions) -> ModelSpec:
    return ModelSpec(name, "resnet", 224, parse_rows(text), conventions, dropout=0.0)


def _basic(name: str, repeats: tuple[int, ...]) -> ModelSpec:
    return _spec(name, rows("basic_r{r}_k3_s{s}_c{c}_relu", repeats), PYTORCH)


def _bottle(name: str, repeats: tuple[int, ...]) -> ModelSpec:
    return _spec(name, rows("bottle_r{r}_k3_s{s}_e0.25_c{c}_relu", repeats, 4), resized(232))


MODELS = (
    of_torchvision(_basic("resnet18", (2, 2, 2, 2)), "resnet.py", 11689512, 1814, 69.758),
    of_torchvision(_basic("resnet34", (3, 4, 6, 3)), "resnet.py", 21797672, 3664, 73.314),
    of_torchvision(_bottle("resnet50", (3, 4, 6, 3)), "resnet.py", 25557032, 4089, 80.858),
    of_torchvision(_bottle("resnet101", (3, 4, 23, 3)), "resnet.py", 44549160, 7801, 81.886),
    of_torchvision(_bottle("resnet152", (3, 8, 36, 3)), "resnet.py", 60192808, 11514, 82.284),
)
MOBILE: tuple[ModelSpec, ...] = ()
