"""edgecnn: take a CNN from PyTorch to an edge device that meets its deadline.

The root exports nouns; verbs live in their modules: ``edgecnn.export.export``,
``edgecnn.evaluate.evaluate``, ``edgecnn.measure.interleave``, ``edgecnn.select.select``.
"""

__version__ = "0.1.0"

from edgecnn.artifact import Artifact
from edgecnn.block import Block
from edgecnn.contract import Contract, Recipe, TensorSpec
from edgecnn.device import Device
from edgecnn.profile import Profile, Target
from edgecnn.spec import ModelSpec

__all__ = [
    "Artifact",
    "Block",
    "Contract",
    "Device",
    "ModelSpec",
    "Profile",
    "Recipe",
    "Target",
    "TensorSpec",
]
