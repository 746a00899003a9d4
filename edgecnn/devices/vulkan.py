"""A GPU of this machine, through Vulkan. What runs there is the runtimes' to say."""

from edgecnn.device import Device
from edgecnn.devices.local import connect, setup, timing

__all__ = ["connect", "parse", "setup", "syntax", "timing"]

syntax = "vulkan[:N]"


def parse(text: str) -> Device:
    """Read ``vulkan`` or ``vulkan:N``."""
    return Device.parse(text)
