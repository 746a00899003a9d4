"""GoogLeNet (Szegedy et al. 2015, arXiv 1409.4842, table 1), as torchvision has it.

torchvision's differs from the paper's: batch normalization in place of local response
normalization and biases, 3x3 kernels in the branch that the paper gives 5x5 (an error of the first
port, kept for its weights), a last pooling of 2x2. The two classifiers on the way, which only help
training, are left out.
"""

from __future__ import annotations

from dataclasses import replace

from edgecnn.families._sources import HALF, PYTORCH, of_torchvision
from edgecnn.spec import ModelSpec, parse_rows

# torchvision takes ImageNet's mean and deviation and makes these of them inside the network.
CONVENTIONS = replace(PYTORCH, bn_eps=1e-3, mean=HALF, std=HALF)

SPEC = ModelSpec(
    "googlenet",
    "googlenet",
    224,
    parse_rows("""
        stem_k7_s2_c64_relu
        maxpool_k3_s2_p0_ceil
        conv_r1_k1_s1_c64_relu
        conv_r1_k3_s1_c192_relu
        maxpool_k3_s2_p0_ceil
        mixed_s1_64x1_96x1.128x3_16x1.32x3_max3.32x1_relu
        mixed_s1_128x1_128x1.192x3_32x1.96x3_max3.64x1_relu
        maxpool_k3_s2_p0_ceil
        mixed_s1_192x1_96x1.208x3_16x1.48x3_max3.64x1_relu
        mixed_s1_160x1_112x1.224x3_24x1.64x3_max3.64x1_relu
        mixed_s1_128x1_128x1.256x3_24x1.64x3_max3.64x1_relu
        mixed_s1_112x1_144x1.288x3_32x1.64x3_max3.64x1_relu
        mixed_s1_256x1_160x1.320x3_32x1.128x3_max3.128x1_relu
        maxpool_k2_s2_p0_ceil
        mixed_s1_256x1_160x1.320x3_32x1.128x3_max3.128x1_relu
        mixed_s1_384x1_192x1.384x3_48x1.128x3_max3.128x1_relu
        pool
        linear_c1000
    """),
    CONVENTIONS,
)
LEFT_OUT = ("aux1", "aux2")


def _complete(spec: ModelSpec) -> ModelSpec:
    known = of_torchvision(spec, "googlenet.py", 6624904, 1498, 69.778)
    return replace(known, checkpoints=(replace(known.checkpoints[0], left_out=LEFT_OUT),))


MODELS = (_complete(SPEC),)
MOBILE: tuple[ModelSpec, ...] = ()
