"""Groups of like processors (big.LITTLE), and keeping a process on some of them."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.machine import cpuinfo
from edgecnn.machine._files import SYSTEM, number

Name = Literal["little", "mid", "big", "all"]
_CPU = "sys/devices/system/cpu/cpu"
_NEARLY_EQUAL = 1.1
"""Cores of one design whose speeds differ by less are one cluster: chips are binned, and x86 lets
single cores clock a little higher."""

_LITTLE = frozenset({
    "Cortex-A35", "Cortex-A53", "Cortex-A55", "Cortex-A510", "Cortex-A520",
    "Kryo 2xx Silver", "Kryo 3xx Silver", "Kryo 4xx Silver",
})  # fmt: skip
"""Designs made for the small cluster. A clock alone does not tell: a small core's may be higher."""


@dataclass(frozen=True)
class Cluster:
    """Processors of one kind. ``all`` is the only one of a machine; several may be ``mid``."""

    name: Name
    cpus: tuple[int, ...]
    max_mhz: int | None
    core: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Cluster":
        """Make a value from JSON."""
        return cls(**{**data, "cpus": tuple(data["cpus"])})

    def __str__(self) -> str:
        clock = f" at {self.max_mhz} MHz" if self.max_mhz else ""
        return f"{self.name}: {len(self.cpus)} x {self.core}{clock} (processors {spell(self.cpus)})"


@dataclass(frozen=True)
class _Cpu:
    index: int
    core: str
    speed: float
    max_mhz: int | None

    @property
    def rank(self) -> tuple[bool, float]:
        return self.core not in _LITTLE, self.speed


def read(root: Path = SYSTEM) -> tuple[Cluster, ...]:
    """Return the machine's clusters, the smallest first; none where it does not tell its cores.

    Speed is the kernel's cpu_capacity, else the highest clock (Linux,
    Documentation/ABI/testing/sysfs-devices-system-cpu and Documentation/admin-guide/pm/cpufreq).
    Where neither tells different designs apart, they are one cluster.
    """
    groups = sorted(_groups(_cpus(root)), key=lambda group: group[-1].rank)
    if any(low[-1].rank == high[0].rank for low, high in pairwise(groups)):
        groups = [[cpu for group in groups for cpu in group]]
    return tuple(map(_cluster, _names(len(groups)), groups))


def usable() -> tuple[int, ...]:
    """Return the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def restricted(root: Path = SYSTEM) -> tuple[int, ...]:
    """Return the processors that this process is kept on; empty where it may use all of them."""
    mine = usable()
    return () if set(mine) >= {core.index for core in cpuinfo.read(root)} else mine


def spell(cpus: Iterable[int]) -> str:
    """Write processors as the kernel does: ``0-3,5``."""
    spans: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1][1] = cpu
        else:
            spans.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in spans)


def resolve(text: str, clusters: Sequence[Cluster], usable: Collection[int]) -> tuple[int, ...]:
    """Return the processors that ``--pin`` names: a cluster's name, ``all``, or ``0-3,5``.

    Raises:
        UsageError: there is no such cluster, the list cannot be read, or this process may not run
            on one of them.
    """
    allowed = partial(_allowed, clusters, usable)
    if text == "all":
        return tuple(sorted(usable))
    if text in get_args(Name):
        named = {cpu for cluster in clusters if cluster.name == text for cpu in cluster.cpus}
        if not named:
            raise UsageError(f"this machine has no {text!r} cluster. {allowed()}")
    else:
        named = _parse(text, max(usable, default=0), allowed())
    if not named <= set(usable):
        lacking = spell(named - set(usable))
        raise UsageError(f"this process may not run on processors {lacking}. {allowed()}")
    return tuple(sorted(named))


def pin(cpus: Collection[int]) -> None:
    """Keep this process, all its threads and what they start on ``cpus``.

    Raises:
        UsageError: the machine has none of these processors, or denies them.
        UnavailableError: the system cannot keep a process on processors.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise UnavailableError("this system cannot keep a process on some processors (--pin).")
    try:
        # The calling thread first: threads that it starts from here on inherit it.
        os.sched_setaffinity(0, cpus)
        for thread in Path("/proc/self/task").iterdir():
            # A thread may end in between.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cpus)
    except (OSError, OverflowError, ValueError) as error:
        raise UsageError(
            f"the kernel refuses processors {spell(cpus) or '(none)'} ({error}); "
            f"allowed: {spell(usable())}."
        ) from error


def _cpus(root: Path) -> list[_Cpu]:
    cores = cpuinfo.read(root)
    kilohertz = [number(root, f"{_CPU}{core.index}/cpufreq/cpuinfo_max_freq") for core in cores]
    capacities = [number(root, f"{_CPU}{core.index}/cpu_capacity") for core in cores]
    # A device tree without capacities makes the kernel give every core the same.
    told = len(set(capacities)) > 1 or len({core.name for core in cores}) == 1
    speeds = capacities if told and None not in capacities else kilohertz
    return [
        _Cpu(core.index, core.name, speed or 0, None if clock is None else round(clock / 1000))
        for core, speed, clock in zip(cores, speeds, kilohertz, strict=True)
    ]


def _groups(cpus: Iterable[_Cpu]) -> Iterator[list[_Cpu]]:
    group: list[_Cpu] = []
    for cpu in sorted(cpus, key=lambda cpu: (cpu.core, cpu.speed, cpu.index)):
        like = group and group[0].core == cpu.core
        if group and not (like and cpu.speed <= group[0].speed * _NEARLY_EQUAL):
            yield group
            group = []
        group.append(cpu)
    if group:
        yield group


def _names(count: int) -> list[Name]:
    if count < 2:
        return ["all"] * count
    middle: list[Name] = ["mid"] * (count - 2)
    return ["little", *middle, "big"]


def _cluster(name: Name, group: Sequence[_Cpu]) -> Cluster:
    return Cluster(
        name=name,
        cpus=tuple(sorted(cpu.index for cpu in group)),
        max_mhz=max((cpu.max_mhz for cpu in group if cpu.max_mhz is not None), default=None),
        core=" + ".join(dict.fromkeys(cpu.core for cpu in group)),
    )


def _allowed(clusters: Sequence[Cluster], usable: Collection[int]) -> str:
    told = "; ".join(map(str, clusters)) or "not told by the kernel"
    return (
        f"Allowed: all, or a list of processors (written like 0-3,5) out of {spell(usable)}. "
        f"Clusters: {told}."
    )


def _parse(text: str, highest: int, allowed: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part, re.ASCII)
        if match is None:
            raise UsageError(f"--pin {text!r} names no processors. {allowed}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > highest:
            raise UsageError(f"--pin {text!r}: there are no processors {part!r}. {allowed}")
        found |= set(range(first, last + 1))
    return found
