"""Where a model runs."""

from dataclasses import dataclass

from edgecnn.errors import UnavailableError

UNITS = ("local", "cuda", "vulkan")
"""What computes, as the runtimes know it: the processor, or a GPU."""


@dataclass(frozen=True)
class Device:
    """A place to run: this machine's processor or GPU, or those of a board.

    ``kind`` is a file in ``edgecnn/devices``. ``address`` leads to a board, and is empty for this
    machine. ``unit`` is what computes on the board (``local``, ``cuda:0``). ``name`` is what the
    user calls it.
    """

    kind: str
    index: int = 0
    address: str = ""
    unit: str = "local"
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Read a device of this machine: ``local``, ``cuda[:N]`` or ``vulkan[:N]``.

        :func:`edgecnn.devices.parse` reads every kind.

        Raises:
            UnavailableError: no such device.
        """
        kind, _, index = text.partition(":")
        if kind not in UNITS or (index and not index.isdecimal()) or (kind == "local" and index):
            raise UnavailableError(
                f"unknown device {text!r}; allowed: local, cuda[:N], vulkan[:N]."
            )
        return cls(kind, int(index or 0))

    def __str__(self) -> str:
        if self.address:
            separator = "://" if self.kind == "ssh" else ":"
            unit = "" if self.unit == "local" else f"/{self.unit}"
            return f"{self.kind}{separator}{self.address}{unit}"
        return self.kind if self.kind == "local" else f"{self.kind}:{self.index}"

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.name or str(self)

    @property
    def there(self) -> "Device":
        """The device as the machine that it belongs to sees it."""
        return Device.parse(self.unit) if self.address else self


LOCAL = Device("local")
