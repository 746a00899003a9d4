"""``edgecnn calibrate``: a latency table of a device."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli._options import device_option, force_option, threads_option
from edgecnn.cli._output import common_options, print_json, print_table, progress

if TYPE_CHECKING:
    from edgecnn.latency import Errors, Table
    from edgecnn.latency.calibrate import Request

NEEDS = ("calibrate",)


@click.command(short_help="A latency table of a device, to predict and select with.")
@device_option
@click.option("--runtime", metavar="NAME", help="ort or litert.")
@click.option("--precision", metavar="fp32|w8a8", help="[default: fp32]")
@threads_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The table.  [default: DEVICE-RUNTIME-PRECISION-tN.json]",
)
@click.option("--minutes", type=float, default=20.0, show_default=True, help="Measure so long.")
@click.option(
    "--target-error",
    type=float,
    default=0.0,
    help="Stop when the median error on held-out networks is below (%).",
)
@click.option(
    "--start-from",
    "start",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="A measured table of the runtime and precision, with other threads or of another device, "
    "to learn the difference to.",
)
@click.option(
    "--check-rounds",
    type=int,
    default=0,
    show_default=True,
    help="Afterwards, measure the zoo's networks until each was measured so often.",
)
@click.option(
    "--from-published",
    "published",
    metavar="BOARD",
    help="No measuring: fit what others published, such as rpi4b-ncnn.",
)
@force_option
@common_options
def command(
    device: str,
    runtime: str | None,
    precision: str | None,
    threads: int,
    output: Path | None,
    minutes: float,
    target_error: float,
    start: Path | None,
    check_rounds: int,
    published: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Measure designed networks on a device and fit a table that predicts the latency of others.

    An interrupted calibration goes on where it was when the same command is given again. The
    networks are made for the purpose; those of the zoo are measured in between and never fitted,
    so that the error on them is that of networks which the table has not seen. What that error has
    of the noise of measuring, --check-rounds takes off: it is then of medians.
    """
    from edgecnn import devices, latency
    from edgecnn.files import refuse_existing
    from edgecnn.latency.calibrate import Request

    if published is not None and (start is not None or check_rounds):
        raise click.UsageError(
            "--start-from and --check-rounds are for what is measured; leave out --from-published."
        )
    if published is not None:
        where = output or Path(f"{published}-t{threads}.json")
        refuse_existing(where, force)
        table = _published(published, threads, precision, where)
    elif runtime is None:
        raise click.UsageError("--runtime is missing: a table is of one, such as ort or litert.")
    else:
        precision = precision or "fp32"
        where = output or Path(_default_name(device, runtime, precision, threads))
        refuse_existing(where, force)
        request = Request(
            runtime,
            precision,
            threads,
            devices.parse(device),
            minutes,
            target_error / 100,
            start=None if start is None else latency.load(start).table,
            check_rounds=check_rounds,
        )
        table = _measured(request, where)
    if as_json:
        print_json(_document(table, where))
    else:
        _print(table, where)


def _default_name(device: str, runtime: str, precision: str, threads: int) -> str:
    place = "".join(c if c.isalnum() else "-" for c in device).strip("-")
    return f"{place}-{runtime}-{precision}-t{threads}.json"


def _published(name: str, threads: int, precision: str | None, output: Path) -> "Table":
    from edgecnn.latency.published_table import published_table

    table = published_table(name, threads, precision)
    table.save(output)
    return table


def _measured(request: "Request", output: Path) -> "Table":
    """Calibrate; what is measured stays in a file beside the table until that is written."""
    from edgecnn.latency.calibrate import calibrate

    journal = output.with_name(output.name + ".samples")
    with progress() as report:
        table = calibrate(request, journal, report)
    table.save(output)
    journal.unlink()
    return table


def _document(table: "Table", output: Path) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "table": str(output),
        "source": table.source,
        "device": table.device,
        "runtime": table.runtime,
        "runtime_version": table.runtime_version,
        "precision": table.precision,
        "threads": table.threads,
        "samples": len(table.samples),
        "errors": asdict(table.errors),
        "notes": list(table.notes),
    }


def _print(table: "Table", output: Path) -> None:
    names = {
        "measured": ("designed networks, held out", "the zoo's networks, never fitted"),
        "published": ("left out on this board", "left out on all boards, as new ones are"),
    }[table.source]
    rows = [_errors(names[0], table.errors.designed)]
    if table.errors.networks is not None:
        rows.append(_errors(names[1], table.errors.networks))
    print_table(
        ["errors of prediction", "networks", "median", "within 5 %", "within 10 %", "bias"],
        rows,
        title=str(table)
        if table.source == "published"
        else f"{table}: {len(table.samples)} samples",
        text=["errors of prediction"],
    )
    if table.source == "published":
        _print_left_out(table)
    else:
        _print_kinds(table)
    for note in table.notes:
        click.echo(f"  {note}")
    click.echo(str(output))


def _print_left_out(table: "Table") -> None:
    print_table(
        ["network", "published (ms)", "predicted without it (ms)", "error"],
        [
            [one.name, f"{one.measured_ms:.2f}", f"{one.predicted_ms:.2f}",
             f"{one.predicted_ms / one.measured_ms - 1:+.1%}"]
            for one in table.errors.checks
        ],
        title="Each network left out on all boards",
        text=["network"],
    )  # fmt: skip


def _print_kinds(table: "Table") -> None:
    print_table(
        ["operator", "share of time", "error"],
        [
            [one.kind, f"{one.share:.1%}", f"{one.error:.1%}"]
            for one in sorted(table.errors.kinds, key=lambda one: -one.share)
        ],
        title="Held-out error of networks, weighted by the share of an operator in them",
        text=["operator"],
    )


def _errors(of: str, errors: "Errors") -> list[object]:
    shares = (errors.median, errors.within_5, errors.within_10)
    return [of, errors.networks, *(f"{share:.1%}" for share in shares), f"{errors.bias:+.1%}"]
