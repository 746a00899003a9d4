"""Measuring beside a reference, on a machine with moods that the test makes."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest

from edgecnn import families
from edgecnn.device import LOCAL
from edgecnn.environment import Environment
from edgecnn.host import Closing, Host
from edgecnn.latency import sampler
from edgecnn.latency.sample import Sample
from edgecnn.machine.clusters import Cluster

REFERENCE_MS, CANDIDATE_MS = 2.0, 6.0
Slowdown = Callable[[int, str | None], float]
"""How many times slower the machine is at a step, on these processors."""


class Machine:
    """In the place of a `Host`: two processors and a slowdown for each request to run."""

    def __init__(self, slowdown: Slowdown, worker: type["MachineWorker"] | None = None) -> None:
        self.slowdown, self.steps = slowdown, 0
        self.worker = worker or MachineWorker
        self.asked: list[str] = []
        self.opened_on: list[str | None] = []

    def start_worker(self) -> "MachineWorker":
        return self.worker(self)

    def stage(self, path: Path) -> str:
        return str(path)

    def forget(self, paths: list[Path]) -> None:
        assert paths


class MachineWorker(Closing):
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.latency_ms, self.pin = 0.0, ""

    def close(self) -> None:
        self.machine.asked.append("close")

    def request(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        self.machine.asked.append(op)
        return cast(dict[str, Any], getattr(self, op)(**arguments))

    def environment(self, runtime: str) -> dict[str, Any]:
        here = replace(Environment.now(), pinned=())
        return asdict(replace(here, clusters=(Cluster("all", (0, 1), None, ""),)))

    def open(self, artifact: str, pin: str, **_: Any) -> dict[str, Any]:
        is_reference = Path(artifact).stem == "reference"
        self.latency_ms, self.pin = REFERENCE_MS if is_reference else CANDIDATE_MS, pin
        if not is_reference:
            self.machine.opened_on.append(pin)
        return {}

    def round(self, runs: int, settle: int) -> dict[str, Any]:
        self.machine.steps += 1
        ms = self.latency_ms * self.machine.slowdown(self.machine.steps, self.pin)
        return {"samples_ns": [ms * 1e6] * runs}

    def rest(self, max_seconds: float) -> dict[str, Any]:
        return {"rested_ms": 0.0}

    def layers(self, runs: int) -> dict[str, Any]:
        return {"layers": []}


def measured(machine: Machine, threads: int = 1, networks: int = 1) -> list[Sample]:
    spec = families.get("mobilenet_v2@w0.35,r96")
    host = cast(Host, machine)
    with sampler.Sampler(host, LOCAL, "litert", "fp32", threads) as found:
        return [found.measure(spec) for _ in range(networks)]


def test_a_calm_machine_is_measured_once_on_the_last_processor() -> None:
    machine = Machine(lambda step, pin: 1.0)
    (sample,) = measured(machine)
    assert sample.latency_ms == pytest.approx(CANDIDATE_MS)
    assert sample.reference_ms == pytest.approx((REFERENCE_MS, REFERENCE_MS))
    assert machine.opened_on == ["1"]


def test_bursts_beside_a_slow_reference_do_not_count() -> None:
    """A neighbour comes and goes; networks feel it twice as much as the reference."""

    class Neighbour(MachineWorker):
        def round(self, runs: int, settle: int) -> dict[str, Any]:
            slow = self.machine.slowdown(self.machine.steps, self.pin)
            found = super().round(runs, settle)
            felt = slow if self.latency_ms == CANDIDATE_MS else 1.0
            return {"samples_ns": [one * felt for one in found["samples_ns"]]}

    machine = Machine(lambda step, pin: 1.5 if step // 7 % 2 else 1.0, Neighbour)
    for sample in measured(machine, networks=3):
        assert sample.latency_ms == pytest.approx(CANDIDATE_MS, rel=0.02)


def test_where_one_processor_is_slow_the_other_is_taken() -> None:
    machine = Machine(lambda step, pin: 1.8 if pin == "0" else 1.0)
    first, second = measured(machine, networks=2)
    assert first.latency_ms == second.latency_ms == pytest.approx(CANDIDATE_MS)
    machine = Machine(lambda step, pin: 1.8 if pin == "1" and step > 20 else 1.0)
    assert measured(machine, networks=3)[-1].latency_ms == pytest.approx(CANDIDATE_MS)
    assert machine.opened_on == ["1", "1", "0", "0"]


def test_a_machine_that_stays_slow_is_not_waited_for_for_ever() -> None:
    machine = Machine(lambda step, pin: 1.0 if step < 40 else 1.4)
    *_, last = measured(machine, threads=2, networks=4)
    assert last.reference_ms == pytest.approx((1.4 * REFERENCE_MS,) * 2)
    assert last.latency_ms == pytest.approx(1.4 * CANDIDATE_MS)


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_that_become_faster_after_another_process_are_not_timed(threads: int) -> None:
    class Forgetful(MachineWorker):
        def round(self, runs: int, settle: int) -> dict[str, Any]:
            found = super().round(runs, settle)["samples_ns"]
            again = [1 + 0.7 ** (at * self.latency_ms) for at in range(settle, settle + runs)]
            return {"samples_ns": [ns * slower for ns, slower in zip(found, again, strict=True)]}

    (sample,) = measured(Machine(lambda step, pin: 1.0, Forgetful), threads)
    assert sample.latency_ms == pytest.approx(CANDIDATE_MS, rel=0.03)
    assert sample.reference_ms == pytest.approx((REFERENCE_MS,) * 2, rel=0.03)


def test_a_slow_board_is_not_kept_settling() -> None:
    settled: list[int] = []

    class Slow(MachineWorker):
        def round(self, runs: int, settle: int) -> dict[str, Any]:
            settled.append(settle)
            return super().round(runs, settle)

    measured(Machine(lambda step, pin: 20.0, Slow), networks=2)
    assert set(settled[len(settled) // 2 :]) == {1}


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_leave_the_processors_before_the_next_runs(threads: int) -> None:
    machine = Machine(lambda step, pin: 1.0)
    measured(machine, threads)
    assert (machine.asked.count("rest") > 0) == (threads > 1)
    if threads > 1:
        asked = machine.asked
        assert all(asked[at + 1] == "rest" for at, op in enumerate(asked) if op == "round")
