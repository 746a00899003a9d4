"""A board that is not there: QEMU emulates its processor, and the time that takes means nothing.

It tells whether packages install, whether a file loads, and whether the results are the desk's.
"""

from edgecnn import boards
from edgecnn.device import Device
from edgecnn.devices import Say
from edgecnn.host import Timing
from edgecnn.onboard.install import Site
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.qemu import Emulated
from edgecnn.remote.setup import Request, on_board

syntax = "emulated:NAME"
timing: Timing = "emulated"


def parse(text: str) -> Device:
    """Read ``emulated:rpi4``.

    Raises:
        UsageError: no such board.
    """
    name = text.partition(":")[2]
    boards.get(name)
    return Device("emulated", address=name)


def connect(device: Device, what: str, say: Say) -> RemoteHost:
    """Start an emulated Python; see :func:`edgecnn.devices.connect`."""
    return RemoteHost(Emulated(device.address), what=what, say=say)


def setup(device: Device, request: Request, say: Say) -> Site:
    """Install what edgecnn needs on the board; see :func:`edgecnn.remote.setup.install`."""
    return on_board(connect(device, "setup", say), request, say)
