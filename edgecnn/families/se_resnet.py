"""SE-ResNet-50 (Hu et al. 2018, arXiv 1709.01507): a gate of ratio 1/16 before each addition."""

from __future__ import annotations

from edgecnn.families._sources import TIMM_LATER
from edgecnn.families.resnet import rows
from edgecnn.spec import Checkpoint, Conventions, ModelSpec, Published, parse_rows

CONVENTIONS = Conventions(crop_pct=0.95)
HU = "arXiv 1709.01507, table 2 (re-implementation, single crop: 23.29 % error, 3.87 GFLOPs)"
UNIT = "bottle_r{r}_k3_s{s}_e0.25_c{c}_se0.0625_relu"

MODELS = (
    ModelSpec(
        "seresnet50",
        "se_resnet",
        224,
        parse_rows(rows(UNIT, (3, 4, 6, 3), 4)),
        CONVENTIONS,
        dropout=0.0,
        published=Published(
            28088024,
            3_870_000_000,
            HU,
            76.71,
            HU,
            note="the paper's stride is in the first 1x1 convolution, timm's in the 3x3",
        ),
        checkpoints=(Checkpoint("timm:seresnet50.a3_in1k", CONVENTIONS, 224, 77.028, TIMM_LATER),),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
