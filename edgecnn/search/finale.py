"""The end of a search: the best networks as files, beside the stock networks at that latency.

All of them are trained by the same recipe, exported and quantized in the same way, measured in
turns on the device, and tested on pictures that neither training nor the search has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgecnn import export, families, formats, measure, strides
from edgecnn.accuracy import Interval
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.contract import Recipe as Precision
from edgecnn.device import Device
from edgecnn.errors import EdgecnnError, UnavailableError
from edgecnn.evaluate import evaluate
from edgecnn.host import Host
from edgecnn.picture_sets import written
from edgecnn.search import exam
from edgecnn.search.accuracy import Proxy
from edgecnn.search.goal import UNJUDGEABLE, Found, Latency
from edgecnn.search.latency import Running
from edgecnn.sources import Source
from edgecnn.spec import ModelSpec

Origin = Literal["found", "stock"]
STOCK = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet_a1")
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)
"""The widths that MobileNetV2's, V3's and MnasNet's papers show between them."""
FINE_WIDTHS = tuple(round(0.35 + 0.05 * k, 2) for k in range(22))
CALIBRATION_IMAGES = 200
PLAN = Plan(stages=False, energy_s=None)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Entrant:
    """A network that takes part, and its latency as the search has it."""

    origin: Origin
    spec: ModelSpec
    latency_ms: float


def best_found(found: Sequence[Found]) -> tuple[Entrant, ...]:
    """The networks of a search."""
    return tuple(Entrant("found", one.spec, one.latency_ms) for one in found)


def stock(like: ModelSpec, latency: Latency, widths: Sequence[float]) -> Iterator[Entrant]:
    """The stock networks at all of `widths`, for pictures as `like` takes them.

    They have its resolution and its output stride. One whose latency is not known is left out.
    """
    for name in STOCK:
        for width in widths:
            base = families.get(name).scaled(width, resolution=like.resolution)
            spec = strides.with_output_stride(base, strides.output_stride(like))
            spec = spec.with_classes(like.num_classes)
            try:
                yield Entrant("stock", spec, latency(spec))
            except UNJUDGEABLE:
                continue


def widest(entrants: Sequence[Entrant], target_ms: float) -> tuple[Entrant, ...]:
    """Of each family's stock networks the slowest one within the target; none where none is."""
    within = [one for one in entrants if one.latency_ms <= target_ms]
    bases = {one.spec.name.partition("@")[0]: one for one in sorted(within, key=_latency)}
    return tuple(bases.values())


def _latency(one: Entrant) -> float:
    return one.latency_ms


@dataclass(frozen=True)
class Standing:
    """What became of an entrant; accuracies in percent, None where it did not come to that.

    `proxy_top1` is what the search saw: of the network itself, on pictures held out of training.
    `top1` is of the file, on `images` test pictures. `measured_ms` is the median, measured in turns
    with the others.
    """

    origin: Origin
    name: str
    spec: str
    latency_ms: float
    latency_kind: str
    proxy_top1: float | None = None
    top1: float | None = None
    top1_ci95: Interval | None = None
    images: int = 0
    tested_on: str = ""
    measured_ms: float | None = None
    measured_p95_ms: float | None = None
    artifact: str | None = None
    parity: str | None = None
    problem: str | None = None

    @property
    def compared_ms(self) -> float:
        """The measured latency, else the one of the search."""
        return self.latency_ms if self.measured_ms is None else self.measured_ms

    def beats(self, other: Standing) -> bool | None:
        """Whether it is more accurate at an equal or lower latency; None where one is not known."""
        if self.top1 is None or other.top1 is None:
            return None
        return self.compared_ms <= other.compared_ms and self.top1 > other.top1

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self) | {"top1_kind": "measured" if self.top1 is not None else None}


@dataclass(frozen=True)
class Finale:
    """How entrants become files, and where they run.

    Without `host` nothing is measured: latencies stay those of the search. `limit` bounds the test
    pictures.
    """

    proxy: Proxy
    running: Running
    latency_kind: str
    host: Host | None = None
    device: Device | None = None
    limit: int | None = None
    plan: Plan = PLAN

    def run(self, entrants: Sequence[Entrant], report: Progress) -> tuple[Standing, ...]:
        """Train, export, measure and test; what fails with one entrant is told in its row.

        Everything is kept in the proxy's work folder and taken from there the next time, except
        latencies: they are measured in turns each time. Raises UnavailableError where the device
        goes away, DataError where test pictures cannot be read.
        """
        made = [self._made(one, n, len(entrants), report) for n, one in enumerate(entrants)]
        timed = self._timed(made, report)
        return tuple(self._tested(row, n, len(timed), report) for n, row in enumerate(timed))

    def _made(self, one: Entrant, number: int, total: int, report: Progress) -> Standing:
        row = Standing(one.origin, one.spec.name, str(one.spec), one.latency_ms, self.latency_kind)
        from edgecnn import train_weights  # torch

        report(f"training {one.spec.name}", number, total)
        try:
            source, trained = train_weights.source(
                one.spec, self.proxy.pictures, self.proxy.recipe, self.proxy.work
            )
            row = replace(row, proxy_top1=trained.top1)
            report(f"exporting {one.spec.name}", number, total)
            path = self._path(source.provenance.sha256, one.spec.name)
            artifact = Artifact.load(path) if path.is_file() else self._export(source, path)
        except UnavailableError:
            raise
        except EdgecnnError as error:
            return replace(row, problem=" ".join(str(error).split()))
        parity = artifact.required_contract().parity
        failed = parity is not None and not parity.passed
        return replace(row, artifact=str(path), parity=parity.reason if parity and failed else None)

    def _path(self, digest: str, name: str) -> Path:
        suffix = formats.get(self.running.format).suffix
        safe = "".join(c if c.isalnum() or c in "-_.," else "_" for c in name)
        folder = self.proxy.work / "files"
        return folder / f"{safe}-{self.running.precision}-{digest[:12]}{suffix}"

    def _export(self, source: Source, path: Path) -> Artifact:
        pictures = self.proxy.pictures
        chosen = exam.trained_on(self.proxy, CALIBRATION_IMAGES)
        return export.export(
            source,
            self.running.format,
            Precision.parse(self.running.precision),
            path,
            calibration_folder=written(self.proxy.work, pictures, chosen, "calibration"),
            calibration_images=CALIBRATION_IMAGES,
            labels=pictures.classes,
            # The training pictures are what they are: there are no better ones.
            force_calibration=True,
        )

    def _timed(self, rows: Sequence[Standing], report: Progress) -> list[Standing]:
        if self.host is None or self.device is None:
            return list(rows)
        candidates = {
            row.artifact: self._candidate(row.artifact, self.device) for row in rows if row.artifact
        }
        comparison = measure.interleave(
            list(candidates.values()), self.plan, host=self.host, progress=report
        )
        if comparison.interrupted:
            raise KeyboardInterrupt
        latencies = {profile.artifact: profile.latency for profile in comparison.profiles}
        problems = {str(f.candidate.artifact.path): str(f.error) for f in comparison.failures}
        return [
            replace(
                row,
                measured_ms=latencies[row.artifact].p50,
                measured_p95_ms=latencies[row.artifact].p95,
            )
            if row.artifact in latencies
            else replace(row, problem=row.problem or problems.get(row.artifact or ""))
            for row in rows
        ]

    def _candidate(self, artifact: str, device: Device) -> Candidate:
        loaded = Artifact.load(Path(artifact))
        return Candidate(loaded, self.running.runtime, device, self.running.threads)

    def _tested(self, row: Standing, number: int, total: int, report: Progress) -> Standing:
        if row.artifact is None:
            return row
        report(f"testing {row.name}", number, total)
        test = exam.exam(self.proxy)
        artifact = Artifact.load(Path(row.artifact))
        # On this machine, whatever the device: the file was proven to compute the same there.
        found = exam.remembered(
            self.proxy.work / "accuracy" / f"{artifact.sha256[:16]}-{test.key(self.limit)}.json",
            lambda: evaluate(artifact, test.folder, limit=self.limit),
        )
        return replace(
            row,
            top1=found.top1,
            top1_ci95=found.top1_ci95,
            images=found.images,
            tested_on=test.told,
        )
