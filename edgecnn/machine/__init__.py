"""Facts of the machine that runs this code: what it is, and in what state.

Everything comes from the kernel's own files and, on a Raspberry Pi, from its firmware. What a
machine does not tell is None or empty, never a guess. Only the standard library is used, so that
it runs on any board.
"""

import os
import platform
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgecnn.machine import clusters as clusters_
from edgecnn.machine import cpuinfo, governor, power, state, throttle
from edgecnn.machine._files import SYSTEM, text
from edgecnn.machine.clusters import Cluster

__all__ = ["Cluster", "Machine", "describe"]


@dataclass(frozen=True)
class Machine:
    """A machine. ``arch`` is the kernel's (``uname -m``), ``bits`` are those of this Python.

    ``isa`` are the vector instruction flags that all cores share. ``throttled`` are the bits of
    :class:`edgecnn.machine.throttle.Throttle`, ``capped`` says in words where a clock is capped.
    ``meters`` are the sources of power readings. ``utc_now`` is this machine's clock, ISO 8601.
    """

    model: str | None
    os: str | None
    kernel: str
    arch: str
    bits: int
    libc: str | None
    python: str
    cores: int
    usable_cores: int
    clusters: tuple[Cluster, ...]
    isa: tuple[str, ...]
    memory_bytes: int | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None
    governor: str | None
    temperature_c: float | None
    clocks_mhz: tuple[float, ...]
    throttled: int | None
    capped: tuple[str, ...]
    meters: tuple[str, ...]
    boot_id: str | None
    utc_now: str

    @property
    def features(self) -> dict[str, bool]:
        """Whether it has what int8 and half-precision kernels want: dotprod, i8mm, fp16, ..."""
        return {feature: cpuinfo.has(feature, self.isa) for feature in cpuinfo.FEATURES}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Machine":
        """Make a value from JSON.

        Raises:
            KeyError, TypeError: a field is missing, or is of another type.
        """
        values = {field.name: data[field.name] for field in fields(cls)}
        values |= {name: tuple(values[name]) for name in ("isa", "clocks_mhz", "capped", "meters")}
        values["clusters"] = tuple(map(Cluster.from_dict, values["clusters"]))
        return cls(**values)


def describe(root: Path = SYSTEM, folder: Path | None = None) -> Machine:
    """Describe this machine. ``folder`` is where free space is asked for; else the user's home.

    ``root`` is where its /proc and /sys are found.
    """
    cores, groups = cpuinfo.read(root), clusters_.read(root)
    memory, available = state.memory_bytes(root)
    return Machine(
        model=model(root),
        os=_os(root),
        kernel=text(root, "proc/sys/kernel/osrelease") or platform.release(),
        arch=platform.machine(),
        bits=8 * struct.calcsize("P"),
        libc=_libc(),
        python=platform.python_version(),
        cores=len(cores) or os.cpu_count() or 1,
        usable_cores=len(clusters_.usable()),
        clusters=groups,
        isa=cpuinfo.isa_flags(cores),
        memory_bytes=memory,
        memory_available_bytes=available,
        disk_free_bytes=_disk_free_bytes(folder or Path.home()),
        governor=governor.joined(root),
        temperature_c=state.temperature_c(root),
        clocks_mhz=state.clocks_mhz(groups, root),
        throttled=throttle.read(root),
        capped=throttle.caps(groups, root),
        meters=tuple(meter.source for meter in power.meters(root)),
        boot_id=text(root, "proc/sys/kernel/random/boot_id") or None,
        utc_now=datetime.now(UTC).isoformat(),
    )


def model(root: Path = SYSTEM) -> str | None:
    """Return what the machine calls itself: the device tree's model, else the BIOS's product."""
    return (
        text(root, "proc/device-tree/model")
        or text(root, "sys/firmware/devicetree/base/model")
        or text(root, "sys/class/dmi/id/product_name")
        or None
    )


def _os(root: Path) -> str | None:
    """Return the system's name (os-release(5), PRETTY_NAME)."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        for line in text(root, path).splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")
    return None


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        # Another C library than GNU's.
        return None


def _disk_free_bytes(folder: Path) -> int | None:
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    return None if existing is None else shutil.disk_usage(existing).free
