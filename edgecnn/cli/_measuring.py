"""A device that measures networks one by one, for `edgecnn search` and `scale`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecnn.device import Device
    from edgecnn.host import Host
    from edgecnn.search.latency import Measured, Running


def on(
    stack: ExitStack, device: "Device", running: "Running", verb: str, workdir: Path
) -> "tuple[Measured, Host]":
    """Connect to the device until the stack ends.

    Raises UsageError where it is emulated or the runtime reads no format of the precision,
    UnavailableError where it cannot be reached.
    """
    from edgecnn import devices
    from edgecnn.errors import UsageError
    from edgecnn.search.latency import Measured

    if devices.get(device.kind).timing == "emulated":
        raise UsageError(f"{device} has no latency to {verb} by: its processor is emulated.")
    _ = running.format
    host = stack.enter_context(devices.connect(device, verb))
    return Measured.on(running, device, host, workdir), host
