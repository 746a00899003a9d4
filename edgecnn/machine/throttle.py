"""Whether the machine held its clock: a Raspberry Pi's throttle bits, and limits of cpufreq."""

import re
from collections.abc import Iterable, Sequence
from enum import IntFlag
from pathlib import Path

from edgecnn.machine import vcgencmd
from edgecnn.machine._files import SYSTEM, number, text
from edgecnn.machine.clusters import Cluster, spell

_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_CPU = "sys/devices/system/cpu/cpu"
_MASK, _SINCE_BOOT = 0xF, 16


class Throttle(IntFlag):
    """The bits of ``vcgencmd get_throttled``; 16 bits higher, the same since the last boot.

    Source: Raspberry Pi documentation, computers/os, vcgencmd, get_throttled.
    """

    UNDER_VOLTAGE = 1 << 0
    CLOCK_CAPPED = 1 << 1
    THROTTLED = 1 << 2
    SOFT_TEMPERATURE_LIMIT = 1 << 3


_WORDS = {
    Throttle.UNDER_VOLTAGE: "under-voltage (use a stronger power supply or a shorter cable)",
    Throttle.CLOCK_CAPPED: "the clock was capped",
    Throttle.THROTTLED: "throttled (cool the board, or check the power supply)",
    Throttle.SOFT_TEMPERATURE_LIMIT: "the soft temperature limit was reached (cool the board)",
}


def read(root: Path = SYSTEM) -> int | None:
    """Return the throttle bits; None on a machine that has none.

    The program is asked before the kernel's file: on kernels with the hwmon driver the file is
    deprecated, its first reading writes a warning into the kernel's log, and it shows what the
    driver saw up to two seconds ago (raspberrypi/linux, drivers/firmware/raspberrypi.c,
    get_throttled_show).
    """
    answer = re.search(
        r"throttled=0x([0-9a-fA-F]+)", vcgencmd.ask("get_throttled", root=root) or ""
    )
    found = answer[1] if answer else text(root, _FILE)
    try:
        return int(found, 16)
    except ValueError:
        return None


def now(bits: int) -> Throttle:
    """Return what is the case at the moment of reading."""
    return Throttle(bits & _MASK)


def since_boot(bits: int) -> Throttle:
    """Return what has been the case since the last boot."""
    return Throttle(bits >> _SINCE_BOOT & _MASK)


def words(flags: Throttle) -> str:
    """Say in words what the flags mean; empty for none."""
    return ", ".join(text for flag, text in _WORDS.items() if flag in flags)


def judge(readings: Sequence[int | None]) -> str | None:
    """Say why a run is void, from the bits read before, during and after it; None if it is not.

    It is void if a reading shows a limit at work, or if one has been at work since the first.
    Readings that are None are left out.
    """
    bits = [reading for reading in readings if reading is not None]
    found = Throttle(0)
    for reading in bits:
        found |= now(reading) | (since_boot(reading) & ~since_boot(bits[0]))
    return words(found) or None


def caps(clusters: Iterable[Cluster], root: Path = SYSTEM) -> tuple[str, ...]:
    """Say of which clusters a policy (a power mode, a thermal governor) caps the clock."""
    found = []
    for cluster in clusters:
        folder = f"{_CPU}{cluster.cpus[0]}/cpufreq"
        allowed, highest = (number(root, f"{folder}/{name}_max_freq") for name in
                            ("scaling", "cpuinfo"))  # fmt: skip
        if allowed and highest and allowed < highest:
            found.append(
                f"processors {spell(cluster.cpus)} are capped at {allowed // 1000} of "
                f"{highest // 1000} MHz"
            )
    return tuple(found)
