"""What changes while a machine works: clocks, temperature, processor time, threads at work."""

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgecnn.machine import cpuinfo
from edgecnn.machine._files import SYSTEM, number, text
from edgecnn.machine.clusters import Cluster

_CPU = "sys/devices/system/cpu/cpu"
_THERMAL = "sys/class/thermal"
_TASKS = "proc/self/task"
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


def others_at_work(root: Path = SYSTEM) -> int | None:
    """Count this process's other threads that run or wait for a processor; None where not told.

    By the state in proc(5), `task/[tid]/stat`. The processor time of a whole process would not do:
    what threads use on other processors is added to it once a clock tick, every 4 to 10 ms.
    """
    own = threading.get_native_id()
    states = [
        text(root, f"{_TASKS}/{task.name}/stat").rpartition(")")[2].split()[:1]
        for task in (root / _TASKS).glob("[0-9]*")
        if int(task.name) != own
    ]
    return states.count(["R"]) if (root / _TASKS).is_dir() else None
