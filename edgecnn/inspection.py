"""What a device is, what is installed there, and what is unusual about it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edgecnn import boards, devices
from edgecnn.device import Device
from edgecnn.errors import UnavailableError
from edgecnn.host import Host
from edgecnn.hosted import ask_once
from edgecnn.machine import Machine, throttle

LARGE_CLOCK_DIFFERENCE_S = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Inspection:
    """One device. ``runtimes`` says of each why it is unavailable, or None where it is there.

    ``clock_ahead_s`` is the device's clock minus this machine's, to about the time that an answer
    takes. ``remarks`` are sentences about what a user should know or mend.
    """

    device: str
    machine: Machine
    board: str | None
    clock_ahead_s: float
    runtimes: Mapping[str, str | None]
    remarks: tuple[str, ...]
    quirks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return asdict(self) | {"features": self.machine.features}


def inspect(device: Device, say: Say) -> Inspection:
    """Look at a device.

    Raises:
        UnavailableError: it cannot be reached, or is in use.
    """
    with devices.connect(device, "check", say) as host:
        asked = datetime.now(UTC)
        machine = Machine.from_dict(host.machine())
        answered = datetime.now(UTC)
        say("asking for its runtimes")
        runtimes, problem = _runtimes(host, device)
    middle = asked + (answered - asked) / 2
    ahead_s = (datetime.fromisoformat(machine.utc_now) - middle).total_seconds()
    board = boards.recognise(machine)
    return Inspection(
        device=str(device),
        machine=machine,
        board=None if board is None else board.name,
        clock_ahead_s=ahead_s,
        runtimes=runtimes,
        remarks=(*_remarks(machine, ahead_s), *_differences(machine, board), *problem),
        quirks=() if board is None else tuple(quirk.text for quirk in board.quirks),
    )


def _runtimes(host: Host, device: Device) -> tuple[dict[str, str | None], list[str]]:
    try:
        return ask_once(host, "availability", device=str(device.there)), []
    except UnavailableError as error:
        # Nothing is set up there yet, which is what a check is to tell.
        return {}, [str(error)]


def _differences(machine: Machine, board: boards.Board | None) -> tuple[str, ...]:
    return () if board is None else boards.check(machine, board)


def _remarks(machine: Machine, ahead_s: float) -> list[str]:
    remarks = list(machine.capped)
    if machine.throttled is not None:
        now, before = throttle.now(machine.throttled), throttle.since_boot(machine.throttled)
        if now:
            remarks.append(f"right now: {throttle.words(now)}; measurements would be void")
        if before & ~now:
            remarks.append(f"since it was started: {throttle.words(before & ~now)}")
    if abs(ahead_s) > LARGE_CLOCK_DIFFERENCE_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        remarks.append(
            f"its clock is {abs(ahead_s):.0f} s {direction} this machine's: measurements do not "
            "mind, but secure downloads may fail there (`sudo timedatectl set-ntp true`)"
        )
    return remarks
