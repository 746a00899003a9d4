"""An NVIDIA GPU of this machine. What runs there is the runtimes' to say."""

from edgecnn.device import Device
from edgecnn.devices.local import connect, setup, timing

__all__ = ["connect", "parse", "setup", "syntax", "timing"]

syntax = "cuda[:N]"


def parse(text: str) -> Device:
    """Read ``cuda`` or ``cuda:N``."""
    return Device.parse(text)
