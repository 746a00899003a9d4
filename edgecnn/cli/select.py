"""``edgecnn select``: the most accurate candidate that meets a deadline."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli._options import data_option, device_option, labels_option, weights_option
from edgecnn.cli._output import common_options, print_json, print_table, progress

if TYPE_CHECKING:
    from edgecnn.choice import Choice, Row

NEEDS = ("export",)
REASON_WIDTH = 90
DEFAULT_FAMILIES = ("efficientnet_lite", "mobilenet_v2", "mobilenet_v3")


@click.command(short_help="The most accurate candidate that meets a deadline.")
@click.argument("models", nargs=-1, metavar="[MODEL ...]")
@click.option("--target-ms", type=float, required=True, help="Limit of the 95th percentile.")
@click.option("--min-top1", type=float, help="Refuse what is less accurate (%).")
@click.option("--format", "formats", multiple=True, help="Repeatable.  [default: onnx, tflite]")
@click.option("--precision", "precisions", multiple=True, help="Repeatable.  [default: fp32, w8a8]")
@click.option("--runtime", "runtimes", multiple=True, help="Repeatable.  [default: all installed]")
@click.option("--num-threads", "threads", multiple=True, type=int, help="Repeatable.  [default: 1]")
@data_option
@labels_option
@weights_option
@device_option
@click.option("--limit", type=click.IntRange(1), help="Measure accuracy on so many images.")
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgecnn"),
    show_default=True,
    help="Keeps files and measurements; a repeated run goes on from there.",
)
@click.option("--fresh", is_flag=True, help="Measure again what was measured before.")
@common_options
def command(
    models: tuple[str, ...],
    target_ms: float,
    min_top1: float | None,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    runtimes: tuple[str, ...],
    threads: tuple[int, ...],
    data: Path | None,
    labels: Path | None,
    weights: str,
    device: str,
    limit: int | None,
    workdir: Path,
    fresh: bool,
    as_json: bool,
) -> None:
    """Choose among MODEL x precision x runtime x threads under a deadline.

    Without MODEL the small families of the zoo take part. Latency is measured here. Accuracy is
    measured on the photographs of --data where trained weights are at hand; otherwise it is a
    published figure, marked as such with its source. Exits with 4 where nothing meets the target.
    """
    from edgecnn import devices
    from edgecnn.profile import Target
    from edgecnn.select import Request, select

    request = Request(
        models=models or _default_models(),
        target=Target(p95_ms=target_ms, min_top1=min_top1),
        work=workdir,
        device=devices.parse(device),
        formats=formats or ("onnx", "tflite"),
        precisions=precisions or _default_precisions(data),
        runtimes=runtimes,
        threads=threads or (1,),
        data=data,
        labels_file=labels,
        weights=weights,
        limit=limit,
        fresh=fresh,
    )
    with progress() as report:
        choice = select(request, report)
    if as_json:
        print_json(choice.to_dict())
    else:
        _print(choice)
    _judge(choice)


def _default_models() -> tuple[str, ...]:
    from edgecnn import families

    zoo = families.all().values()
    return tuple(spec.name for spec in zoo if spec.family in DEFAULT_FAMILIES)


def _default_precisions(data: Path | None) -> tuple[str, ...]:
    if data is not None:
        return ("fp32", "w8a8")
    click.echo("without --data there is no w8a8: it is calibrated on photographs", err=True)
    return ("fp32", "w8a32")


def _print(choice: "Choice") -> None:
    rows = sorted(choice.candidates, key=lambda row: (row.latency_ms is None, row.latency_ms or 0))
    sources = list(dict.fromkeys(row.top1_source for row in rows if row.top1_source))
    print_table(
        ["", "model", "file", "runtime", "threads", "p95 (ms)", "top-1 (%)", "source", "why not"],
        [_cells(row, choice, sources) for row in rows],
        title=f"Latency measured here; target p95 {choice.target.p95_ms:g} ms; * = Pareto front",
        text=["", "model", "file", "runtime", "why not"],
    )
    for number, source in enumerate(sources, 1):
        click.echo(f"  {number}  {source}")
    click.echo(_verdict(choice))


def _cells(row: "Row", choice: "Choice", sources: list[str]) -> list[object]:
    kind = {None: "", "measured": "", "published": " pub.", "published fp32": " pub. fp32"}
    top1 = "" if row.top1 is None else f"{row.top1:.1f}{kind[row.top1_kind]}"
    chosen = choice.choice is not None and row.rejected_because is None
    return [
        ("[green]>[/green]" if chosen else " ") + ("*" if row.pareto else ""),
        row.name,
        f"{row.format} {row.precision}",
        row.runtime,
        row.threads,
        None if row.latency_ms is None else f"{row.latency_ms:.2f}",
        top1,
        sources.index(row.top1_source) + 1 if row.top1_source else None,
        "the choice" if chosen else _one_line(row.rejected_because or ""),
    ]


def _one_line(reason: str) -> str:
    """Shorten what a runtime or converter had to say; --json has all of it."""
    line = " ".join(reason.split())
    return line if len(line) <= REASON_WIDTH else f"{line[:REASON_WIDTH]} ... (all of it in --json)"


def _verdict(choice: "Choice") -> str:
    picked = choice.choice or choice.nearest
    if picked is None:
        return "Nothing could be measured."
    accuracy = "unknown accuracy" if picked.top1 is None else f"top-1 {picked.top1:.1f} %"
    kind = f" ({picked.top1_kind})" if picked.top1_kind else ""
    text = f"{picked}: p95 {picked.latency_ms:.2f} ms, {accuracy}{kind}\n  {picked.artifact}"
    return f"\nChoice: {text}" if choice.passed else f"\nNothing meets the target. Nearest: {text}"


def _judge(choice: "Choice") -> None:
    from edgecnn.errors import VerdictError

    if choice.passed:
        return
    nearest = "nothing could be measured"
    if choice.nearest is not None:
        nearest = f"the nearest is {choice.nearest} ({choice.nearest.rejected_because})"
    raise VerdictError(f"no candidate meets the target; {nearest}.")
