"""What changes while a machine works: clocks, temperature, processor time."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgecnn.machine import cpuinfo
from edgecnn.machine._files import SYSTEM, number, text
from edgecnn.machine.clusters import Cluster

_CPU = "sys/devices/system/cpu/cpu"
_THERMAL = "sys/class/thermal"
_NOT_MEASURED = "PMIC"
"""Thermal zones of this type do not measure: on a Jetson Nano PMIC-Die always reads 100 degrees."""


def clocks_mhz(clusters: Sequence[Cluster], root: Path = SYSTEM) -> tuple[float, ...]:
    """Return the clock of each cluster, a mean over its processors; empty where it is not told."""
    kilohertz = {
        cpu: number(root, f"{_CPU}{cpu}/cpufreq/scaling_cur_freq")
        for cluster in clusters
        for cpu in cluster.cpus
    }
    known = {cpu: clock / 1000 for cpu, clock in kilohertz.items() if clock}
    if not known:
        known = {core.index: core.mhz for core in cpuinfo.read(root) if core.mhz}
    told = [[known[cpu] for cpu in cluster.cpus if cpu in known] for cluster in clusters]
    return tuple(sum(clocks) / len(clocks) for clocks in told) if all(told) else ()


def mean_mhz(clusters: Iterable[Cluster], clocks: Iterable[float]) -> float | None:
    """Return the mean clock over all processors; None without clocks."""
    weighted = [
        (len(cluster.cpus), clock) for cluster, clock in zip(clusters, clocks, strict=False)
    ]
    count = sum(cpus for cpus, _ in weighted)
    return sum(cpus * clock for cpus, clock in weighted) / count if count else None


def temperature_c(root: Path = SYSTEM) -> float | None:
    """Return the temperature of the hottest thermal zone."""
    readings = (
        number(root, f"{_THERMAL}/{zone.name}/temp")
        for zone in (root / _THERMAL).glob("thermal_zone*")
        if not text(root, f"{_THERMAL}/{zone.name}/type").startswith(_NOT_MEASURED)
    )
    return max((reading / 1000 for reading in readings if reading is not None), default=None)


def memory_bytes(root: Path = SYSTEM) -> tuple[int | None, int | None]:
    """Return the memory in all, and what can be had without swapping (proc(5), meminfo)."""
    values = {}
    for line in text(root, "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        amount, _, unit = value.strip().partition(" ")
        if unit == "kB" and amount.isdecimal():
            values[key] = int(amount) * 1024
    return values.get("MemTotal"), values.get("MemAvailable")


def cpu_seconds(root: Path = SYSTEM) -> tuple[float, float, float]:
    """Return busy, steal and total seconds since boot, over all processors (proc(5), stat)."""
    head = text(root, "proc/stat").partition("\n")[0].split()[1:9]
    if len(head) < 8:
        return 0.0, 0.0, 0.0
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, head)
    tick = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + softirq
    return busy / tick, steal / tick, (busy + idle + iowait + steal) / tick
