"""The machine's state while a stream runs, and what it says of a slow network."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread

from edgecnn.environment import Conditions
from edgecnn.machine import throttle

PERIOD_S = 2.0
HOT_C = 80.0
"""A Raspberry Pi slows down from here on (soft limit at 60 on a 3B+, throttling from 80)."""
SLOWER_CLOCK = 0.95
BUSY_OTHERS, STOLEN = 0.2, 0.05


@dataclass(frozen=True)
class Health:
    """What was read last; None where the machine does not tell."""

    temperature_c: float | None = None
    clock_mhz: float | None = None
    throttled: tuple[str, ...] = ()
    others_cpu: float | None = None
    steal_cpu: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "temperature_c": self.temperature_c,
            "clock_mhz": self.clock_mhz,
            "throttled": list(self.throttled),
            "others_cpu": self.others_cpu,
            "steal_cpu": self.steal_cpu,
        }


class HealthWatch:
    """Reads the machine's state every two seconds in a thread of its own."""

    def __init__(self, read: Callable[[], Conditions] = Conditions.now) -> None:
        self.now = Health()
        self._read = read
        self._before = read()
        self._fastest_mhz = self._before.clock_mhz or 0.0
        self._stop = Flag()
        self._thread = Thread(target=self._run, name="health", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.update(self._read())

    def update(self, after: Conditions) -> None:
        """Take a reading."""
        before, self._before = self._before, after
        self._fastest_mhz = max(self._fastest_mhz, after.clock_mhz or 0.0)
        total = after.total_cpu_s - before.total_cpu_s
        bits = after.throttled
        words = throttle.words(throttle.now(bits)) if bits is not None else ""
        others = after.busy_cpu_s - before.busy_cpu_s - (after.own_cpu_s - before.own_cpu_s)
        steal = after.steal_cpu_s - before.steal_cpu_s
        self.now = Health(
            after.temperature_c,
            after.clock_mhz,
            (words,) if words else (),
            max(0.0, others / total) if total > 0 else None,
            steal / total if total > 0 else None,
        )

    def causes(self) -> tuple[str, ...]:
        """Say what may make a network slow at the moment; empty where nothing is known to."""
        now, found = self.now, list(self.now.throttled)
        if now.clock_mhz and now.clock_mhz < SLOWER_CLOCK * self._fastest_mhz:
            found.append(f"the clock is {now.clock_mhz:.0f} of {self._fastest_mhz:.0f} MHz")
        if now.temperature_c is not None and now.temperature_c >= HOT_C:
            found.append(f"{now.temperature_c:.0f} degrees Celsius")
        if now.others_cpu is not None and now.others_cpu >= BUSY_OTHERS:
            found.append(f"other programs use {now.others_cpu:.0%} of the processors")
        if now.steal_cpu is not None and now.steal_cpu >= STOLEN:
            found.append(f"the hypervisor gave {now.steal_cpu:.0%} to other guests")
        return tuple(found)
