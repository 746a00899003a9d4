"""Measuring latency: a fresh process per candidate, interleaved rounds, every sample kept."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from edgecnn import devices, runtimes
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Comparison, Failure, Plan, Ratio, paired_ratio
from edgecnn.device import LOCAL, Device
from edgecnn.environment import Conditions, Environment
from edgecnn.errors import EdgecnnError, MeasurementError, UnavailableError
from edgecnn.host import Host
from edgecnn.hosted import OPEN_TIMEOUT_S, REST_LIMIT_S, Hosted
from edgecnn.machine import throttle
from edgecnn.machine.power import Energy
from edgecnn.profile import NS_PER_MS, LayerTime, Profile, Sustained, TracePoint, Transfers

__all__ = [
    "Candidate",
    "Comparison",
    "Failure",
    "Plan",
    "Ratio",
    "candidates",
    "interleave",
    "paired_ratio",
    "profile",
]

AUTO = "auto"
STEP_TIMEOUT_S = 120.0
SLOWEST = 20.0
"""A round that takes this many times the expected duration counts as hung."""
LAYER_RUNS = 20
STAGE_REPEATS = 15
SETTLE_RUNS = 2
STRETCH_S = 1.0
BURST_WINDOW_S = 60.0
BUSY_SHARE = 0.1

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def candidates(
    artifact: Artifact, runtime: str, device: Device = LOCAL, threads: int = 1
) -> tuple[Candidate, ...]:
    """Return the candidate of a named runtime, or for ``auto`` of each that times the format.

    A runtime that is not available here is a candidate too: opening it tells why.

    Raises:
        UsageError: the runtime is unknown.
        ArtifactError: the file has no input of fixed shape.
    """
    artifact.single_input()
    if runtime != AUTO:
        return (Candidate(artifact, runtimes.get(runtime).name, device, threads),)
    reading = runtimes.reading(artifact.format, device)
    timed = [name for name in reading if runtimes.get(name).timed]
    return tuple(Candidate(artifact, name, device, threads) for name in timed)


def profile(candidate: Candidate, plan: Plan | None = None) -> Profile:
    """Measure one candidate; see :func:`interleave`.

    Raises:
        EdgecnnError: it could not be measured.
    """
    return interleave([candidate], plan).require_any().profiles[0]


def interleave(
    candidates: Sequence[Candidate],
    plan: Plan | None = None,
    *,
    progress: Progress | None = None,
    host: Host | None = None,
) -> Comparison:
    """Measure several candidates in turns (A B A B), each in a process of its own.

    All of them are on one machine: ``host``, where it is connected already.

    All processes are alive at once; those whose turn it is not wait in a read. A candidate that
    fails becomes a :class:`Failure` and the others go on. Ctrl-C ends all processes, and what was
    measured until then is returned as incomplete.
    """
    plan, report = plan or Plan(), progress or _silent
    with ExitStack() as stack:
        machine = host or stack.enter_context(_host(candidates))
        session = _Interleaving(plan, report, machine, stack)
        interrupted = False
        try:
            session.measure(candidates)
        except KeyboardInterrupt:
            interrupted = True
            session.kill()
        profiles = session.profiles(interrupted)
    return Comparison(profiles, tuple(session.failures), interrupted)


class _Run:
    """A candidate in its process, and what has been measured of it so far."""

    def __init__(self, candidate: Candidate, host: Host, plan: Plan) -> None:
        self.candidate, self.plan = candidate, plan
        self.process = Hosted(
            host,
            candidate.artifact,
            candidate.runtime,
            candidate.device,
            candidate.threads,
            pin=plan.pin,
            verify=True,
            prepare=self._rewarm,
        )
        self.environment: dict[str, Any] = {}
        self.warm: dict[str, Any] = {}
        self.rounds: list[dict[str, Any]] = []
        self.trace: list[tuple[float, dict[str, Any]]] = []
        self.stages: dict[str, Any] = {}
        self.transfers: Transfers | None = None
        self.energy: Energy | None = None
        self.layers: tuple[LayerTime, ...] = ()
        self.notes: list[str] = []
        self.settled = 0
        self.complete = False

    def open(self) -> None:
        self.process.open()

    def warm_up(self) -> None:
        self.warm = self.process.ask("warm_up", OPEN_TIMEOUT_S, **self._warm_up_limits())

    def _rewarm(self, process: Hosted) -> None:
        """Bring a process that follows on a lost one where that one was."""
        if self.warm:
            process.direct("warm_up", OPEN_TIMEOUT_S, **self._warm_up_limits())

    def _warm_up_limits(self) -> dict[str, float]:
        return {"max_seconds": self.plan.warmup_seconds, "tolerance": self.plan.warmup_tolerance}

    def begin(self) -> None:
        """Note the state of the machine right before the timed runs."""
        self.environment = self.process.ask("environment", STEP_TIMEOUT_S)

    def round(self, runs: int, settle: int) -> None:
        timeout_s = STEP_TIMEOUT_S + SLOWEST * (runs + settle) * self.warm["median_ns"] / 1e9
        self.rounds.append(self.process.ask("round", timeout_s, runs=runs, settle=settle))
        self.settled += settle

    def runs_in(self, seconds: float) -> int:
        return max(1, math.ceil(seconds * 1e9 / int(self.warm["median_ns"])))

    def round_size(self, plan: Plan) -> int:
        return math.ceil(max(plan.min_runs, self.runs_in(plan.min_seconds)) / plan.rounds)

    def has_enough(self, plan: Plan) -> bool:
        if plan.sustained_s is not None:
            return bool(self.trace) and self.trace[-1][0] >= plan.sustained_s
        samples = [sample for done in self.rounds for sample in done["samples_ns"]]
        return (
            len(self.rounds) >= plan.rounds
            and len(samples) >= plan.min_runs
            and sum(samples) >= plan.min_seconds * 1e9
        )

    def sustain(self, seconds: float, deadline: float) -> None:
        self.begin()
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds and time.monotonic() < deadline:
            stretch = min(STRETCH_S, seconds - elapsed)
            done = self.process.ask("stretch", STEP_TIMEOUT_S + stretch, seconds=stretch)
            self.rounds.append(done)
            self.trace.append((time.monotonic() - began, done))

    def extras(self) -> None:
        """Measure what is told beside the latency; a failure here leaves the latency as it is."""
        ask = self.process.ask
        try:
            if self.plan.stages:
                self.stages = ask("stages", STEP_TIMEOUT_S, repeats=STAGE_REPEATS)
                found = ask("transfers", STEP_TIMEOUT_S, runs=STAGE_REPEATS)["transfers"]
                self.transfers = None if found is None else Transfers(**found)
            if self.plan.energy_s is not None:
                limits = {"seconds": self.plan.energy_s, "idle_seconds": self.plan.energy_s}
                found = ask("energy", STEP_TIMEOUT_S + 2 * self.plan.energy_s, **limits)["energy"]
                self.energy = None if found is None else Energy(**found)
            if self.plan.per_layer:
                rows = ask("layers", OPEN_TIMEOUT_S, runs=LAYER_RUNS)["layers"]
                self.layers = tuple(LayerTime(**row) for row in rows)
                self.notes += [] if rows else [f"{self.candidate.runtime} tells no layer times"]
        except EdgecnnError as error:
            self.notes.append(str(error))

    def profile(self, taking_part_cpu_s: float) -> Profile:
        candidate, last = self.candidate, self.rounds[-1]
        opened, conditions = self.process.opened, self._conditions()
        after = conditions[-1]
        environment = Environment.from_dict(self.environment).until(after, taking_part_cpu_s)
        if self.process.processes > 1:
            # The processor time of the lost processes is not known, nor then that of others.
            environment = replace(environment, others_cpu=None)
        frame = self.stages.get("pre_frame")
        return Profile(
            **candidate.identity,
            samples_ns=tuple(sample for done in self.rounds for sample in done["samples_ns"]),
            rounds=tuple(len(done["samples_ns"]) for done in self.rounds),
            warmup_runs=self.warm["runs"] + self.settled,
            steady=self.warm["steady"],
            init_ms=opened["init_ms"],
            import_ms=opened["import_ms"],
            first_run_ms=self.warm["first_run_ms"],
            peak_rss_bytes=last["peak_rss_bytes"],
            baseline_rss_bytes=self.process.greeting["baseline_rss_bytes"],
            environment=environment,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            pre_ms=self.stages.get("pre_ms"),
            post_ms=self.stages.get("post_ms"),
            pre_frame=None if frame is None else (frame[0], frame[1]),
            layers=self.layers,
            sustained=self.sustained(),
            golden=self.process.golden,
            transfers=self.transfers,
            energy=self.energy,
            void=throttle.judge([one.throttled for one in conditions]),
            processes=self.process.processes,
            complete=self.complete,
            notes=(*self.notes, *self._notes(environment)),
            target=self.plan.target,
        )

    def _conditions(self) -> list[Conditions]:
        rounds = [Conditions(**done["conditions"]) for done in self.rounds]
        return [Conditions(**self.environment["before"]), *rounds]

    def cpu_seconds(self) -> float:
        """Return the processor time of the timed runs; of the last process, where one was lost."""
        conditions = self._conditions()
        return max(0.0, conditions[-1].own_cpu_s - conditions[0].own_cpu_s)

    def _notes(self, environment: Environment) -> list[str]:
        notes = _notes(self.candidate.runtime, environment)
        if self.process.golden is None:
            notes.append("the file has no golden sample: its results were not checked")
        if self.process.processes > 1:
            notes.append(
                f"the connection broke: measured in {self.process.processes} processes, one after "
                "another"
            )
        return notes

    def sustained(self) -> Sustained | None:
        if not self.trace:
            return None
        ends = [0.0] + [at for at, _ in self.trace]
        window = min(BURST_WINDOW_S, ends[-1] / 2)
        spans = [(begin, end, done) for (begin, end), (_, done) in zip(pairwise(ends), self.trace,
                                                                      strict=True)]  # fmt: skip
        burst = [s for begin, _, done in spans if begin < window for s in done["samples_ns"]]
        steady = [s for _, end, done in spans if end > ends[-1] - window
                  for s in done["samples_ns"]]  # fmt: skip
        return Sustained(
            seconds=ends[-1],
            window_s=window,
            burst_p50_ms=statistics.median(burst) / NS_PER_MS,
            steady_p50_ms=statistics.median(steady) / NS_PER_MS,
            trace=tuple(_trace_point(at, done) for at, done in self.trace),
        )


class _Interleaving:
    """The steps of an interleaved measurement, over the candidates that are still in it."""

    def __init__(self, plan: Plan, report: Progress, host: Host, stack: ExitStack) -> None:
        self.plan, self.report, self.host, self.stack = plan, report, host, stack
        self.runs: list[_Run] = []
        self.lost: list[_Run] = []
        self.failures: list[Failure] = []
        self.deadline = time.monotonic() + (plan.deadline_s or math.inf)

    def measure(self, candidates: Sequence[Candidate]) -> None:
        for index, candidate in enumerate(candidates):
            self.report("opening", index, len(candidates))
            self.open(candidate)
        self.each("warming up", _Run.warm_up)
        if self.plan.sustained_s is None:
            self.each("preparing", _Run.begin)
            self.rounds()
        else:
            seconds = self.plan.sustained_s
            self.each("running back to back", lambda run: run.sustain(seconds, self.deadline))
        for run in self.runs:
            run.complete = run.has_enough(self.plan)
        self.each("layers and stages", _Run.extras)

    def open(self, candidate: Candidate) -> None:
        run = _Run(candidate, self.host, self.plan)
        self.stack.enter_context(run.process)
        self.runs.append(run)
        self.attempt(run, _Run.open)

    def rounds(self) -> None:
        settle = SETTLE_RUNS if len(self.runs) > 1 else 0
        done = 0
        while self.runs and not all(run.has_enough(self.plan) for run in self.runs):
            if time.monotonic() > self.deadline:
                return
            self.report("measuring", done, max(self.plan.rounds, done + 1))
            for run in list(self.runs):
                self.attempt(run, lambda run: self._round(run, settle))
            done += 1

    def _round(self, run: _Run, settle: int) -> None:
        run.round(run.round_size(self.plan), settle)
        if len(self.runs) > 1 and run.candidate.threads > 1:
            run.process.ask("rest", STEP_TIMEOUT_S, max_seconds=REST_LIMIT_S)

    def each(self, what: str, step: Callable[[_Run], None]) -> None:
        for index, run in enumerate(list(self.runs)):
            self.report(what, index, len(self.runs))
            self.attempt(run, step)

    def attempt(self, run: _Run, step: Callable[[_Run], None]) -> None:
        try:
            step(run)
        except EdgecnnError as error:
            self.failures.append(Failure(run.candidate, error))
            self.runs.remove(run)
            if isinstance(error, UnavailableError) and run.rounds:
                # The board went away and did not come back; what it sent until then is kept.
                run.notes.append(str(error))
                self.lost.append(run)
            run.process.kill()

    def kill(self) -> None:
        for run in self.runs:
            run.process.kill()

    def profiles(self, interrupted: bool) -> tuple[Profile, ...]:
        """Return the profiles of the runs that have samples."""
        found = [run for run in (*self.runs, *self.lost) if run.rounds]
        if not interrupted:
            missed = (run for run in self.runs if not run.rounds)
            self.failures += [Failure(run.candidate, _no_time(self.plan)) for run in missed]
        cpu = {id(run): run.cpu_seconds() for run in found}
        together = sum(cpu.values()) if self.plan.sustained_s is None else None
        return tuple(run.profile(cpu[id(run)] if together is None else together) for run in found)


def _no_time(plan: Plan) -> MeasurementError:
    return MeasurementError(
        f"the deadline of {plan.deadline_s} s passed before the first timed run; allow more time."
    )


def _notes(runtime: str, environment: Environment) -> list[str]:
    notes = []
    if not runtimes.get(runtime).timed:
        notes.append(f"the latency of {runtime} says nothing of a device")
    if (environment.others_cpu or 0.0) > BUSY_SHARE:
        notes.append(
            f"other processes used {environment.others_cpu:.0%} of the processor meanwhile: "
            "high percentiles are partly theirs"
        )
    return notes


def _trace_point(at_s: float, done: dict[str, Any]) -> TracePoint:
    conditions = Conditions(**done["conditions"])
    return TracePoint(
        at_s=at_s,
        p50_ms=statistics.median(done["samples_ns"]) / NS_PER_MS,
        clock_mhz=conditions.clock_mhz,
        temperature_c=conditions.temperature_c,
        throttled=conditions.throttled,
    )


def _host(candidates: Sequence[Candidate]) -> Host:
    """Connect to the machine that all candidates are on."""
    device = candidates[0].device if candidates else LOCAL
    names = sorted({candidate.artifact.path.name for candidate in candidates})
    return devices.connect(device, f"profile {', '.join(names)}")


def _silent(what: str, done: int, total: int) -> None:
    return
