"""What `edgecnn search` shows while it runs, and at its end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._output import print_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgecnn.search import Found, Goal, Progress
    from edgecnn.search.finale import Standing

SHOWN_FRONT = 5


@contextmanager
def live(goal: "Goal") -> Iterator[Callable[["Progress"], None]]:
    """Give a function that shows progress on stderr while the block runs.

    On a terminal a small table that is kept up to date; elsewhere a line for each network.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda progress: click.echo(_line(progress), err=True)
        return
    with Live(console=console, transient=True, refresh_per_second=2) as shown:
        yield lambda progress: shown.update(_table(progress, goal))


def _line(progress: "Progress") -> str:
    words = [f"{progress.done} of {progress.networks} networks judged"]
    if progress.best is not None:
        words.append(f"best {_figures(progress.best)}")
        words.append(f"{len(progress.front)} on the front")
    if progress.seconds_left is not None:
        words.append(f"{_time(progress.seconds_left)} left")
    return ", ".join(words)


def _table(progress: "Progress", goal: "Goal") -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    left = "" if progress.seconds_left is None else f", about {_time(progress.seconds_left)} left"
    table.add_row("judged", f"{progress.done} of {progress.networks}, {progress.running} under way"
                  f"{left}")  # fmt: skip
    table.add_row("target", f"{goal.target_ms:g} ms, aim {goal.aim}")
    if progress.best is not None:
        table.add_row("best", f"[bold]{progress.best.spec.name}[/bold]  {_figures(progress.best)}")
    best_first = sorted(progress.front, key=lambda one: -one.top1)
    for number, one in enumerate(best_first[:SHOWN_FRONT]):
        table.add_row("" if number else "front", f"{_figures(one)}  {one.spec.name}")
    if len(best_first) > SHOWN_FRONT:
        table.add_row("", f"and {len(best_first) - SHOWN_FRONT} more")
    return table


def _figures(one: "Found") -> str:
    return f"{one.top1:.1f} % ({one.top1_kind}) at {one.latency_ms:.3g} ms ({one.latency_kind})"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def print_best(goal: "Goal", best: "Sequence[Found]") -> None:
    """Print the best networks of a search."""
    print_table(
        ["network", f"top-1 (%), {goal.accuracy.kind}", f"ms ({goal.latency_kind})", "reward",
         "meets"],
        [
            [one.spec.name, f"{one.top1:.2f}", f"{one.latency_ms:.3g}", f"{one.reward:.2f}",
             "yes" if one.meets(goal.target_ms) else "no"]
            for one in best
        ],
        title=f"Target {goal.target_ms:g} ms, aim {goal.aim}, accuracy {goal.accuracy.identity}",
        text=["network", "meets"],
    )  # fmt: skip


def print_finale(rows: "Sequence[Standing]", target_ms: float, running: str) -> None:
    """Print found and stock networks side by side, the fastest first."""
    measured = any(row.measured_ms is not None for row in rows)
    latency = "ms (measured p50)" if measured else "ms (as searched)"
    shown = sorted(rows, key=lambda row: row.compared_ms)
    print_table(
        ["", "network", "top-1 (%), file", "95 % interval", "top-1 (%), proxy", "ms (searched by)",
         latency, "meets", "notes"],
        [_cells(row, target_ms, measured) for row in shown],
        title=f"As files: {running}; target {target_ms:g} ms; all trained by the same proxy",
        text=["", "network", "meets", "notes"],
    )  # fmt: skip
    tested = next((row for row in rows if row.images), None)
    if tested is not None:
        click.echo(f"  top-1 of the files (measured): {tested.images} of {tested.tested_on}")


def _cells(row: "Standing", target_ms: float, measured: bool) -> list[object]:
    interval = "" if row.top1_ci95 is None else "{:.1f} - {:.1f}".format(*row.top1_ci95)
    known = row.measured_ms is not None or not measured
    return [
        row.origin,
        row.name,
        _number(row.top1, ".2f"),
        interval,
        _number(row.proxy_top1, ".2f"),
        f"{row.latency_ms:.3g} {row.latency_kind}",
        _number(row.compared_ms if known else None, ".3g"),
        "" if not known else "yes" if row.compared_ms <= target_ms else "no",
        row.problem or (f"parity: {row.parity}" if row.parity else ""),
    ]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def told(text: str) -> None:
    """Say on stderr what was decided."""
    click.echo(text, err=True)


def document(rows: "Sequence[Standing]") -> list[dict[str, Any]]:
    """The rows for --json."""
    return [row.to_dict() for row in rows]
