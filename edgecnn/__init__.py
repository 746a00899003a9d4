"""edgecnn: take a CNN from PyTorch to an edge device that meets its deadline."""

from edgecnn.artifact import Artifact
from edgecnn.contract import Contract, Recipe, TensorSpec
from edgecnn.device import Device

__version__ = "0.1.0"
__all__ = ["Artifact", "Contract", "Device", "Recipe", "TensorSpec"]
