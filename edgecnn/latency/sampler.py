"""Measuring one network after another on a device, in turns with a reference.

A machine has moods: other load, clocks, heat. The reference, a network that stays the same, tells
them from the network's own latency; it has about as many weights as they have, to feel shared
caches as they do. Moods change within tenths of a second: so there are many bursts of runs, short
ones, with the reference between them, and of all bursts the calmest count, those beside the fastest
reference. Both run in processes of their own, kept on the same processors, since one processor may
be slowed down and not the next; where it is, both move on. The candidates share a process, since
starting one for each would take longer than measuring it.
"""

import math
import statistics
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from edgecnn.device import Device
from edgecnn.environment import Environment
from edgecnn.errors import ConnectionLostError
from edgecnn.host import Closing, Host, Worker
from edgecnn.hosted import OPEN_TIMEOUT_S, REST_LIMIT_S, ask_once
from edgecnn.latency import design, graphs, pace
from edgecnn.latency.sample import NodeTime, Sample
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
_REFERENCE_RUNS = 3
_WARM_RUNS = 2
_MOST_RUNS = 20
"""In a burst."""
_SETTLING_RUNS, _SETTLING_MS = 10, 15.0
"""At most so many untimed runs before a burst, and about so many milliseconds of them.

After another process has had the processor, runs become faster for a while: onnxruntime's of the
reference in w8a8 took 0.92, 0.74, 0.66, 0.62, 0.58, 0.56, 0.55, 0.54 and 0.53 ms (an AMD EPYC),
longer where the other network was larger. Timed after one run, networks seemed up to 14 % slower,
and the pace to be a matter of the network beside it."""


class _Plan(NamedTuple):
    """So many bursts of so many seconds are wanted of a network.

    They are made up to `patience` times, until enough of them are calm.
    """

    bursts: int
    burst_s: float
    patience: int


_ALONE = _Plan(bursts=5, burst_s=0.008, patience=2)
"""Beside busy neighbours (LiteRT w8a8, five networks, each measured 16 times and more), 90 % were
within 4 to 22 % of the median with 3 bursts of 7 ms, and within 3 to 15 % with 10. With more
patience there are fewer networks in the same time, which a table misses more than the calm."""
_TOGETHER = _Plan(bursts=5, burst_s=0.02, patience=4)
"""Of several threads: they have to let the processors go after each burst, which takes up to 60 ms,
and find each other again: onnxruntime's first two runs took a third longer. On a busy machine
(LiteRT w8a8) the middle half of all bursts of a network lay between 5.2 and 14.2 ms, and of the
calm ones between 3.9 and 4.4 ms."""
CALM = 1.15
"""A burst is calm where the reference beside it is slower than usual by no more than this."""
_QUIET_SHARE = 0.1
"""The usual pace is that which so many of the reference's runs keep."""
_PROFILED_MS, _LEAST_PROFILED = 20.0, 3
_NODE_DIGITS = 5
STEP_TIMEOUT_S = 120.0
_ATTEMPTS = 3
_REMEMBERED = 2000
"""Of the reference's paces."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Burst:
    """The median latency of runs back to back, and the reference's before and after them."""

    latency_ms: float
    runs: int
    before_ms: float
    after_ms: float

    @property
    def pace_ms(self) -> float:
        """The reference's latency meanwhile, the slower of both."""
        return max(self.before_ms, self.after_ms)

    def at_pace(self, pace_ms: float) -> float:
        """The latency, in ms, as it likely were with the reference at this pace."""
        beside_ms = (self.before_ms + self.after_ms) / 2
        return self.latency_ms * math.exp(pace.USUAL * math.log(pace_ms / beside_ms))


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
        self._plan = _ALONE if threads == 1 else _TOGETHER
        self._places: tuple[str, ...] = ()
        self._place = 0
        self._paces_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._workers: dict[tuple[int, str], Worker] = {}

    def environment(self) -> Environment:
        """The machine and the versions in use."""
        found = ask_once(self._host, "environment", runtime=str(self._arguments["runtime"]))
        return Environment.from_dict(found)

    def measure(self, spec: ModelSpec, times: int = 1) -> Sample:
        """Measure a network; longer, and elsewhere on the machine, where it is disturbed.

        With so many times the usual bursts of runs it takes longer, and more of the machine's moods
        are averaged.

        Raises:
            UnavailableError: the device went away and did not come back.
            EdgecnnError: of the kind that the measuring process met.
        """
        path = self._written(spec, "candidate")
        try:
            return self._recovering(lambda: self._measured(spec, path, times))
        finally:
            self._host.forget([path])
            path.unlink()

    def _move(self) -> None:
        """Take the next processors. Those left keep their processes, which take seconds to start:
        where neighbours come and go, there are many moves."""
        self._place = (self._place + 1) % len(self._places)

    def close(self) -> None:
        """End both processes."""
        self._end_workers()
        self._stack.close()

    def _measured(self, spec: ModelSpec, path: Path, times: int) -> Sample:
        wanted, bursts = times * self._plan.bursts, list[_Burst]()
        candidates: dict[int, Worker] = {}
        for _ in range(self._plan.patience):
            candidate = candidates.get(self._place) or self._opened(path)
            candidates[self._place] = candidate
            bursts += self._series(candidate, wanted)
            limit_ms = CALM * self._usual_pace_ms()
            if sum(burst.pace_ms <= limit_ms for burst in bursts) >= wanted:
                break
            self._move()
        calmest = sorted(bursts, key=lambda burst: burst.pace_ms)[:wanted]
        before_ms = statistics.median(burst.before_ms for burst in calmest)
        after_ms = statistics.median(burst.after_ms for burst in calmest)
        pace_ms = (before_ms + after_ms) / 2
        latency_ms = statistics.median(burst.at_pace(pace_ms) for burst in calmest)
        runs = sum(burst.runs for burst in calmest)
        nodes = _nodes(candidate, latency_ms)
        return Sample.taken(spec, latency_ms, (before_ms, after_ms), runs, nodes)

    def _opened(self, path: Path) -> Worker:
        candidate = self._worker("candidate")
        self._open(candidate, path)
        return candidate

    def _series(self, candidate: Worker, count: int) -> list[_Burst]:
        """Bursts of a network at the present place, with the reference between them."""
        reference = self._worker("reference")
        warm_ms = _median_ms(self._runs(candidate, _WARM_RUNS, settle=1))
        runs = min(max(round(self._plan.burst_s * 1e3 / warm_ms), 1), _MOST_RUNS)
        settle = _settling_runs(warm_ms)
        paces_ms, found = [self._pace_ms(reference)], []
        for _ in range(count):
            latency_ms = _median_ms(self._runs(candidate, runs, settle))
            paces_ms.append(self._pace_ms(reference))
            found.append(_Burst(latency_ms, runs, *paces_ms[-2:]))
        self._paces_ms.extend(paces_ms)
        return found

    def _pace_ms(self, reference: Worker) -> float:
        settle = _settling_runs(self._usual_pace_ms()) if self._paces_ms else _SETTLING_RUNS
        return _median_ms(self._runs(reference, _REFERENCE_RUNS, settle))

    def _runs(self, worker: Worker, runs: int, settle: int) -> list[int]:
        """Durations of runs back to back, in nanoseconds, after some that do not count."""
        found = worker.request("round", STEP_TIMEOUT_S, runs=runs, settle=settle)
        if self._arguments["threads"] > 1:
            worker.request("rest", STEP_TIMEOUT_S, max_seconds=REST_LIMIT_S)
        return [int(one) for one in found["samples_ns"]]

    def _usual_pace_ms(self) -> float:
        paces_ms = sorted(self._paces_ms)
        return paces_ms[int(_QUIET_SHARE * len(paces_ms))]

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


def _settling_runs(run_ms: float) -> int:
    return min(max(round(_SETTLING_MS / run_ms), 1), _SETTLING_RUNS)


def _nodes(worker: Worker, latency_ms: float) -> list[NodeTime]:
    """Each node's time by the runtime's profiler; none where it has no such thing."""
    runs = min(max(round(_PROFILED_MS / latency_ms), _LEAST_PROFILED), _MOST_RUNS)
    rows = worker.request("layers", STEP_TIMEOUT_S, runs=runs)["layers"]
    return [NodeTime(row["op"], round(row["ms"], _NODE_DIGITS)) for row in rows]


def _median_ms(samples_ns: list[int]) -> float:
    return statistics.median(samples_ns) / 1e6
