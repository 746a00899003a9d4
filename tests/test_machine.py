"""Facts of a machine, read from trees that look like /proc and /sys of known ones."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_machine as fake
from edgecnn import machine
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.machine import clusters, cpuinfo, governor, power, state, throttle, vcgencmd
from edgecnn.machine.clusters import Cluster
from edgecnn.machine.throttle import Throttle

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


# Clusters.


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
    with pytest.raises(UsageError, match=r"no 'big' cluster.*all alike"):
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


# Throttling.


def test_throttle_bits_come_from_the_firmware_else_the_kernel(tmp_path: Path) -> None:
    root = fake.zero2w(tmp_path)
    assert throttle.read(root) == 0x50005, "the kernel's file, in hexadecimal without 0x"
    fake.vcgencmd(root, "0x80008")
    assert throttle.read(root) == 0x80008
    fake.program(root, "usr/bin/vcgencmd", "echo VCHI initialization failed; exit 255")
    assert throttle.read(root) == 0x50005


def test_a_firmware_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vcgencmd, "_TIMEOUT_S", 0.1)
    fake.program(tmp_path, "usr/bin/vcgencmd", "exec sleep 20")
    began = time.monotonic()
    assert throttle.read(tmp_path) is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ([], None),
        ([None, None], None),
        ([0, 0, 0], None),
        ([0x50000, 0x50000], None),
        ([0, 0x1, 0], "under-voltage"),
        ([0, 0, 0x40000], "throttled"),
        ([0x10000, None, 0x50000], "throttled"),
        ([0, 0x2], "capped"),
        ([0x80008, 0x80000], "soft temperature limit"),
        ([None, 0x80000, 0x80000], None),
        ([0x20000000], None),
    ],
)
def test_void_runs_say_why(readings: list[int | None], words: str | None) -> None:
    found = throttle.judge(readings)
    assert found is None if words is None else words in (found or "")


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_a_verdict_names_exactly_the_limits_at_work(readings: list[int]) -> None:
    found = throttle.judge(readings)
    at_work = any(bits & 0xF for bits in readings)
    new = any((bits & ~readings[0]) & 0xF0000 for bits in readings)
    assert (found is not None) == (at_work or new)


def test_throttle_bits_have_words() -> None:
    assert throttle.now(0x50005) == Throttle.UNDER_VOLTAGE | Throttle.THROTTLED
    assert throttle.since_boot(0x50005) == Throttle.UNDER_VOLTAGE | Throttle.THROTTLED
    assert throttle.words(Throttle(0)) == ""
    assert len(throttle.words(Throttle(0xF)).split(", ")) >= 4


def test_a_capped_clock_is_told(tmp_path: Path) -> None:
    found = machine.describe(fake.jetson(tmp_path))
    assert found.capped == ("processors 0-1 are capped at 918 of 1479 MHz",)
    assert found.temperature_c == 34.0, "PMIC-Die does not measure"


# Governors.


def test_governors_of_several_policies_are_joined(tmp_path: Path) -> None:
    root = fake.rk3588(tmp_path)
    assert governor.joined(root) == "schedutil"
    fake.tree(root, {f"{fake.CPU}/cpufreq/policy6/scaling_governor": "performance"})
    assert governor.joined(root) == "schedutil/performance"


def test_a_governor_is_set_and_restored(tmp_path: Path) -> None:
    root = fake.rk3588(tmp_path)
    fake.tree(root, {f"{fake.CPU}/cpufreq/policy6/scaling_governor": "performance"})
    with pytest.raises(ZeroDivisionError), governor.using("performance", root):
        assert governor.joined(root) == "performance"
        raise ZeroDivisionError
    assert governor.joined(root) == "schedutil/performance"


def test_an_unknown_governor_is_refused(tmp_path: Path) -> None:
    root = fake.rk3588(tmp_path)
    with pytest.raises(UsageError, match="ondemand, performance, schedutil"):
        governor.using("turbo", root).__enter__()
    assert governor.joined(root) == "schedutil"


def test_a_governor_that_may_not_be_set_names_the_line_to_run(tmp_path: Path) -> None:
    root = fake.rk3588(tmp_path)
    # A folder in the file's place refuses to be written also for root.
    last = root / fake.CPU / "cpufreq" / "policy6"
    refusing = replace(governor.read(root)[2], folder=last / "absent")
    with pytest.raises(UnavailableError, match=r"echo performance \| sudo tee"):
        governor._set(refusing, "performance")


def test_governors_are_restored_when_a_later_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fake.rk3588(tmp_path)
    policies = governor.read(root)
    broken = (*policies[:2], replace(policies[2], folder=tmp_path / "absent"))
    monkeypatch.setattr(governor, "read", lambda root: broken)
    with pytest.raises(UnavailableError):
        governor.using("performance", root).__enter__()
    monkeypatch.undo()
    assert governor.joined(root) == "schedutil"


def test_no_governor_without_cpufreq(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no cpufreq"):
        governor.using("performance", tmp_path).__enter__()


# Power.


def test_pi5_sums_the_rails_that_tell_both(tmp_path: Path) -> None:
    (meter,) = power.meters(fake.pi5(tmp_path))
    assert meter.watts() == pytest.approx(fake.PMIC_WATTS)
    assert "without what takes 5 V directly" in meter.source


def test_pi4_has_no_meter(tmp_path: Path) -> None:
    assert power.meters(fake.pi4(tmp_path)) == ()


def test_jetson_puts_the_boards_input_first(tmp_path: Path) -> None:
    root = fake.jetson(tmp_path)
    first, second = power.meters(root)
    assert first.source == "ina3221 POM_5V_IN (hwmon1)"
    assert (first.watts(), second.watts()) == (pytest.approx(6.0), pytest.approx(0.5))
    (root / "sys/class/hwmon/hwmon1/curr2_input").unlink()
    with pytest.raises(UnavailableError, match="no longer answers"):
        first.watts()


def test_ina226_tells_its_power(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon0"
    fake.tree(tmp_path, {f"{chip}/name": "ina226", f"{chip}/power1_input": 4200000,
                         f"{chip}/in0_input": 1, f"{chip}/in1_input": 5000,
                         f"{chip}/curr1_input": 1})  # fmt: skip
    (meter,) = power.meters(tmp_path)
    assert meter.watts() == pytest.approx(4.2)


@pytest.mark.parametrize("answer", ["", "nonsense", "A_A current(1)=1.0A\n", "A_V volt(1)=1.0V",
                                    "A_A current(1)=1.2.3A\nA_V volt(1)=1V"])  # fmt: skip
def test_answers_without_a_whole_rail_are_no_power(answer: str) -> None:
    assert power.pmic_watts(answer) is None


def test_energy_is_power_over_time() -> None:
    busy = threading.Event()

    def run() -> None:
        busy.set()
        time.sleep(0.02)

    meter = power.Meter("fake", lambda: 5.0 if busy.is_set() else 2.0)
    found = power.measure_energy(meter, run, seconds=0.3, idle_seconds=0.15)
    assert found.source == "fake"
    assert found.idle_w == pytest.approx(2.0)
    assert 4.0 < found.busy_w <= 5.0
    assert found.runs >= 2
    assert found.samples >= 3
    assert found.seconds >= 0.3
    assert found.joules_per_run == pytest.approx(found.busy_w * found.seconds / found.runs)
    assert found.net_joules_per_run == pytest.approx(
        (found.busy_w - found.idle_w) * found.seconds / found.runs
    )


def test_a_run_is_measured_at_least_once() -> None:
    found = power.measure_energy(power.Meter("fake", lambda: 1.0), lambda: None, 0, 0)
    assert found.runs == 1
    assert found.busy_w == pytest.approx(1.0)


def test_a_meter_that_stops_answering_is_an_error() -> None:
    def watts() -> float:
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        power.measure_energy(power.Meter("fake", watts), lambda: None, 0.01, 0.01)


def test_an_error_of_the_run_ends_the_sampling() -> None:
    def run() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        power.measure_energy(power.Meter("fake", lambda: 1.0), run, 1, 0)
    assert not [one for one in threading.enumerate() if one.name == "power meter"]
