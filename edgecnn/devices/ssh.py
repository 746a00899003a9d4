"""A board that an SSH client reaches."""

from edgecnn import named
from edgecnn.device import Device
from edgecnn.devices import Say
from edgecnn.host import Timing
from edgecnn.onboard.install import Site
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.openssh import Ssh, parse_address
from edgecnn.remote.setup import Request, on_board

syntax = "ssh://user@host[:port]"
timing: Timing = "measured"


def parse(text: str) -> Device:
    """Read ``ssh://user@host[:port][/cuda:0]``; see :func:`edgecnn.remote.openssh.parse_address`.

    Raises:
        UsageError: the text is no such address.
        UnavailableError: no such computing unit.
    """
    address = parse_address(text)
    unit = str(Device.parse(address.unit or "local"))
    return Device("ssh", address=address.authority, unit=unit)


def connect(device: Device, what: str, say: Say) -> RemoteHost:
    """Log in, and start the runner; see :func:`edgecnn.devices.connect`."""
    entry = named.load().get(device.name) if device.name else None
    return RemoteHost(Ssh.to(device.address, entry), what=what, say=say)


def setup(device: Device, request: Request, say: Say) -> Site:
    """Install what edgecnn needs on the board; see :func:`edgecnn.remote.setup.install`."""
    return on_board(connect(device, "setup", say), request, say)
