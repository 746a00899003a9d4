"""What ``edgecnn stream`` shows in a terminal."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._output import console

if TYPE_CHECKING:
    from edgecnn.stream.frame import Event
    from edgecnn.stream.result import Result, Summary
    from edgecnn.stream.sinks import About, Sink

PERIOD_S = 0.1
BAR = 40
LINES = 5


def view(*, every_frame: bool) -> "Sink":
    """Return the sink that shows results: a live table, a bar, or in a pipe plain lines."""
    if not sys.stderr.isatty():
        return Lines()
    return Bar() if every_frame else Live()


class Lines:
    """Events only, one a line, as a log wants them."""

    name = "terminal"
    newest_only = True
    essential = False

    def open(self, about: "About") -> None:
        """Nothing is to be opened."""

    def result(self, result: "Result") -> None:
        """Results are for --json and --to."""

    def event(self, event: "Event") -> None:
        """Print it."""
        click.echo(f"{event.kind}: {event.text}", err=True)

    def close(self, summary: "Summary") -> None:
        """Nothing is open."""


class Live(Lines):
    """A table that is drawn anew in its place."""

    def __init__(self) -> None:
        self._live: Any = None
        self._about: About | None = None
        self._drawn_s = 0.0

    def open(self, about: "About") -> None:
        """Begin to draw."""
        from rich.console import Console
        from rich.live import Live as RichLive

        self._about = about
        self._live = RichLive(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._live.start()

    def result(self, result: "Result") -> None:
        """Draw it, where the last is old enough for an eye."""
        if monotonic() - self._drawn_s < PERIOD_S or self._about is None:
            return
        self._drawn_s = monotonic()
        self._live.update(_table(self._about, result), refresh=True)

    def event(self, event: "Event") -> None:
        """Print it above the table."""
        self._live.console.print(f"{event.kind}: {event.text}", highlight=False, markup=False)

    def close(self, summary: "Summary") -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()


class Bar(Lines):
    """How much of a file is done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def open(self, about: "About") -> None:
        """Begin to draw."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=about.frames)
        self._bar.start()

    def result(self, result: "Result") -> None:
        """Move on."""
        self._bar.update(self._task, completed=result.frame + 1)

    def close(self, summary: "Summary") -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _table(about: "About", result: "Result") -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = about.source, "left"
    state, health = about.state(), about.health()
    for one in result.top:
        table.add_row(f"{one.score:6.1%}", one.label)
    table.add_row("", "")
    age = f"{result.frame_age_ms:.1f} ms, p95 {state['age_ms']['p95']:.1f} ms"
    if about.budget_ms is not None:
        kept = "[green]kept[/green]" if state["passed"] else "[red]broken[/red]"
        age += f"; budget {about.budget_ms:g} ms {kept}, {state['late']} late"
    rows = {"frame age": age, "work": f"{result.latency_ms:.1f} ms ({result.model})",
            "results": f"{state['frames']}, dropped {state['dropped']}, source "
            f"{state['fps'] or 0:.1f} frames/s"}  # fmt: skip
    if health["temperature_c"] is not None:
        rows["board"] = f"{health['temperature_c']:.0f} degrees, {health['clock_mhz'] or 0:.0f} MHz"
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def print_summary(summary: "Summary") -> None:
    """Print how it went, with a histogram of frame ages."""
    out = console()
    out.print(f"{summary.source}: {summary.ended}", markup=False)
    out.print(
        f"{summary.frames} results in {summary.seconds:.1f} s ({summary.rate:.1f} a second), "
        f"{summary.dropped} frames dropped, {summary.repeated} repeated"
    )
    if not summary.frames:
        return
    for name, ms in (("frame age", summary.age_ms), ("network", summary.infer_ms)):
        out.print(f"{name:10}" + "  ".join(f"{key} {ms[key]:.1f}" for key in
                                           ("p50", "p95", "p99", "max")) + " ms")  # fmt: skip
    most = max(count for _, _, count in summary.ages)
    for low, high, count in summary.ages:
        out.print(f"{low:9.1f} to {high:7.1f} ms {'#' * round(BAR * count / most):{BAR}} {count}")
    if len(summary.models) > 1:
        out.print("by network: " + ", ".join(f"{n} {c}" for n, c in summary.models.items()))
    if summary.passed is not None:
        verdict = "[green]kept[/green]" if summary.passed else "[red]broken[/red]"
        share = summary.late / summary.frames
        out.print(f"budget {summary.budget_ms:g} ms for {summary.percentile:g} % of the frames: "
                  f"{verdict}, {share:.1%} late")  # fmt: skip
