"""Trees of /proc and /sys as machines show them; a tree takes the place of the root."""

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

CPU = "sys/devices/system/cpu"
A53 = A72 = "fp asimd evtstrm crc32 cpuid"
A57 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
A76 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)
MEMINFO = "MemTotal:  {} kB\nMemFree:  1000 kB\nMemAvailable:  {} kB\n"
STAT = "cpu  1000 0 500 8000 100 0 20 30 0 0\ncpu0 1 2 3\n"
PMIC = """ 3V3_SYS_A current(1)=0.08783370A
   1V8_SYS_A current(2)=0.18054710A
  VDD_CORE_A current(7)=6.22421000A
   3V3_SYS_V volt(9)=3.31003300V
   1V8_SYS_V volt(10)=1.80512600V
  VDD_CORE_V volt(15)=0.86173300V
     EXT5V_V volt(24)=5.09066000V
      BATT_V volt(25)=0.00000000V
"""
"""From a Raspberry Pi 5 with four busy cores, some rails left out."""
PMIC_WATTS = 0.08783370 * 3.31003300 + 0.18054710 * 1.80512600 + 6.22421 * 0.861733


def tree(root: Path, files: Mapping[str, str | int]) -> Path:
    """Write the files below ``root``."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def arm_cpuinfo(cores: Iterable[tuple[str, str, str]]) -> str:
    """Return /proc/cpuinfo of (implementer, part, features), as arm64 kernels write it."""
    return "\n".join(
        f"processor\t: {i}\nBogoMIPS\t: 48.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {part}\nCPU revision\t: 3\n"
        for i, (implementer, part, features) in enumerate(cores)
    )


def cpufreq(
    policies: Iterable[tuple[range, int, int]], governor: str = "ondemand"
) -> dict[str, str | int]:
    """Return the files of (processors, highest kHz, present kHz), policy by policy."""
    files: dict[str, str | int] = {}
    for cpus, highest, present in policies:
        values = {
            "cpuinfo_max_freq": highest,
            "scaling_max_freq": highest,
            "scaling_cur_freq": present,
            "scaling_governor": governor,
            "scaling_available_governors": "ondemand performance schedutil",
        }
        for folder in (f"cpufreq/policy{cpus[0]}", *(f"cpu{cpu}/cpufreq" for cpu in cpus)):
            files |= {f"{CPU}/{folder}/{name}": value for name, value in values.items()}
    return files


def zone(number: int, kind: str, millidegrees: int) -> dict[str, str | int]:
    """Return the files of a thermal zone."""
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": kind, f"{folder}/temp": millidegrees}


def program(root: Path, path: str, script: str) -> None:
    """Write a shell script that can be run."""
    tree(root, {path: f"#!/bin/sh\n{script}"})
    (root / path).chmod(stat.S_IRWXU)


def vcgencmd(root: Path, throttled: str, pmic: str | None = None) -> None:
    """Write a vcgencmd that answers like a Raspberry Pi's."""
    tree(root, {"pmic.txt": pmic or ""})
    known = f"cat {root / 'pmic.txt'}" if pmic else "echo 'error=1'; exit 255"
    program(
        root,
        "usr/bin/vcgencmd",
        f'case "$1" in\nget_throttled) echo throttled={throttled};;\n'
        f"pmic_read_adc) {known};;\n*) exit 255;;\nesac",
    )


def pi4(root: Path) -> Path:
    """Make a Raspberry Pi 4."""
    vcgencmd(root, "0x50000")
    return tree(root, {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
        "proc/cpuinfo": arm_cpuinfo([("0x41", "0xd08", A72)] * 4)
        + "\nRevision\t: d03115\nModel\t\t: Raspberry Pi 4 Model B Rev 1.5\n",
        "proc/meminfo": MEMINFO.format(3884264, 3400000),
        "proc/stat": STAT,
        "proc/sys/kernel/osrelease": "6.6.20+rpt-rpi-v8",
        "proc/sys/kernel/random/boot_id": "40c511b8-5656-4e7f-99c6-d999a6833fab",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian',
    } | cpufreq([(range(4), 1800000, 600000)]) | zone(0, "cpu-thermal", 48199))  # fmt: skip


def pi5(root: Path) -> Path:
    """Make a Raspberry Pi 5."""
    vcgencmd(root, "0x0", PMIC)
    return tree(root, {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/cpuinfo": arm_cpuinfo([("0x41", "0xd0b", A76)] * 4),
        "proc/meminfo": MEMINFO.format(8242192, 7000000),
    } | cpufreq([(range(4), 2400000, 2400000)]))  # fmt: skip


def zero2w(root: Path) -> Path:
    """Make a Raspberry Pi Zero 2 W without vcgencmd, whose kernel has the throttle file."""
    return tree(root, {
        "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
        "proc/cpuinfo": arm_cpuinfo([("0x41", "0xd03", A53)] * 4),
        "proc/meminfo": MEMINFO.format(437788, 200000),
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    } | cpufreq([(range(4), 1000000, 600000)]))  # fmt: skip


def rk3588(root: Path) -> Path:
    """Make a ROCK 5B: four small cores, and four big ones in two frequency domains."""
    cores = [("0x41", "0xd05", A76)] * 4 + [("0x41", "0xd0b", A76)] * 4
    capacities = {f"{CPU}/cpu{i}/cpu_capacity": 530 if i < 4 else 1024 for i in range(8)}
    clocks = [(range(4), 1800000, 1800000), (range(4, 6), 2400000, 2400000),
              (range(6, 8), 2352000, 408000)]  # fmt: skip
    return tree(root, {
        "proc/device-tree/model": "Radxa ROCK 5B\0",
        "proc/cpuinfo": arm_cpuinfo(cores),
        "proc/meminfo": MEMINFO.format(16000000, 15000000),
    } | capacities | cpufreq(clocks, "schedutil") | zone(0, "soc-thermal", 50800)
      | zone(1, "bigcore0-thermal", 52000))  # fmt: skip


def jetson(root: Path) -> Path:
    """Make a Jetson Nano in its 5 W mode: the clock is capped, two cores are offline."""
    chip = "sys/class/hwmon/hwmon1"
    tree(root, {
        "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
        "proc/cpuinfo": arm_cpuinfo([("0x41", "0xd07", A57)] * 2),
        "proc/meminfo": MEMINFO.format(4059504, 3000000),
        f"{chip}/name": "ina3221",
        f"{chip}/in1_label": "POM_5V_GPU", f"{chip}/in1_input": 5000, f"{chip}/curr1_input": 100,
        f"{chip}/in2_label": "POM_5V_IN", f"{chip}/in2_input": 5000, f"{chip}/curr2_input": 1200,
        f"{chip}/in4_input": 7, f"{chip}/curr4_input": 9,
        "sys/class/hwmon/hwmon0/name": "cpu_thermal",
    } | cpufreq([(range(2), 1479000, 918000)], "schedutil") | zone(0, "CPU-therm", 34000)
      | zone(1, "PMIC-Die", 100000))  # fmt: skip
    for folder in ("cpufreq/policy0", "cpu0/cpufreq", "cpu1/cpufreq"):
        tree(root, {f"{CPU}/{folder}/scaling_max_freq": 918000})
    return root


def desk(root: Path) -> Path:
    """Make an x86 desk in a virtual machine: no cpufreq, no sensors."""
    return tree(root, {
        "proc/cpuinfo": "\n".join(
            f"processor\t: {i}\nmodel name\t: AMD EPYC\ncpu MHz\t\t: {2400 + 100 * i}.0\n"
            "flags\t\t: fpu avx2 fma avx512_vnni\n" for i in range(2)
        ),
        "sys/class/dmi/id/product_name": "Standard PC",
        "proc/meminfo": MEMINFO.format(16000000, 8000000),
    })  # fmt: skip
