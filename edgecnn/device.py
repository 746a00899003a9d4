"""Where a model runs."""

import platform
from dataclasses import dataclass

from edgecnn.errors import UnavailableError

KINDS = ("local", "cuda", "vulkan")


@dataclass(frozen=True)
class Device:
    """A place to run: ``local`` (this machine's CPU), ``cuda[:N]`` or ``vulkan[:N]``."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Read the text that ``--device`` takes.

        Raises:
            UnavailableError: no such kind of device.
        """
        kind, _, index = text.partition(":")
        if kind not in KINDS or (index and not index.isdecimal()) or (kind == "local" and index):
            raise UnavailableError(
                f"unknown device {text!r}; allowed: local, cuda[:N], vulkan[:N]."
            )
        return cls(kind, int(index or 0))

    def __str__(self) -> str:
        return self.kind if self.kind == "local" else f"{self.kind}:{self.index}"

    @property
    def arch(self) -> str:
        """The processor architecture that the host code runs on, as ``uname -m`` says."""
        return platform.machine()


LOCAL = Device("local")
