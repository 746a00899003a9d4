"""Power meters that a machine can read itself, and the energy of a run."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from edgecnn.errors import UnavailableError
from edgecnn.machine import vcgencmd
from edgecnn.machine._files import SYSTEM, number, text

_HWMON = "sys/class/hwmon"
_INTERVAL_S = 0.1
_CHANNELS = (1, 2, 3)
_INPUT = "_IN"
"""Ends the label of the rail that feeds a whole board (Jetson: VDD_IN, POM_5V_IN)."""
_PMIC_LINE = re.compile(r"^\s*(\w+)_([AV]) (?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Meter:
    """A way to read power. ``source`` names the meter and what it does not see."""

    source: str
    watts: Callable[[], float]
    """Raises UnavailableError where the meter no longer answers."""


@dataclass(frozen=True)
class Energy:
    """What a run costs. Powers are means over time; ``net`` is beyond what the idle board uses.

    ``seconds`` is the time of all ``runs``. Both powers contain what reading the meter costs.
    """

    source: str
    idle_w: float
    busy_w: float
    runs: int
    seconds: float
    joules_per_run: float
    net_joules_per_run: float
    samples: int


def meters(root: Path = SYSTEM) -> tuple[Meter, ...]:
    """Return the meters that answer, the one that sees most of the board first."""
    return (*_hwmon(root), *_pmic(root))


def measure_energy(
    meter: Meter, run: Callable[[], object], seconds: float, idle_seconds: float
) -> Energy:
    """Measure the power of the idle board, then call ``run`` over and over for ``seconds``.

    The meter is read about ten times a second in a thread of its own.

    Raises:
        UnavailableError: the meter stopped answering.
    """
    with _sampling(meter) as idle:
        time.sleep(idle_seconds)
    runs, began = 0, time.perf_counter()
    with _sampling(meter) as busy:
        while not runs or time.perf_counter() - began < seconds:
            run()
            runs += 1
        took = time.perf_counter() - began
    idle_w, busy_w = _mean(idle), _mean(busy)
    return Energy(
        source=meter.source,
        idle_w=idle_w,
        busy_w=busy_w,
        runs=runs,
        seconds=took,
        joules_per_run=busy_w * took / runs,
        net_joules_per_run=(busy_w - idle_w) * took / runs,
        samples=len(busy),
    )


@contextmanager
def _sampling(meter: Meter) -> Iterator[list[tuple[float, float]]]:
    """Collect (seconds, watts) while the block runs, once at least at its beginning and end."""
    samples: list[tuple[float, float]] = []
    failures: list[UnavailableError] = []
    done = threading.Event()

    def sample() -> None:
        try:
            while True:
                last = done.is_set()
                before = time.perf_counter()
                watts = meter.watts()
                samples.append(((before + time.perf_counter()) / 2, watts))
                if last and len(samples) > 1:
                    return
                done.wait(_INTERVAL_S)
        except UnavailableError as error:
            failures.append(error)

    thread = threading.Thread(target=sample, name="power meter", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]


def _mean(samples: list[tuple[float, float]]) -> float:
    """Integrate by trapezoids over the times at which the meter was really read."""
    joules = sum(
        (end - begin) * (low + high) / 2 for (begin, low), (end, high) in pairwise(samples)
    )
    return joules / (samples[-1][0] - samples[0][0])


def _hwmon(root: Path) -> list[Meter]:
    """Find the INA2xx and INA3221 chips that the kernel drives.

    Each channel is a meter: on boards with several, one measures the input of the others.
    Source: Linux, Documentation/hwmon/ina2xx and ina3221 (power in uW, voltage in mV, current in
    mA; the numbers above 3 are shunt voltages and sums).
    """
    found = [
        (text(chip, f"in{channel}_label") or f"channel {channel}", chip, channel)
        for chip in sorted((root / _HWMON).glob("hwmon*"))
        for channel in _CHANNELS
        if text(chip, "name").startswith("ina") and _channel_watts(chip, channel) is not None
    ]
    found.sort(key=lambda entry: not entry[0].endswith(_INPUT))
    return [
        Meter(f"{text(chip, 'name')} {label} ({chip.name})", _reader(chip, channel))
        for label, chip, channel in found
    ]


def _channel_watts(chip: Path, channel: int) -> float | None:
    microwatts = number(chip, f"power{channel}_input")
    if microwatts is not None:
        return microwatts / 1e6
    millivolts, milliamperes = (number(chip, f"{kind}{channel}_input") for kind in ("in", "curr"))
    if millivolts is None or milliamperes is None:
        return None
    return millivolts * milliamperes / 1e6


def _reader(chip: Path, channel: int) -> Callable[[], float]:
    def watts() -> float:
        found = _channel_watts(chip, channel)
        if found is None:
            raise UnavailableError(f"the power meter {chip.name} no longer answers.")
        return found

    return watts


def _pmic(root: Path) -> Iterator[Meter]:
    """Find the power chip of a Raspberry Pi 5, which measures the rails that it feeds.

    The 5 V input has a voltage (EXT5V_V) and no current: what takes 5 V directly is not seen.
    """

    def watts() -> float:
        found = pmic_watts(vcgencmd.ask("pmic_read_adc", root=root) or "")
        if found is None:
            raise UnavailableError("the Raspberry Pi's power chip no longer answers.")
        return found

    if pmic_watts(vcgencmd.ask("pmic_read_adc", root=root) or "") is not None:
        yield Meter(
            "Raspberry Pi PMIC, sum of the rails it feeds, without what takes 5 V directly "
            "(USB devices, HATs, fan)",
            watts,
        )


def pmic_watts(answer: str) -> float | None:
    """Return the sum of voltage times current over the rails that have both; None without any."""
    rails: dict[str, dict[str, float]] = {}
    for rail, unit, value in _PMIC_LINE.findall(answer):
        try:
            rails.setdefault(rail, {})[unit] = float(value)
        except ValueError:
            return None
    powers = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(powers) if powers else None
