"""``edgecnn select``: the most accurate candidate that meets a deadline."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import data_option, device_option, labels_option, weights_option
from edgecnn.cli._output import common_options, print_json, print_table, progress

if TYPE_CHECKING:
    from edgecnn.choice import Choice, Row
    from edgecnn.profile import Target
    from edgecnn.shortlist import Shortlist

NEEDS = ("export",)
REASON_WIDTH = 90
LONGEST = 60
"""Rows; of more candidates only the Pareto front is shown, all of them with --json."""
DEFAULT_FAMILIES = ("efficientnet_lite", "mobilenet_v2", "mobilenet_v3")


@click.command(short_help="The most accurate candidate that meets a deadline.")
@click.argument("models", nargs=-1, metavar="[MODEL ...]")
@click.option("--target-ms", type=float, required=True, help="Limit of the 95th percentile.")
@click.option(
    "--table",
    "tables",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Predict with it first (`edgecnn calibrate`); one for each runtime and precision.",
)
@click.option("--width", "widths", multiple=True, type=float, help="Repeatable; with --table.")
@click.option("--imgsz", "sizes", multiple=True, type=int, help="Repeatable; with --table.")
@click.option(
    "--finalists",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Measure so many of those that tables predict; 0: none.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Pareto plot, .png or .svg."
)
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
    tables: tuple[Path, ...],
    widths: tuple[float, ...],
    sizes: tuple[int, ...],
    finalists: int,
    plot: Path | None,
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

    With --table the latency of every model, in every --width and --imgsz, is predicted first, the
    whole zoo where no MODEL is named; then the most promising are measured, and how far the
    predictions were off is shown. --finalists 0 leaves it at predictions.
    """
    from edgecnn import devices
    from edgecnn.profile import Target

    target = Target(p95_ms=target_ms, min_top1=min_top1)
    if plot is not None:
        from edgecnn.report import plots

        plots.check(plot)
    if (widths or sizes) and not tables:
        raise click.UsageError("--width and --imgsz need --table: what they make is predicted.")
    common: dict[str, Any] = {
        "target": target,
        "work": workdir,
        "device": devices.parse(device),
        "data": data,
        "labels_file": labels,
        "weights": weights,
        "limit": limit,
        "fresh": fresh,
    }
    found = _predicted(models, tables, widths, sizes, target, finalists) if tables else None
    if found is None:
        choice = _measured(
            models=models or _default_models(),
            formats=formats or ("onnx", "tflite"),
            precisions=precisions or _default_precisions(data),
            runtimes=runtimes,
            threads=threads or (1,),
            **common,
        )
    else:
        choice = _finals(found, common) if finalists and found.finalists else found.choice
    if plot is not None:
        plots.pareto(choice.candidates, target_ms, plot)
    if as_json:
        print_json(choice.to_dict() | _document(found))
    else:
        _print(choice, found)
    _judge(choice)


def _predicted(
    models: tuple[str, ...],
    tables: tuple[Path, ...],
    widths: tuple[float, ...],
    sizes: tuple[int, ...],
    target: "Target",
    finalists: int,
) -> "Shortlist":
    from edgecnn import families, latency
    from edgecnn.shortlist import Grid, shortlist

    names = models or tuple(spec.name for spec in families.mobile())
    grid = Grid(names, widths or (1.0,), sizes)
    predictors = [latency.load(table) for table in tables]
    return shortlist(grid, predictors, target, finalists)


def _measured(**request: Any) -> "Choice":
    from edgecnn.select import Request, select

    with progress() as report:
        return select(Request(**request), report)


def _finals(found: "Shortlist", common: dict[str, Any]) -> "Choice":
    from edgecnn.select import Request, select

    with progress() as report:
        request = Request.of_finalists(found.finalists, tables=found.tables, **common)
        return select(request, report)


def _document(found: "Shortlist | None") -> dict[str, Any]:
    return {} if found is None else {"predicted": found.choice.to_dict()}


def _default_models() -> tuple[str, ...]:
    from edgecnn import families

    zoo = families.all().values()
    return tuple(spec.name for spec in zoo if spec.family in DEFAULT_FAMILIES)


def _default_precisions(data: Path | None) -> tuple[str, ...]:
    if data is not None:
        return ("fp32", "w8a8")
    click.echo("without --data there is no w8a8: it is calibrated on photographs", err=True)
    return ("fp32", "w8a32")


def _print(choice: "Choice", found: "Shortlist | None") -> None:
    if found is not None:
        known = [row for row in found.choice.candidates if row.latency_ms is not None]
        missing = len(found.choice.candidates) - len(known)
        click.echo(
            f"{len(known)} candidates predicted"
            + (f", {missing} outside the tables" if missing else "")
        )
    rows = sorted(choice.candidates, key=lambda row: (row.latency_ms is None, row.latency_ms or 0))
    if len(rows) > LONGEST:
        rows = [row for row in rows if row.pareto or row.rejected_because is None]
    sources = list(dict.fromkeys(row.top1_source for row in rows if row.top1_source))
    kind = rows[0].latency_kind if rows else "measured"
    statistic = "p95" if kind == "measured" else "median"
    columns = ["", "model", "file", "runtime", "threads", f"{statistic} (ms)", "predicted (ms)",
               "top-1 (%)", "source", "why not"]  # fmt: skip
    print_table(
        columns,
        [_cells(row, choice, sources) for row in rows],
        title=f"Latency {kind}; target {choice.target.p95_ms:g} ms; * = Pareto front",
        text=["", "model", "file", "runtime", "why not"],
    )
    for number, source in enumerate(sources, 1):
        click.echo(f"  {number}  {source}")
    for note in choice.notes:
        click.echo(f"  {note}")
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
        _prediction(row),
        top1,
        sources.index(row.top1_source) + 1 if row.top1_source else None,
        "the choice" if chosen else _one_line(row.rejected_because or ""),
    ]


def _prediction(row: "Row") -> str:
    """The interval of a prediction, or how far one was off the median that was then measured."""
    if row.interval_ms is not None:
        return f"{row.interval_ms[0]:.2f} to {row.interval_ms[1]:.2f}"
    if row.predicted_ms is None or row.p50_ms is None:
        return ""
    return f"{row.predicted_ms:.2f} ({row.predicted_ms / row.p50_ms - 1:+.1%})"


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
    if picked.latency_kind == "measured":
        latency = f"p95 {picked.latency_ms:.2f} ms"
    else:
        latency = f"{picked.latency_ms:.2f} ms in the median ({picked.latency_kind})"
    text = f"{picked}: {latency}, {accuracy}{kind}"
    if picked.artifact:
        text += f"\n  {picked.artifact}"
    return f"\nChoice: {text}" if choice.passed else f"\nNothing meets the target. Nearest: {text}"


def _judge(choice: "Choice") -> None:
    from edgecnn.errors import VerdictError

    if choice.passed:
        return
    nearest = "nothing could be measured"
    if choice.nearest is not None:
        nearest = f"the nearest is {choice.nearest} ({choice.nearest.rejected_because})"
    raise VerdictError(f"no candidate meets the target; {nearest}.")
