"""edgecnn: take a CNN from PyTorch to an edge device that meets its deadline.

The root exports nouns; verbs live in their modules: ``edgecnn.export.export``,
``edgecnn.evaluate.evaluate``, ``edgecnn.measure.interleave``, ``edgecnn.select.select``.

A noun is imported when it is first asked for: what runs on a board starts without any of them.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgecnn.artifact import Artifact
    from edgecnn.block import Block
    from edgecnn.contract import Contract, Recipe, TensorSpec
    from edgecnn.device import Device
    from edgecnn.profile import Profile, Target
    from edgecnn.spec import ModelSpec
    from edgecnn.stream.loop import Stream

__all__ = [
    "Artifact",
    "Block",
    "Contract",
    "Device",
    "ModelSpec",
    "Profile",
    "Recipe",
    "Stream",
    "Target",
    "TensorSpec",
]

_MODULES = {
    "Artifact": "artifact",
    "Block": "block",
    "Contract": "contract",
    "Device": "device",
    "ModelSpec": "spec",
    "Profile": "profile",
    "Recipe": "contract",
    "Stream": "stream.loop",
    "Target": "profile",
    "TensorSpec": "contract",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'edgecnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgecnn.{_MODULES[name]}"), name)
