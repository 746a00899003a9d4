"""One file on several devices: boards at the same time, devices of one machine in turns."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby

from edgecnn import devices, measure, runtimes
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Comparison, Failure, Plan
from edgecnn.device import Device
from edgecnn.errors import EdgecnnError, UnavailableError, UsageError
from edgecnn.host import Host, Timing
from edgecnn.profile import Profile
from edgecnn.rehearsal import Rehearsal, rehearse

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Request:
    """What to profile: ``runtime`` is a name or ``auto``; ``governor`` is set where it is given."""

    artifact: Artifact
    runtime: str = measure.AUTO
    threads: int = 1
    plan: Plan = field(default_factory=Plan)
    governor: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one machine: measurements, rehearsals where it is emulated, or an error."""

    devices: tuple[Device, ...]
    comparison: Comparison | None = None
    rehearsals: tuple[Rehearsal, ...] = ()
    error: EdgecnnError | None = None

    @property
    def label(self) -> str:
        """The devices, as a person calls them."""
        return ", ".join(device.label for device in self.devices)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The candidates that could not be measured."""
        return self.comparison.failures if self.comparison else ()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self.comparison is not None and self.comparison.interrupted

    def ranked(self) -> tuple[Profile, ...]:
        """Return what was measured, the fastest median first."""
        return self.comparison.ranked() if self.comparison else ()

    def missed(self) -> str | None:
        """Say which verdict failed: the best candidate's target, or a void measurement."""
        best = next(iter(self.ranked()), None)
        if best is None or (best.void is None and best.passed is not False):
            return None
        where = f"{best.runtime} on {best.device}"
        if best.void is not None:
            return f"the measurement with {where} is void: {best.void}."
        return (
            f"p95 is {best.latency.p95:.2f} ms with {where}; the target is "
            f"{best.target.p95_ms:g} ms."
        )

    def problem(self) -> EdgecnnError | None:
        """Return why nothing was measured, or why what was is incomplete."""
        if self.error is not None:
            return self.error
        incomplete = {p.key for p in self.ranked() if not p.complete}
        return next((f.error for f in self.failures if f.candidate.key in incomplete), None)


def profile(
    request: Request, where: Sequence[Device], progress: Progress | None = None
) -> tuple[Outcome, ...]:
    """Measure on every device of ``where``; the outcomes are in the order of the machines' names.

    A machine that fails does not stop the others. Ctrl-C ends all, and what was measured until
    then is returned as incomplete.

    Raises:
        UsageError: a latency is asked of an emulated board, or a device is named twice.
    """
    groups = _by_machine(where)
    for device in where:
        _refuse_timing(request.plan, device.label, devices.get(device.kind).timing)
    session = _Session(request, progress or _silent)
    if len(groups) == 1:
        return (session.run(groups[0]),)
    return session.run_all(groups)


def _by_machine(where: Sequence[Device]) -> list[tuple[Device, ...]]:
    twice = {str(device) for device in where if where.count(device) > 1}
    if twice:
        raise UsageError(f"--device names {', '.join(sorted(twice))} more than once.")
    ordered = sorted(where, key=_machine)
    return [tuple(group) for _, group in groupby(ordered, key=_machine)]


def _machine(device: Device) -> str:
    return f"{device.kind} {device.address}" if device.address else ""


def _refuse_timing(plan: Plan, label: str, timing: Timing) -> None:
    asked = [("--target-ms", plan.target.p95_ms), ("--sustained", plan.sustained_s)]
    for option, value in asked:
        if value is not None and timing == "emulated":
            raise UsageError(
                f"{option} asks for the time of {label}, which has none: its processor is "
                "emulated. Leave it out, or measure on the board itself (--device ssh://...)."
            )


class _Session:
    """Machines that are measured at the same time, each in a thread of its own."""

    def __init__(self, request: Request, report: Progress) -> None:
        self._request, self._report = request, report
        self._hosts: list[Host] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, group: tuple[Device, ...]) -> Outcome:
        try:
            what = f"profile {self._request.artifact.path.name}"
            with devices.connect(group[0], what, lambda text: self._report(text, 0, 1)) as host:
                self._add(host)
                return self._measure(group, host)
        except EdgecnnError as error:
            return Outcome(group, error=error)

    def run_all(self, groups: Sequence[tuple[Device, ...]]) -> tuple[Outcome, ...]:
        with ThreadPoolExecutor(len(groups)) as pool:
            futures = [pool.submit(self.run, group) for group in groups]
            try:
                return tuple(future.result() for future in futures)
            except KeyboardInterrupt:
                self._stop()
                return tuple(future.result() for future in futures)

    def _measure(self, group: tuple[Device, ...], host: Host) -> Outcome:
        request = self._request
        candidates = [
            candidate
            for device in group
            for candidate in measure.candidates(
                request.artifact, request.runtime, device, request.threads
            )
        ]
        _refuse_timing(request.plan, host.where, host.timing)
        candidates, absent = _present(candidates, host)
        if host.timing == "emulated":
            rehearsals, failures = rehearse(candidates, host, self._report)
            comparison = Comparison((), (*absent, *failures))
            return Outcome(group, comparison, rehearsals, _only_error(comparison, rehearsals))
        if request.governor is not None:
            host.set_governor(request.governor)
        measured = measure.interleave(candidates, request.plan, progress=self._report, host=host)
        comparison = replace(measured, failures=(*absent, *measured.failures))
        return Outcome(group, comparison, error=_only_error(comparison, comparison.profiles))

    def _add(self, host: Host) -> None:
        with self._lock:
            self._hosts.append(host)
            if self._stopped:
                host.kill()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for host in self._hosts:
                host.kill()


def _present(
    candidates: Sequence[Candidate], host: Host
) -> tuple[list[Candidate], tuple[Failure, ...]]:
    """Tell the candidates whose runtime is there from those that need no process to fail."""
    wanted = {c.runtime: runtimes.get(c.runtime) for c in candidates}
    modules = sorted({module for runtime in wanted.values() for module in runtime.modules})
    found = set(host.importable(modules))
    absent = [
        c
        for c in candidates
        if wanted[c.runtime].modules and not found.intersection(wanted[c.runtime].modules)
    ]
    failures = tuple(Failure(c, _not_installed(wanted[c.runtime], host)) for c in absent)
    return [c for c in candidates if c not in absent], failures


def _not_installed(runtime: runtimes.Runtime, host: Host) -> UnavailableError:
    return UnavailableError(
        f"runtime {runtime.name} is not installed on {host.where}. Install it with: "
        f"{host.install_line(runtime.name, runtime.requires)}"
    )


def _only_error(comparison: Comparison, found: Sequence[object]) -> EdgecnnError | None:
    """Return why nothing was found, where nothing was."""
    if found or comparison.interrupted:
        return None
    try:
        comparison.require_any()
    except EdgecnnError as error:
        return error
    return None


def _silent(what: str, done: int, total: int) -> None:
    return
