"""What the machine is, and what state it is in while something is measured.

The facts are :mod:`edgecnn.machine`'s; what a machine does not tell is None.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any

from edgecnn import __version__, machine
from edgecnn.machine import clusters as clusters_
from edgecnn.machine import cpuinfo, governor, state, throttle
from edgecnn.machine._files import SYSTEM, text
from edgecnn.machine.clusters import Cluster

_X86 = ("x86_64", "AMD64", "i686", "i386")


@dataclass(frozen=True)
class Conditions:
    """The state at one moment. Times are seconds since boot, summed over all cores."""

    clock_mhz: float | None
    """Mean over the cores."""
    temperature_c: float | None
    """The hottest thermal zone."""
    load_1m: float | None
    busy_cpu_s: float
    steal_cpu_s: float
    total_cpu_s: float
    own_cpu_s: float
    """Processor time that this process has used."""
    throttled: int | None = None
    """A Raspberry Pi's throttle bits (:class:`edgecnn.machine.throttle.Throttle`)."""
    clocks_mhz: tuple[float, ...] = ()
    """Mean over the cores of each cluster."""

    def __post_init__(self) -> None:
        # What comes out of JSON is a list.
        object.__setattr__(self, "clocks_mhz", tuple(self.clocks_mhz))

    @classmethod
    def now(cls) -> "Conditions":
        """Read the machine's state: about a millisecond, some more where vcgencmd is asked."""
        busy, steal, total = state.cpu_seconds()
        clusters = _clusters()
        clocks = state.clocks_mhz(clusters)
        times = os.times()
        return cls(
            clock_mhz=state.mean_mhz(clusters, clocks),
            temperature_c=state.temperature_c(),
            load_1m=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            busy_cpu_s=busy,
            steal_cpu_s=steal,
            total_cpu_s=total,
            own_cpu_s=times.user + times.system,
            throttled=throttle.read(),
            clocks_mhz=clocks,
        )


@dataclass(frozen=True)
class Environment:
    """Where and under what conditions something was measured.

    ``model`` is what the board calls itself, ``pinned`` the processors that the process was kept
    on, if not all. ``others_cpu`` is the share of the machine's processor time that went to
    processes which took no part in the measurement, ``steal_cpu`` the share that a hypervisor gave
    to other guests.
    """

    machine: str
    system: str
    cpu_model: str
    cores: int
    usable_cores: int
    isa: tuple[str, ...]
    governor: str | None
    memory_bytes: int | None
    python: str
    versions: Mapping[str, str]
    before: Conditions
    after: Conditions
    others_cpu: float | None = None
    steal_cpu: float | None = None
    model: str | None = None
    clusters: tuple[Cluster, ...] = ()
    pinned: tuple[int, ...] = ()

    @classmethod
    def now(cls, packages: Iterable[str] = ()) -> "Environment":
        """Describe this machine, with the versions of ``packages`` where they are installed."""
        conditions, cores = Conditions.now(), cpuinfo.read()
        return cls(
            machine=platform.machine(),
            system=f"{platform.system()} {platform.release()}",
            cpu_model=cpuinfo.model(cores) or platform.processor() or "unknown",
            cores=len(cores) or os.cpu_count() or 1,
            usable_cores=len(clusters_.usable()),
            isa=cpuinfo.isa_flags(cores),
            governor=governor.joined(),
            memory_bytes=state.memory_bytes()[0],
            python=platform.python_version(),
            versions={"edgecnn": __version__} | package_versions(("numpy", *packages)),
            before=conditions,
            after=conditions,
            model=machine.model(),
            clusters=_clusters(),
            pinned=clusters_.restricted(),
        )

    def until(self, after: Conditions, taking_part_cpu_s: float) -> "Environment":
        """Return the environment of a measurement that ended in the state ``after``.

        ``taking_part_cpu_s`` is the processor time of all measuring processes in the meantime.
        """
        total = after.total_cpu_s - self.before.total_cpu_s
        if total <= 0:
            return replace(self, after=after)
        others = after.busy_cpu_s - self.before.busy_cpu_s - taking_part_cpu_s
        steal = after.steal_cpu_s - self.before.steal_cpu_s
        return replace(
            self, after=after, others_cpu=max(0.0, others / total), steal_cpu=steal / total
        )

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """What has to be equal for two measurements to be of the same machine and software."""
        versions = tuple(sorted(self.versions.items()))
        return (self.machine, self.model, self.cpu_model, self.cores, self.usable_cores,
                self.pinned, self.isa, self.governor, self.python, versions)  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Environment":
        """Make a value from JSON; what files of an earlier edgecnn lack is left out.

        Raises:
            KeyError, TypeError: a field is missing, or is of another type.
        """
        values = {
            field.name: data[field.name]
            for field in fields(cls)
            if field.name in data or field.default is MISSING
        }
        return cls(**values | {
            "isa": tuple(values["isa"]),
            "before": Conditions(**values["before"]),
            "after": Conditions(**values["after"]),
            "clusters": tuple(map(Cluster.from_dict, values.get("clusters", ()))),
            "pinned": tuple(values.get("pinned", ())),
        })  # fmt: skip


def int8_saturates(machine: str, isa: Sequence[str]) -> bool:
    """Whether u8 x s8 products may saturate: x86 without VNNI adds pairs of them in 16 bits.

    Source: Intel's Instruction Set Reference, VPMADDUBSW ("signed-saturated 16-bit results").
    """
    return machine in _X86 and not cpuinfo.has("vnni", isa)


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those ``packages`` (``"numpy>=1.26"``) that are installed."""
    import importlib.metadata

    names = (re.split(r"[<>=!~\[; ]", package)[0] for package in packages)
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_rss_bytes() -> int:
    """Return the highest resident memory that this process has had.

    Linux's VmHWM rather than getrusage's ru_maxrss: the latter survives exec, so that a small
    process started by a large one would show the large one's memory.
    """
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", text(SYSTEM, "proc/self/status"))
    if kilobytes:
        return int(kilobytes[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@cache
def _clusters() -> tuple[Cluster, ...]:
    """Return the machine's clusters, which take many files to tell and do not change."""
    return clusters_.read()
