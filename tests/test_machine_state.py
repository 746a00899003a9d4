"""Throttling, governors and power meters, on trees that look like the /sys of known machines."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import fake_machine as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import machine
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.machine import governor, power, throttle, vcgencmd
from edgecnn.machine.throttle import Throttle

pytestmark = pytest.mark.alone


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
