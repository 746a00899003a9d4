"""``edgecnn report``: one page of a decision."""

from pathlib import Path

import click

from edgecnn.cli._options import force_option
from edgecnn.cli._output import common_options, console, print_json


@click.command(short_help="One page of a decision, to look at.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@force_option
@common_options
def command(runs: tuple[Path, ...], output: Path, force: bool, as_json: bool) -> None:
    """Make one page of RUNs: JSON documents that edgecnn wrote with --json or --output.

    Choices, measurements, evaluations, exports, predictions, latency tables, searches. Several
    make one page, with equal artifacts side by side. The page needs no network.
    """
    from edgecnn import report

    report.write(runs, output, force)
    if as_json:
        print_json({"report": str(output), "runs": [str(run) for run in runs],
                    "bytes": output.stat().st_size})  # fmt: skip
    else:
        console().print(f"[bold]{output}[/bold]  {output.stat().st_size / 1e3:.0f} kB")
