"""What the machine is, and what state it is in while something is measured.

Everything is read from the kernel's own files on Linux; what a machine does not tell is None.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgecnn import __version__

CPUINFO = Path("/proc/cpuinfo")
CPUS = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal")
STAT = Path("/proc/stat")

ISA_FLAGS = frozenset({
    "sse4_1", "ssse3", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl",
    "avx512_vnni", "avx_vnni", "avx_vnni_int8", "avx512_fp16", "avx512_bf16", "amx_int8",
    "neon", "asimd", "asimdhp", "fphp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm",
})  # fmt: skip
"""Vector instructions that neural network kernels look for, as /proc/cpuinfo names them."""

VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
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

    @classmethod
    def now(cls) -> "Conditions":
        """Read the machine's state."""
        busy, steal, total = _cpu_seconds(_text(STAT))
        times = os.times()
        return cls(
            clock_mhz=_clock_mhz(),
            temperature_c=_temperature_c(),
            load_1m=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            busy_cpu_s=busy,
            steal_cpu_s=steal,
            total_cpu_s=total,
            own_cpu_s=times.user + times.system,
        )


@dataclass(frozen=True)
class Environment:
    """Where and under what conditions something was measured.

    ``others_cpu`` is the share of the machine's processor time that went to processes which took
    no part in the measurement, ``steal_cpu`` the share that a hypervisor gave to other guests.
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

    @classmethod
    def now(cls, packages: Iterable[str] = ()) -> "Environment":
        """Describe this machine, with the versions of ``packages`` where they are installed."""
        conditions = Conditions.now()
        return cls(
            machine=platform.machine(),
            system=f"{platform.system()} {platform.release()}",
            cpu_model=cpu_model(_text(CPUINFO)),
            cores=os.cpu_count() or 1,
            usable_cores=usable_cores(),
            isa=isa_flags(_text(CPUINFO)),
            governor=_text(CPUS / "cpu0" / "cpufreq" / "scaling_governor").strip() or None,
            memory_bytes=_memory_bytes(),
            python=platform.python_version(),
            versions={"edgecnn": __version__} | package_versions(("numpy", *packages)),
            before=conditions,
            after=conditions,
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
        return (self.machine, self.cpu_model, self.cores, self.usable_cores, self.isa,
                self.governor, self.python, versions)  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Environment":
        """Make a value from JSON."""
        values = {f.name: data[f.name] for f in fields(cls)}
        return cls(**values | {
            "isa": tuple(values["isa"]),
            "before": Conditions(**values["before"]),
            "after": Conditions(**values["after"]),
        })  # fmt: skip


def int8_saturates(machine: str, isa: Sequence[str]) -> bool:
    """Whether u8 x s8 products may saturate: x86 without VNNI adds pairs of them in 16 bits.

    Source: Intel's Instruction Set Reference, VPMADDUBSW ("signed-saturated 16-bit results").
    """
    return machine in _X86 and not VNNI_FLAGS.intersection(isa)


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name out of the text of /proc/cpuinfo.

    ARM kernels give numbers in its place: implementer and part, e.g. ``0x41 0xd08`` (Cortex-A72).
    """
    found = _values(cpuinfo, "model name") or _values(cpuinfo, "Model")
    if found:
        return found[0]
    numbers = _values(cpuinfo, "CPU implementer")[:1] + _values(cpuinfo, "CPU part")[:1]
    return " ".join(numbers) or platform.processor() or "unknown"


def isa_flags(cpuinfo: str) -> tuple[str, ...]:
    """Return the vector instruction flags that all cores share, sorted."""
    lines = _values(cpuinfo, "flags") or _values(cpuinfo, "Features")
    shared = set.intersection(*(set(line.split()) for line in lines)) if lines else set()
    return tuple(sorted(shared & ISA_FLAGS))


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
    kilobytes = re.search(r"VmHWM:\s+(\d+) kB", _text(Path("/proc/self/status")))
    if kilobytes:
        return int(kilobytes[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _text(path: Path) -> str:
    """Read a file of the kernel's, which may be absent or refuse to be read on some machines."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _values(cpuinfo: str, key: str) -> list[str]:
    return re.findall(rf"^{key}\s*:\s*(.+?)\s*$", cpuinfo, re.MULTILINE)


def _cpu_seconds(stat: str) -> tuple[float, float, float]:
    """Return busy, steal and total seconds of the first line of /proc/stat (see proc(5))."""
    head = stat.partition("\n")[0].split()[1:9]
    if len(head) < 8:
        return 0.0, 0.0, 0.0
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, head)
    tick = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + irq + softirq
    return busy / tick, steal / tick, (busy + idle + iowait + steal) / tick


def _clock_mhz() -> float | None:
    paths = sorted(CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    kilohertz = [int(text) for text in map(_text, paths) if text.strip().isdecimal()]
    if kilohertz:
        return sum(kilohertz) / len(kilohertz) / 1000
    megahertz = [float(value) for value in _values(_text(CPUINFO), "cpu MHz")]
    return sum(megahertz) / len(megahertz) if megahertz else None


def _temperature_c() -> float | None:
    texts = (_text(path).strip() for path in THERMAL.glob("thermal_zone*/temp"))
    readings = [int(text) / 1000 for text in texts if text.lstrip("-").isdecimal()]
    return max(readings, default=None)


def _memory_bytes() -> int | None:
    kilobytes = re.search(r"MemTotal:\s+(\d+) kB", _text(Path("/proc/meminfo")))
    return int(kilobytes[1]) * 1024 if kilobytes else None
