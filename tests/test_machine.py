"""Facts of a machine, read from trees that look like /proc and /sys of known ones."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import fake_machine as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import machine
from edgecnn.errors import UsageError
from edgecnn.machine import clusters, cpuinfo, state
from edgecnn.machine.clusters import Cluster

LITTLE = Cluster("little", (0, 1, 2, 3), 1800, "Cortex-A55")
BIG = Cluster("big", (4, 5, 6, 7), 2400, "Cortex-A76")
EIGHT = tuple(range(8))


def test_raspberry_pi(tmp_path: Path) -> None:
    found = machine.describe(fake.pi4(tmp_path), tmp_path / "absent")
    assert found.model == "Raspberry Pi 4 Model B Rev 1.5"
    assert found.os == "Debian GNU/Linux 12 (bookworm)"
    assert found.kernel == "6.6.20+rpt-rpi-v8"
    assert found.cores == 4
    assert found.clusters == (Cluster("all", (0, 1, 2, 3), 1800, "Cortex-A72"),)
    assert found.isa == ("asimd",)
    assert found.memory_bytes == 3884264 * 1024
    assert found.memory_available_bytes == 3400000 * 1024
    assert found.governor == "ondemand"
    assert found.temperature_c == pytest.approx(48.199)
    assert found.clocks_mhz == (600.0,)
    assert found.throttled == 0x50000
    assert found.boot_id == "40c511b8-5656-4e7f-99c6-d999a6833fab"
    assert (found.capped, found.meters) == ((), ())
    assert found.disk_free_bytes is not None


@pytest.mark.parametrize("make", [fake.pi4, fake.pi5, fake.zero2w, fake.rk3588, fake.jetson,
                                  fake.desk])  # fmt: skip
def test_json_round_trip(tmp_path: Path, make: object) -> None:
    found = machine.describe(make(tmp_path))  # type: ignore[operator]
    assert machine.Machine.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_this_machine() -> None:
    found = machine.describe()
    assert found.cores >= 1
    assert found.usable_cores == len(clusters.usable())
    assert found.python == ".".join(map(str, __import__("sys").version_info[:3]))


def test_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = machine.describe(tmp_path)
    silent = (found.model, found.os, found.memory_bytes, found.governor, found.temperature_c,
              found.throttled, found.boot_id)  # fmt: skip
    assert silent == (None,) * 7
    empty = (found.clusters, found.isa, found.clocks_mhz, found.capped, found.meters)
    assert empty == ((),) * 5
    assert not any(found.features.values())
    assert state.cpu_seconds(tmp_path) == (0, 0, 0)
    assert state.others_at_work(tmp_path) is None


def test_other_threads_at_work(tmp_path: Path) -> None:
    own = threading.get_native_id()
    states = {own: "R", own + 1: "S", own + 2: "R", own + 3: "R", own + 4: "D"}
    for tid, said in states.items():
        fake.tree(tmp_path, {f"proc/self/task/{tid}/stat": f"{tid} (a (b) R) {said} 1 1"})
    assert state.others_at_work(tmp_path) == 2


def test_features_have_the_names_people_use(tmp_path: Path) -> None:
    pi5 = machine.describe(fake.pi5(tmp_path / "pi5"))
    assert pi5.features == {"dotprod": True, "fp16": True, "i8mm": False, "bf16": False,
                            "sve": False, "vnni": False}  # fmt: skip
    assert machine.describe(fake.desk(tmp_path / "desk")).features["vnni"]


def test_desk_in_a_virtual_machine(tmp_path: Path) -> None:
    found = machine.describe(fake.desk(tmp_path))
    assert found.model == "Standard PC"
    assert found.clusters == (Cluster("all", (0, 1), None, "AMD EPYC"),)
    assert found.clocks_mhz == (2450.0,)
    assert found.isa == ("avx2", "avx512_vnni", "fma")


def test_rk3588_has_a_big_and_a_little_cluster(tmp_path: Path) -> None:
    found = machine.describe(fake.rk3588(tmp_path))
    assert found.clusters == (LITTLE, BIG)
    assert found.clocks_mhz == (1800.0, 1404.0)
    assert found.temperature_c == 52.0
    assert state.mean_mhz(found.clusters, found.clocks_mhz) == pytest.approx(1602.0)
    assert clusters.resolve("big", found.clusters, EIGHT) == (4, 5, 6, 7)


def phone(root: Path, capacities: list[int]) -> Path:
    """A Pixel 4: three of the big cores clock lower than the fourth."""
    parts = ["0x805"] * 4 + ["0x804"] * 4
    cores = [("0x51", part, fake.A76) for part in parts]
    clocks = [(range(4), 1785600, 1), (range(4, 7), 2419200, 1), (range(7, 8), 2841600, 1)]
    told = {f"{fake.CPU}/cpu{i}/cpu_capacity": value for i, value in enumerate(capacities)}
    return fake.tree(root, {"proc/cpuinfo": fake.arm_cpuinfo(cores)} | told | fake.cpufreq(clocks))


@pytest.mark.parametrize("capacities", [[261] * 4 + [871] * 3 + [1024], [1024] * 8, []],
                         ids=["told", "all the same", "absent"])  # fmt: skip
def test_three_clusters(tmp_path: Path, capacities: list[int]) -> None:
    found = clusters.read(phone(tmp_path, capacities))
    assert [(one.name, one.cpus, one.max_mhz) for one in found] == [
        ("little", (0, 1, 2, 3), 1786), ("mid", (4, 5, 6), 2419), ("big", (7,), 2842),
    ]  # fmt: skip


def test_a_small_core_stays_small_at_a_higher_clock(tmp_path: Path) -> None:
    cores = [("0x41", "0xd03", fake.A53)] * 2 + [("0x41", "0xd09", fake.A53)] * 4
    files = fake.cpufreq([(range(2), 1908000, 1), (range(2, 6), 1800000, 1)])
    fake.tree(tmp_path, {"proc/cpuinfo": fake.arm_cpuinfo(cores)} | files)
    assert [one.core for one in clusters.read(tmp_path)] == ["Cortex-A53", "Cortex-A73"]


def test_designs_that_nothing_orders_are_one_cluster(tmp_path: Path) -> None:
    cores = [("0x41", "0xd0b", fake.A76), ("0x41", "0xd44", fake.A76)]
    fake.tree(tmp_path, {"proc/cpuinfo": fake.arm_cpuinfo(cores)})
    assert clusters.read(tmp_path) == (Cluster("all", (0, 1), None, "Cortex-A76 + Cortex-X1"),)


def test_old_arm_kernels_tell_the_kind_once() -> None:
    old = ("Processor\t: AArch64 Processor rev 4 (aarch64)\nprocessor\t: 0\nprocessor\t: 1\n"
           "Features\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n"
           "Hardware\t: Qualcomm Technologies, Inc MSM8952\n")  # fmt: skip
    found = cpuinfo.parse(old)
    assert [(core.index, core.name) for core in found] == [(0, "Cortex-A53"), (1, "Cortex-A53")]
    assert cpuinfo.isa_flags(found) == ("asimd",)


def test_isa_is_what_all_cores_have() -> None:
    text = fake.arm_cpuinfo([("0x41", "0xd08", fake.A72), ("0x41", "0xd0b", fake.A76)])
    assert cpuinfo.isa_flags(cpuinfo.parse(text)) == ("asimd",)
    assert cpuinfo.model(cpuinfo.parse(text)) == "Cortex-A72 + Cortex-A76"
    assert cpuinfo.isa_flags(()) == ()


def test_unknown_cores_keep_their_numbers() -> None:
    assert cpuinfo.core_name(0x41, 0xD99) == "0x41 0xd99"
    assert cpuinfo.core_name(0x41, 0xD42) == "Cortex-A78AE"


@given(st.text(st.sampled_from("processor:0123\n \tCPUpartimplenxfFeatus#é"), max_size=200))
def test_any_text_is_read_as_cpuinfo(text: str) -> None:
    cores = cpuinfo.parse(text)
    assert cpuinfo.model(cores) is None or cores


@given(st.sets(st.integers(0, 999), min_size=1))
def test_lists_of_processors_round_trip(cpus: set[int]) -> None:
    assert clusters.resolve(clusters.spell(cpus), (), cpus) == tuple(sorted(cpus))


@given(st.text(st.sampled_from("0123456789-, abigtlem٣")))
def test_pin_reads_a_list_or_refuses(text: str) -> None:
    try:
        found = clusters.resolve(text, (LITTLE, BIG), EIGHT)
    except UsageError as error:
        assert "Allowed: all" in str(error)
    else:
        assert found
        assert set(found) <= set(EIGHT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mid", "no 'mid' cluster.*little: 4 x Cortex-A55 at 1800 MHz"),
        ("huge", "names no processors"),
        ("", "names no processors"),
        ("3-1", "no processors '3-1'"),
        ("0-999999", "no processors"),
        ("0-9999999", "names no processors"),
        ("8", "no processors '8'"),
    ],
)
def test_pin_refusals_say_what_exists(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        clusters.resolve(text, (LITTLE, BIG), EIGHT)


def test_big_is_refused_where_all_cores_are_alike() -> None:
    alike = (Cluster("all", (0, 1, 2, 3), 1800, "Cortex-A72"),)
    with pytest.raises(UsageError, match=r"no 'big' cluster.*Clusters: all: 4 x Cortex-A72"):
        clusters.resolve("big", alike, range(4))
    assert clusters.resolve("all", alike, range(4)) == (0, 1, 2, 3)


def test_a_cluster_that_is_denied_is_refused() -> None:
    with pytest.raises(UsageError, match="may not run on processors 4-7"):
        clusters.resolve("big", (LITTLE, BIG), (0, 1, 2, 3))


@pytest.fixture
def affinity() -> Iterator[tuple[int, ...]]:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    before = clusters.usable()
    yield before
    os.sched_setaffinity(0, before)


def test_pin_keeps_all_threads(affinity: tuple[int, ...]) -> None:
    if len(affinity) < 2:
        pytest.skip("needs two processors")
    seen: list[set[int]] = []
    go = threading.Event()

    def look() -> None:
        go.wait()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        clusters.pin((affinity[0],))
        assert clusters.usable() == clusters.restricted() == (affinity[0],)
    finally:
        go.set()
        thread.join()
        clusters.pin(affinity)
    assert seen == [{affinity[0]}]
    assert clusters.restricted() == ()


@pytest.mark.parametrize("cpus", [(), (5000,), (10**9,), (-1,)])
def test_pin_to_nothing_is_refused(affinity: tuple[int, ...], cpus: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        clusters.pin(cpus)
    assert clusters.usable() == affinity
