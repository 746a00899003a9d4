"""``edgecnn evaluate``: the accuracy of a file on photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import (
    artifact_argument,
    contract_options,
    device_option,
    labels_option,
    open_artifact,
    pictures,
    pictures_option,
    threads_option,
)
from edgecnn.cli._output import common_options, console, print_json, progress

if TYPE_CHECKING:
    from edgecnn.accuracy import Evaluation

SHOWN_SKIPS = 10


@click.command(short_help="Accuracy on photographs, and a gate.")
@artifact_argument
@pictures_option("test", required=True)
@click.option(
    "--reference",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file to agree with, usually the fp32 one.",
)
@click.option("--min-top1", type=float, help="Fail where top-1 (%) is below this.")
@click.option("--max-drop", type=float, help="Fail where top-1 drops more points than this.")
@labels_option
@click.option("--limit", type=click.IntRange(1), help="Use so many images, evenly spread.")
@click.option("--runtime", help="The format's own runtime by default.")
@device_option
@threads_option
@contract_options
@common_options
def command(
    artifact: Path,
    data: str,
    reference: Path | None,
    min_top1: float | None,
    max_drop: float | None,
    labels: Path | None,
    limit: int | None,
    runtime: str | None,
    device: str,
    threads: int,
    as_json: bool,
    **preprocessing: Any,
) -> None:
    """Measure the accuracy of ARTIFACT, and its agreement with a reference.

    Photographs that calibrated the files are left out. Those that cannot be decoded are named.
    """
    from edgecnn import devices
    from edgecnn.accuracy import Gate
    from edgecnn.artifact import Artifact
    from edgecnn.evaluate import evaluate

    with progress() as report:
        result = evaluate(
            open_artifact(artifact, **preprocessing),
            pictures(data, "test") or Path(data),
            runtime=runtime,
            device=devices.parse(device),
            threads=threads,
            reference=None if reference is None else Artifact.load(reference),
            gate=Gate(min_top1, max_drop),
            labels_file=labels,
            limit=limit,
            progress=report,
        )
    _warn(result)
    if as_json:
        print_json(result.to_dict())
    else:
        _print(result)
    _judge(result)


def _warn(result: "Evaluation") -> None:
    for skipped in result.skipped[:SHOWN_SKIPS]:
        click.echo(f"skipped: {skipped.reason}", err=True)
    if len(result.skipped) > SHOWN_SKIPS:
        click.echo(f"skipped: {len(result.skipped) - SHOWN_SKIPS} more; see --json", err=True)
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)


def _print(result: "Evaluation") -> None:
    out = console()
    left_out = result.calibration_left_out
    out.print(
        f"[bold]{Path(result.artifact).name}[/bold] on {result.images} images, {result.runtime}"
        + (f" ({left_out} calibration images left out)" if left_out else "")
    )
    if result.top1 is not None and result.top1_ci95 is not None:
        low, high = result.top1_ci95
        out.print(f"  top-1      {result.top1:.2f} %  (95 % interval {low:.2f} to {high:.2f})")
        out.print(f"  top-5      {result.top5:.2f} %")
    if result.reference is not None:
        out.print(f"  reference  {Path(result.reference).name}")
        out.print(f"  agreement  {result.agreement:.2f} % have the same top-1")
    if result.drop is not None and result.drop_ci95 is not None:
        low, high = result.drop_ci95
        out.print(
            f"  drop       {result.drop:.2f} points  (95 % interval {low:.2f} to {high:.2f}; "
            f"{result.lost} lost, {result.gained} gained)"
        )
    if result.passed is not None:
        out.print("  [green]passed[/green]" if result.passed else "  [red]failed[/red]")


def _judge(result: "Evaluation") -> None:
    from edgecnn.errors import UnavailableError, VerdictError

    if result.stopped is not None:
        raise UnavailableError(f"the evaluation is incomplete: {result.stopped}")
    if result.passed is False:
        raise VerdictError("; ".join(result.failures) + ".")
