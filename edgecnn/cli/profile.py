"""``edgecnn profile``: the latency of a file, measured here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecnn.cli._options import (
    artifact_argument,
    devices_option,
    runtime_option,
    threads_option,
)
from edgecnn.cli._output import common_options, print_json, progress
from edgecnn.cli._profile import document, print_outcomes

if TYPE_CHECKING:
    from edgecnn.fleet import Outcome


@click.command(short_help="Latency, measured on this machine or on boards.")
@artifact_argument
@devices_option
@runtime_option
@threads_option
@click.option("--per-layer", is_flag=True, help="Times of the executed nodes, where known.")
@click.option("--sustained", type=float, metavar="SECONDS", help="Run back to back for so long.")
@click.option("--pin", metavar="big|little|CPUS", help="Processors to run on, e.g. big or 4-7.")
@click.option("--governor", metavar="NAME", help="Frequency governor to set meanwhile.")
@click.option(
    "--energy",
    "energy_s",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Read a power meter for so long, where there is one; 0 does not.",
)
@click.option("--target-ms", type=float, help="Fail where the 95th percentile is above this.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="At least.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="At least.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Save every sample as JSON."
)
@common_options
def command(
    artifact: Path,
    device: tuple[str, ...],
    runtime: str,
    threads: int,
    per_layer: bool,
    sustained: float | None,
    pin: str | None,
    governor: str | None,
    energy_s: float,
    target_ms: float | None,
    runs: int,
    seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure the latency of ARTIFACT in a process of its own.

    `--runtime auto` measures every installed runtime that opens the file, in turns, and ranks
    them. Every sample is kept. Nothing here is predicted. The file's golden sample is run first: a
    machine that computes something else is not timed.
    """
    from edgecnn import devices, fleet
    from edgecnn.artifact import Artifact
    from edgecnn.comparison import Plan
    from edgecnn.profile import Target

    plan = Plan(
        min_runs=runs,
        min_seconds=seconds,
        per_layer=per_layer,
        sustained_s=sustained,
        pin=pin,
        energy_s=energy_s or None,
        target=Target(p95_ms=target_ms),
    )
    request = fleet.Request(Artifact.load(artifact), runtime, threads, plan, governor)
    where = [devices.parse(text) for text in device]
    with progress() as report:
        outcomes = fleet.profile(request, where, report)
    if output is not None:
        _save(outcomes, output)
    if as_json:
        print_json(document(outcomes))
    else:
        print_outcomes(outcomes)
    _judge(outcomes)


def _save(outcomes: "Sequence[Outcome]", output: Path) -> None:
    from edgecnn.errors import UsageError

    best = [profile for outcome in outcomes for profile in outcome.ranked()[:1]]
    if len(best) != 1:
        raise UsageError(f"--output takes the profile of one device; {len(best)} were measured.")
    best[0].save(output)


def _judge(outcomes: "Sequence[Outcome]") -> None:
    """End with the gravest verdict: interrupted, missed, unavailable."""
    from edgecnn.errors import VerdictError

    if any(outcome.interrupted for outcome in outcomes):
        raise KeyboardInterrupt
    verdicts = [reason for outcome in outcomes if (reason := outcome.missed()) is not None]
    if verdicts:
        raise VerdictError("; ".join(verdicts))
    problems = [problem for outcome in outcomes if (problem := outcome.problem()) is not None]
    if problems:
        raise problems[0]
