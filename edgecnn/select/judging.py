"""Measuring the accuracy of a selection's files on photographs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgecnn.accuracy import Evaluation
from edgecnn.artifact import Artifact
from edgecnn.choice import Row
from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.evaluate import calibration_images, evaluate
from edgecnn.host import Host
from edgecnn.select.kept import key_of
from edgecnn.select.making import Made
from edgecnn.select.request import Progress, Request


def with_accuracy(
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
    key = key_of(artifact.sha256, runtime, str(request.device), listing, request.limit)
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
