"""Selecting: make the candidates, measure them in turns, find their accuracy, choose.

Everything that takes long is kept in a work folder under a name that says what it depends on, so
that an interrupted selection goes on where it was, and a repeated one is quick.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import edgecnn
from edgecnn import devices, export, images, measure, runtimes, sources
from edgecnn.accuracy import Evaluation
from edgecnn.artifact import Artifact
from edgecnn.choice import Choice, Row, Top1Kind, choose
from edgecnn.comparison import Candidate, Plan
from edgecnn.contract import Recipe
from edgecnn.device import LOCAL, Device
from edgecnn.environment import Environment, package_versions
from edgecnn.errors import (
    ArtifactError,
    DataError,
    ExportError,
    UnavailableError,
    UsageError,
    WeightsError,
)
from edgecnn.evaluate import calibration_images, evaluate
from edgecnn.export.calibration import DEFAULT_IMAGES
from edgecnn.host import Host, Timing
from edgecnn.hosted import ask_once
from edgecnn.latency.table import Table
from edgecnn.profile import MeasuredKey, Profile, Target
from edgecnn.sources import Source

GROUP = 4
"""Candidates measured in turns at a time: each is a process with a model in memory."""
RANDOM = "random"

Progress = Callable[[str, int, int], None]
T = TypeVar("T")
_REJECTS = (ExportError, UnavailableError, UsageError, DataError)
"""What goes wrong with one candidate and not with the selection."""


@dataclass(frozen=True)
class Request:
    """What to choose among, and under which limits.

    Candidates are models x formats x precisions x runtimes x threads. Without ``runtimes`` all
    available ones that open the format take part. ``data`` are photographs, for calibration and
    accuracy; at most ``limit`` of them measure accuracy. ``work`` keeps files and measurements;
    with ``fresh`` latencies are measured again. With ``finalists``, candidates of a shortlist, only
    these take part of all combinations; ``tables`` are what predicted them.
    """

    models: tuple[str, ...]
    target: Target
    work: Path
    device: Device = LOCAL
    formats: tuple[str, ...] = ("onnx", "tflite")
    precisions: tuple[str, ...] = ("fp32", "w8a8")
    runtimes: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    data: Path | None = None
    labels_file: Path | None = None
    weights: str = "auto"
    limit: int | None = None
    fresh: bool = False
    plan: Plan = field(default_factory=lambda: Plan(stages=False))
    finalists: tuple[Row, ...] = ()
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("no models to choose among; `edgecnn models` lists the zoo.")
        for name in self.formats:
            export.get(name)
        for name in self.precisions:
            Recipe.parse(name)
        for name in self.runtimes:
            runtimes.get(name)

    @classmethod
    def of_finalists(cls, finalists: Sequence[Row], **others: Any) -> "Request":
        """Return the request that measures these candidates and no others."""
        return cls(
            models=_unique(row.name for row in finalists),
            formats=_unique(row.format for row in finalists),
            precisions=_unique(row.precision for row in finalists),
            runtimes=_unique(row.runtime for row in finalists if row.runtime),
            threads=_unique(row.threads for row in finalists if row.threads),
            finalists=tuple(finalists),
            **others,
        )

    def wants(self, model: str, format_name: str, precision: str) -> bool:
        """Return whether such a file takes part."""
        wanted = {(row.name, row.format, row.precision) for row in self.finalists}
        return not wanted or (model, format_name, precision) in wanted

    def times(self, row: Row, runtime: str, threads: int) -> bool:
        """Return whether the file of a row takes part on a runtime with so many threads."""
        wanted = {one.place for one in self.finalists}
        return not wanted or replace(row, runtime=runtime, threads=threads).place in wanted

    @cached_property
    def listing(self) -> tuple[Path, ...]:
        """The photographs of ``data``; none without it."""
        return () if self.data is None else images.list_images(self.data)

    @cached_property
    def calibration_sha256(self) -> str:
        """The digest of the photographs that an export would calibrate on."""
        return images.images_sha256(images.calibration_subset(self.listing, DEFAULT_IMAGES))


@dataclass(frozen=True)
class Made:
    """A file that was made for the selection, or why there is none."""

    row: Row
    artifact: Artifact | None = None
    trained: bool = False


def select(request: Request, progress: Progress | None = None) -> Choice:
    """Make, measure and choose; see :mod:`edgecnn.choice` for the rules.

    Ctrl-C raises KeyboardInterrupt; what was made and measured until then is kept and used by the
    next selection with the same work folder.

    Raises:
        UsageError, SpecError, SourceError: a model, format, precision or runtime is not known.
        DataError: ``data`` holds no images.
    """
    report = progress or _silent
    _refuse_emulated(request.device, devices.get(request.device.kind).timing)
    made = tuple(_make_all(request, report))
    with devices.connect(request.device, "select", lambda text: report(text, 0, 1)) as host:
        _refuse_emulated(request.device, host.timing)
        rows = list(_measured(request, host, made, report))
        rows = list(_with_accuracy(request, host, made, rows, report))
        notes = _mismatches(request, host)
    return replace(choose(rows, request.target), notes=notes)


def _mismatches(request: Request, host: Host) -> tuple[str, ...]:
    """Return how the device differs from what the tables are of."""
    found = []
    for table in request.tables:
        differs = table.differs(_environment(host, table.runtime))
        if differs:
            found.append(f"the table of {table} is of another device: {'; '.join(differs)}")
    return tuple(found)


def _refuse_emulated(device: Device, timing: Timing) -> None:
    if timing == "emulated":
        raise UsageError(
            f"{device} has no latency to select by: its processor is emulated. Select on the board "
            "itself (--device ssh://...)."
        )


def _make_all(request: Request, report: Progress) -> Iterator[Made]:
    variants = tuple(product(request.formats, request.precisions))
    total = len(request.models) * len(variants)
    for index, model in enumerate(request.models):
        wanted = [pair for pair in variants if request.wants(model, *pair)]
        report(f"loading {model}", index * len(variants), total)
        try:
            source = _source(request, model)
        except WeightsError as error:
            lacking = str(error)
            yield from (Made(Row(model, f, p, None, None, problem=lacking)) for f, p in wanted)
            continue
        for number, (format_name, precision) in enumerate(wanted):
            done = index * len(variants) + number
            report(f"{source.name} {format_name} {precision}", done, total)
            yield _make(request, source, format_name, precision)


def _source(request: Request, model: str) -> Source:
    """Load a model with its weights; where it has none here, with random ones for its latency.

    Raises:
        WeightsError: it has no weights here, and no accuracy was published either.
    """
    try:
        return sources.resolve(model, request.weights)
    except WeightsError:
        if request.weights != "auto":
            raise
        source = sources.resolve(model, RANDOM)
        if _published(source) is None:
            raise
        return source


def _make(request: Request, source: Source, format_name: str, precision: str) -> Made:
    """Export one file, or take the one that an earlier selection made of the same things."""
    trained = source.provenance.kind != RANDOM
    row = _with_published(
        Row(source.name, format_name, precision, None, None, weights=str(source.provenance)),
        source,
    )
    try:
        artifact = _exported(request, source, format_name, precision)
    except _REJECTS as error:
        return Made(replace(row, problem=f"export failed: {_one_line(error)}"))
    row = replace(row, artifact=str(artifact.path))
    parity = artifact.required_contract().parity
    if parity is not None and not parity.passed:
        row = replace(row, problem=f"parity failed: {parity.reason}")
    return Made(row, artifact, trained)


def _exported(request: Request, source: Source, format_name: str, precision: str) -> Artifact:
    path = _artifact_path(request, source, format_name, precision)
    if path.is_file():
        try:
            return Artifact.load(path)
        except ArtifactError:
            # Damaged since: it is made again.
            path.unlink()
    recipe = Recipe.parse(precision)
    labels = images.imagenet_labels() if source.num_classes == images.IMAGENET_CLASSES else ()
    return export.export(
        source,
        format_name,
        recipe,
        path,
        calibration_folder=request.data,
        labels=labels,
    )


def _artifact_path(request: Request, source: Source, format_name: str, precision: str) -> Path:
    from edgecnn import formats

    exporter = export.get(format_name)
    calibrated = Recipe.parse(precision).needs_calibration and request.listing
    key = _key(
        source.text,
        source.imgsz,
        str(source.provenance),
        source.provenance.sha256,
        format_name,
        precision,
        request.calibration_sha256 if calibrated else "",
        package_versions(exporter.requires),
        _code_sha256(Path(export.__file__).parent),
    )
    name = f"{_safe(source.name)}-{precision}-{key}{formats.get(format_name).suffix}"
    return request.work / "files" / name


def _code_sha256(folder: Path) -> str:
    """Return a digest of edgecnn's own converters: files that older ones made are not taken."""
    return images.images_sha256(sorted(folder.glob("*.py")))


def _published(source: Source) -> tuple[float, str] | None:
    """Return top-1 and its source, where it belongs to these weights or to this network's own."""
    own_weights = source.provenance.kind != "file"
    return source.spec.accuracy if source.spec is not None and own_weights else None


def _with_published(row: Row, source: Source) -> Row:
    published = _published(source)
    if published is None:
        return row
    kind: Top1Kind = "published" if row.precision == "fp32" else "published fp32"
    return replace(row, top1=published[0], top1_kind=kind, top1_source=published[1])


def _measured(
    request: Request, host: Host, made: Sequence[Made], report: Progress
) -> Iterator[Row]:
    """Yield the rows of all candidates, with latencies."""
    formats = sorted({one.row.format for one in made if one.artifact is not None})
    available = {name: _available(request, host, name) for name in formats}
    candidates = {id(one): _candidates(request, one, available) for one in made}
    wanted = [candidate for found in candidates.values() for candidate in found]
    profiles, problems = _profiles(request, host, wanted, report)
    for one in made:
        for candidate in candidates[id(one)]:
            key = candidate.key
            yield _timed_row(request, one.row, candidate, profiles.get(key), problems.get(key))
        if not candidates[id(one)]:
            problem = one.row.problem or f"no runtime here or asked for opens {one.row.format}"
            yield replace(one.row, problem=problem)


def _available(request: Request, host: Host, format_name: str) -> list[str]:
    """Return the runtimes that can time a format on the device."""
    found = ask_once(host, "availability", device=str(request.device.there), format=format_name)
    return [name for name, problem in found.items() if not problem and runtimes.get(name).timed]


def _profiles(
    request: Request, host: Host, wanted: Sequence[Candidate], report: Progress
) -> tuple[dict[MeasuredKey, Profile], dict[MeasuredKey, str]]:
    """Measure in groups what no earlier selection has measured; each profile is saved at once."""
    now = {name: _environment(host, name) for name in sorted({c.runtime for c in wanted})}
    earlier = {c.key: _earlier(request, c, now[c.runtime]) for c in wanted}
    profiles = {key: profile for key, profile in earlier.items() if profile is not None}
    pending = [candidate for candidate in wanted if candidate.key not in profiles]
    problems: dict[MeasuredKey, str] = {}
    for start in range(0, len(pending), GROUP):
        group = pending[start : start + GROUP]
        report(f"measuring {', '.join(sorted({c.runtime for c in group}))}", start, len(pending))
        comparison = measure.interleave(group, request.plan, host=host)
        for profile in comparison.profiles:
            profile.save(_profile_path(request, profile.key))
            profiles[profile.key] = profile
        problems |= {
            f.candidate.key: f"not measured: {_one_line(f.error)}" for f in comparison.failures
        }
        if comparison.interrupted:
            raise KeyboardInterrupt
    return profiles, problems


def _environment(host: Host, runtime: str) -> Environment:
    return Environment.from_dict(ask_once(host, "environment", runtime=runtime))


def _candidates(
    request: Request, made: Made, available: Mapping[str, list[str]]
) -> list[Candidate]:
    artifact = made.artifact
    if artifact is None or made.row.problem is not None:
        return []
    reading = runtimes.reading(artifact.format)
    names = [name for name in request.runtimes if name in reading] or (
        [] if request.runtimes else available[artifact.format]
    )
    return [
        Candidate(artifact, name, request.device, threads)
        for name, threads in product(names, request.threads)
        if request.times(made.row, name, threads)
    ]


def _earlier(request: Request, candidate: Candidate, now: Environment) -> Profile | None:
    """Return today's complete profile of the candidate on this machine, if there is one."""
    path = _profile_path(request, candidate.key)
    if request.fresh or not path.is_file():
        return None
    try:
        profile = Profile.load(path)
    except DataError:
        # Damaged, or of another version: it is measured again.
        return None
    same = profile.environment.fingerprint == now.fingerprint
    today = profile.measured_at[:10] == datetime.now(UTC).date().isoformat()
    return profile if same and today and profile.complete else None


def _profile_path(request: Request, key: MeasuredKey) -> Path:
    sha256, runtime, device, threads = key
    return request.work / "profiles" / f"{sha256[:16]}-{runtime}-{_safe(device)}-t{threads}.json"


def _timed_row(
    request: Request,
    row: Row,
    candidate: Candidate,
    profile: Profile | None,
    problem: str | None,
) -> Row:
    row = replace(row, runtime=candidate.runtime, threads=candidate.threads, problem=problem)
    known = {one.place: one.latency_ms for one in request.finalists}
    row = replace(row, predicted_ms=known.get(row.place))
    if profile is None:
        return row
    latency = profile.latency
    return replace(
        row,
        latency_ms=latency.p95,
        latency_kind="measured",
        p50_ms=latency.p50,
        peak_rss_bytes=profile.peak_rss_bytes,
    )


def _with_accuracy(
    request: Request, host: Host, made: Sequence[Made], rows: Sequence[Row], report: Progress
) -> tuple[Row, ...]:
    """Measure the accuracy of trained files on the photographs, once per file and runtime.

    Where all photographs went into calibration, none is left to measure on: published accuracy,
    marked as such, stays.
    """
    if request.data is None:
        return tuple(rows)
    artifacts = {str(m.artifact.path): m.artifact for m in made if m.artifact and m.trained}
    left_out = calibration_images(request.listing, tuple(artifacts.values()))
    if len(left_out) == len(request.listing):
        return tuple(rows)
    found: dict[tuple[str | None, str | None], Evaluation] = {}
    for row in rows:
        artifact = artifacts.get(row.artifact or "")
        key = (row.artifact, row.runtime)
        if artifact is not None and row.latency_ms is not None and key not in found:
            found[key] = _evaluated(request, host, artifact, row.runtime, left_out, report)
    return tuple(_accurate_row(row, found.get((row.artifact, row.runtime))) for row in rows)


def _evaluated(
    request: Request,
    host: Host,
    artifact: Artifact,
    runtime: str | None,
    left_out: Sequence[Path],
    report: Progress,
) -> Evaluation:
    if request.data is None:
        raise UsageError("accuracy is measured on photographs; pass --data.")
    used = [path for path in request.listing if path not in set(left_out)]
    listing = [(str(path.relative_to(request.data)), path.stat().st_size) for path in used]
    key = _key(artifact.sha256, runtime, str(request.device), listing, request.limit)
    path = request.work / "accuracy" / f"{artifact.sha256[:16]}-{runtime}-{key}.json"
    if path.is_file():
        try:
            return Evaluation.load(path)
        except DataError:
            # Damaged, or of another version: it is measured again.
            path.unlink()
    result = evaluate(
        artifact,
        request.data,
        runtime=runtime,
        device=request.device,
        host=host,
        threads=max(request.threads),
        labels_file=request.labels_file,
        limit=request.limit,
        exclude=left_out,
        progress=lambda what, done, total: report(f"{what} {artifact.path.name}", done, total),
    )
    if result.stopped is not None:
        raise UnavailableError(f"accuracy of {artifact.path.name}: {result.stopped}")
    result.save(path)
    return result


def _accurate_row(row: Row, evaluation: Evaluation | None) -> Row:
    if evaluation is None or evaluation.top1 is None:
        return row
    return replace(
        row,
        top1=evaluation.top1,
        top1_kind="measured",
        top1_ci95=evaluation.top1_ci95,
        top1_source=f"{evaluation.images} photographs of {Path(evaluation.data).name}, "
        f"{evaluation.runtime}",
    )


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _key(*parts: object) -> str:
    """Return 12 hex digits that depend on all ``parts``, and on the edgecnn version."""
    text = json.dumps([edgecnn.__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.," else "_" for c in name)


def _silent(what: str, done: int, total: int) -> None:
    return
