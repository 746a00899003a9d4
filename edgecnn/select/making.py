"""Making the files of a selection, each with why there is none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from edgecnn import export, formats, images, sources
from edgecnn.artifact import Artifact
from edgecnn.choice import Row, Top1Kind
from edgecnn.contract import Recipe
from edgecnn.environment import package_versions
from edgecnn.errors import (
    ArtifactError,
    DataError,
    ExportError,
    UnavailableError,
    UsageError,
    WeightsError,
    one_line,
)
from edgecnn.select.kept import key_of, safe_name
from edgecnn.select.request import Progress, Request
from edgecnn.sources import Source

RANDOM = "random"
_REJECTS = (ExportError, UnavailableError, UsageError, DataError)
"""What goes wrong with one candidate and not with the selection."""


@dataclass(frozen=True)
class Made:
    """A file that was made for the selection, or why there is none."""

    row: Row
    artifact: Artifact | None = None
    trained: bool = False


def make_all(request: Request, report: Progress) -> Iterator[Made]:
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
        return Made(replace(row, problem=f"export failed: {one_line(error)}"))
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

    exporter = export.get(format_name)
    calibrated = Recipe.parse(precision).needs_calibration and request.listing
    key = key_of(
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
    name = f"{safe_name(source.name)}-{precision}-{key}{formats.get(format_name).suffix}"
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
