"""What all commands share: ``--json``, ``--debug``, tables on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 160
"""Columns of a table that goes into a file or a pipe, which has no width of its own."""

F = TypeVar("F", bound=Callable[..., Any])
Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much (0: unknown)."""


def common_options(function: F) -> F:
    """Add ``--json``, which the command takes as ``as_json``, and ``--debug``."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else."
    )(function)
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, _, value: ctx.meta.__setitem__("edgecnn.debug", value),
        help="Show a traceback with an error.",
    )(function)


def print_json(document: Any) -> None:
    """Print one JSON document to stdout; one with fields also tells the command that made it."""
    if isinstance(document, dict):
        document = document | {"command": click.get_current_context().meta["edgecnn.command"]}
    click.echo(json.dumps(document, indent=2))


def console() -> "Console":
    """Return the console for results (stdout)."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    text: Iterable[str] = ("name",),
) -> None:
    """Print a table. Columns named in ``text`` are left-aligned, all others right-aligned.

    Only the last column wraps where the terminal is narrow.
    """
    from rich import box
    from rich.table import Table

    left = set(text)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in left else "right",
            overflow="fold",
            no_wrap=column != columns[-1],
        )
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)


@contextmanager
def progress() -> Iterator[Report]:
    """Give a function that shows progress on stderr while the block runs."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield report


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """Give a function that names the stage under way, shown with a spinner on stderr."""
    from rich.console import Console

    errors = Console(stderr=True)
    with errors.status("") as status:

        def stage(what: str) -> None:
            if errors.is_terminal:
                status.update(what)
            else:
                errors.print(f"{what} ...", highlight=False, markup=False)

        yield stage
