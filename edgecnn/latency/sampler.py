"""Measuring one network after another on a device, in turns with a reference.

A machine has moods: other load, clocks, heat. The reference, a network that stays the same, tells
them from the network's own latency; it has about as many weights as they have, to feel shared
caches as they do. Moods change within tenths of a second: so there are many bursts of runs, short
ones, with the reference between them. Both run in processes of
their own, kept on the same processors, since one processor may be slowed down and not the next;
where it is, both move on. The candidates share a process, since starting one for each would take
longer than measuring it.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from edgecnn import runtimes
from edgecnn.device import Device
from edgecnn.environment import Environment
from edgecnn.errors import ConnectionLostError
from edgecnn.host import Closing, Host, Worker
from edgecnn.hosted import OPEN_TIMEOUT_S, ask_once
from edgecnn.latency import design, graphs, pace
from edgecnn.latency.sample import SLOW, NodeTime, Sample
from edgecnn.spec import Block, Conventions, ModelSpec

_REFERENCE_RESOLUTION = 112
_REFERENCE = """
stem_k3_s2_c16_relu
mbconv_r1_k3_s1_e1_c16_relu
fused_r1_k3_s2_e4_c24_relu
mbconv_r2_k5_s2_e4_c40_se0.25_swish
mbconv_r3_k3_s2_e4_c80_swish
mbconv_r3_k3_s1_e6_c144_se0.25_relu
head_c1280_relu
pool
linear_c1000
"""
"""Blocks of several kinds, with 84 M multiply-adds and 3.5 M weights."""
_REFERENCE_RUNS = 2
_SETTLE_RUNS = 2
BURSTS = 8
"""Beside busy neighbours (LiteRT w8a8, five networks, each measured 16 times and more), 90 % were
within 4 to 22 % of the median with 3 bursts of 7 ms, and within 3 to 15 % with 10."""
_FEW_BURSTS = 4
"""Where each burst has to wait for the other process's threads to let the processors go."""
_BURST_S = 0.008
_MOST_RUNS = 20
"""In a burst."""
_PROFILED_MS, _LEAST_PROFILED = 20.0, 3
_NODE_DIGITS = 5
STEP_TIMEOUT_S = 120.0
_ATTEMPTS = 3
_REMEMBERED = 100
T = TypeVar("T")


class Sampler(Closing):
    """Two measuring processes on a host; see the module."""

    def __init__(
        self, host: Host, device: Device, runtime: str, precision: str, threads: int
    ) -> None:
        """Remember where to measure; the processes start with the first network.

        Raises:
            UsageError: no format that the runtime reads can be written in this precision.
        """
        self._host = host
        self._format = graphs.format_for(runtime, precision)
        self._precision = precision
        self._arguments: dict[str, Any] = {
            "runtime": runtime,
            "device": str(device.there),
            "threads": threads,
            "contract": None,
        }
        self._places: tuple[str, ...] = ()
        self._place = 0
        self._paces_ms: list[float] = []
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._workers: dict[tuple[int, str], Worker] = {}

    def environment(self) -> Environment:
        """The machine and the versions in use."""
        found = ask_once(self._host, "environment", runtime=str(self._arguments["runtime"]))
        return Environment.from_dict(found)

    def measure(self, spec: ModelSpec, times: int = 1) -> Sample:
        """Measure a network; again elsewhere on the machine where it was disturbed.

        With so many times the usual bursts of runs it takes longer, and more of the machine's moods
        are averaged.

        Raises:
            UnavailableError: the device went away and did not come back.
            EdgecnnError: of the kind that the measuring process met.
        """
        path = self._written(spec, "candidate")
        try:
            found = self._recovering(lambda: self._measured(spec, path, times))
            if self._is_slow(found):
                self._move()
                again = self._recovering(lambda: self._measured(spec, path, times))
                found = min(found, again, key=lambda sample: sample.pace_ms)
        finally:
            self._host.forget([path])
            path.unlink()
        self._paces_ms.append(found.pace_ms)
        return found

    def _is_slow(self, sample: Sample) -> bool:
        recent = sorted(self._paces_ms[-_REMEMBERED:])
        return bool(recent) and sample.pace_ms > SLOW * recent[len(recent) // 4]

    def _move(self) -> None:
        """Take the next processors. Those left keep their processes, which take seconds to start:
        where neighbours come and go, there are many moves."""
        self._place = (self._place + 1) % len(self._places)

    def close(self) -> None:
        """End both processes."""
        self._end_workers()
        self._stack.close()

    def _measured(self, spec: ModelSpec, path: Path, times: int) -> Sample:
        reference, candidate = self._worker("reference"), self._worker("candidate")
        self._open(candidate, path)
        warm_ms = _median_ms(_runs(candidate, _SETTLE_RUNS, settle=1))
        runs = min(max(round(_BURST_S * 1e3 / warm_ms), 1), _MOST_RUNS)
        paces, bursts = [self._pace_ms(reference)], []
        for _ in range(times * self._bursts):
            self._let_go()
            bursts.append(_median_ms(_runs(candidate, runs, settle=1)))
            paces.append(self._pace_ms(reference))
        beside = list(pairwise(paces))
        before, after = (statistics.median(pair[at] for pair in beside) for at in (0, 1))
        latency_ms = _at_pace(bursts, beside, (before + after) / 2)
        nodes = _nodes(candidate, latency_ms)
        return Sample.taken(spec, latency_ms, (before, after), runs * len(bursts), nodes)

    @property
    def _bursts(self) -> int:
        return _FEW_BURSTS if self._lingers_s else BURSTS

    @property
    def _lingers_s(self) -> float:
        """How long the threads of one process keep the processors from the other's."""
        is_alone = self._arguments["threads"] == 1
        return 0.0 if is_alone else runtimes.lingers_s(self._arguments["runtime"])

    def _pace_ms(self, reference: Worker) -> float:
        self._let_go()
        return _median_ms(_runs(reference, _REFERENCE_RUNS, settle=1))

    def _let_go(self) -> None:
        """Wait until the processors are free: the other process is not to be measured beside it."""
        time.sleep(self._lingers_s)

    def _worker(self, role: str) -> Worker:
        self._places = self._places or places(self.environment(), self._arguments["threads"])
        worker = self._workers.get((self._place, role))
        if worker is None:
            worker = self._stack.enter_context(self._host.start_worker())
            self._workers[self._place, role] = worker
            if role == "reference":
                self._open(worker, self._written(reference(), role))
        return worker

    def _open(self, worker: Worker, path: Path) -> None:
        there = self._host.stage(path)
        worker.request(
            "open", OPEN_TIMEOUT_S, artifact=there, pin=self._places[self._place], **self._arguments
        )

    def _written(self, spec: ModelSpec, name: str) -> Path:
        path = self._folder / f"{name}.{self._format}"
        return graphs.write(spec, self._format, self._precision, path)

    def _recovering(self, attempt: Callable[[], T]) -> T:
        for _ in range(_ATTEMPTS):
            try:
                return attempt()
            except ConnectionLostError:
                self._workers.clear()
                self._host.recover()
        return attempt()

    def _end_workers(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def places(environment: Environment, threads: int) -> tuple[str, ...]:
    """Where to run so many threads, as `--pin` takes it: on the fastest processors, last first.

    Of those that the process may use. The first processor often has the interrupts of all.
    """
    fastest = environment.clusters[-1].cpus if environment.clusters else ()
    if environment.pinned:
        fastest = tuple(cpu for cpu in fastest if cpu in environment.pinned)
    starts = range(len(fastest) - threads, -1, -threads)
    windows = [fastest[start : start + threads] for start in starts]
    return tuple(",".join(map(str, window)) for window in windows) or ("all",)


def reference() -> ModelSpec:
    """The network that all others are measured beside."""
    blocks = tuple(map(Block.parse, _REFERENCE.split()))
    return ModelSpec("reference", design.FAMILY, _REFERENCE_RESOLUTION, blocks, Conventions())


def _at_pace(
    bursts: Sequence[float], beside: Sequence[tuple[float, float]], pace_ms: float
) -> float:
    """The median of all bursts, in ms, each as it likely were with the reference at this pace."""
    slower = [math.log(statistics.mean(pair) / pace_ms) for pair in beside]
    at_pace = [ms * math.exp(-pace.USUAL * by) for ms, by in zip(bursts, slower, strict=True)]
    return statistics.median(at_pace)


def _runs(worker: Worker, runs: int, settle: int) -> list[int]:
    """Durations of runs back to back, in nanoseconds, after some that do not count."""
    found = worker.request("round", STEP_TIMEOUT_S, runs=runs, settle=settle)
    return [int(one) for one in found["samples_ns"]]


def _nodes(worker: Worker, latency_ms: float) -> list[NodeTime]:
    """Each node's time by the runtime's profiler; none where it has no such thing."""
    runs = min(max(round(_PROFILED_MS / latency_ms), _LEAST_PROFILED), _MOST_RUNS)
    rows = worker.request("layers", STEP_TIMEOUT_S, runs=runs)["layers"]
    return [NodeTime(row["op"], round(row["ms"], _NODE_DIGITS)) for row in rows]


def _median_ms(samples_ns: list[int]) -> float:
    return statistics.median(samples_ns) / 1e6
