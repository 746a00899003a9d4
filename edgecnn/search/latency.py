"""How fast a network is: predicted by a table, or measured on a device."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgecnn import documents, measure
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.device import Device
from edgecnn.environment import Environment
from edgecnn.errors import DataError, ExportError, MeasurementError, UsageError
from edgecnn.host import Host
from edgecnn.hosted import ask_once
from edgecnn.latency import OutsideTableError, Predictor, graphs
from edgecnn.search.accuracy import CandidateError
from edgecnn.search.goal import Latency
from edgecnn.spec import ModelSpec

SCHEMA = 1
QUICK = Plan(min_runs=30, min_seconds=0.5, rounds=4, stages=False, energy_s=None)
"""For one of hundreds of candidates: about two seconds, most of them to start and to warm up."""


@dataclass(frozen=True)
class Running:
    """Where and how networks run: what a latency is of.

    Raises UsageError where the runtime is not known or opens no format.
    """

    device: str
    runtime: str
    precision: str
    threads: int = 1

    @property
    def format(self) -> str:
        """The file format that is made for the runtime."""
        return graphs.format_for(self.runtime, self.precision)

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}, threads {self.threads}, on {self.device}"


def of_table(predictor: Predictor) -> Running:
    """What a table's figures are of."""
    table = predictor.table
    return Running(table.device, table.runtime, table.precision, table.threads)


def predicted(predictor: Predictor) -> Latency:
    """The predictions of a table; a network beyond it is a CandidateError."""

    def latency_ms(spec: ModelSpec) -> float:
        try:
            return predictor.predict(spec)
        except OutsideTableError as error:
            raise CandidateError(str(error)) from error

    return latency_ms


@dataclass(frozen=True)
class Measured:
    """Medians measured on a connected device, with random weights; remembered in `work`.

    What was measured before counts while machine, runtime and versions are the same. Raises
    CandidateError where a network cannot be written, UnavailableError where the device goes away.
    """

    running: Running
    device: Device
    host: Host
    work: Path
    environment: Environment

    @classmethod
    def on(cls, running: Running, device: Device, host: Host, work: Path) -> Measured:
        """Latencies on a host. Raises UnavailableError where the runtime is not there."""
        _ = running.format
        found = ask_once(host, "environment", runtime=running.runtime)
        return cls(running, device, host, work, Environment.from_dict(found))

    @property
    def identity(self) -> str:
        """Equal for figures that can be compared."""
        text = repr((self.running, self.environment.fingerprint))
        return f"{self.running} {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def __call__(self, spec: ModelSpec) -> float:
        """Milliseconds, the median of an unloaded run."""
        path = self.work / "latency" / f"{self._key(spec)}.json"
        if path.exists():
            try:
                return documents.load(path, SCHEMA, lambda data: float(data["p50_ms"]))
            except DataError:
                path.unlink()  # damaged since: it is measured again
        latency_ms = self._measure(spec, path.with_suffix(f".{self.running.format}"))
        figures = {"spec": str(spec), "running": asdict(self.running), "p50_ms": latency_ms}
        documents.save(path, figures | {"schema": SCHEMA})
        return latency_ms

    def _measure(self, spec: ModelSpec, file: Path) -> float:
        running = self.running
        try:
            graphs.write(spec, running.format, running.precision, file)
            candidate = Candidate(
                Artifact.load(file), running.runtime, self.device, running.threads
            )
            found = measure.interleave([candidate], QUICK, host=self.host).require_any()
            if found.interrupted:
                raise KeyboardInterrupt
        except (ExportError, UsageError, MeasurementError) as error:
            raise CandidateError(f"{spec.name}: {error}") from error
        finally:
            file.unlink(missing_ok=True)
        return found.profiles[0].latency.p50

    def _key(self, spec: ModelSpec) -> str:
        nameless = replace(spec, name="-", family="-")
        return hashlib.sha256(f"{nameless}\n{self.identity}".encode()).hexdigest()[:32]
