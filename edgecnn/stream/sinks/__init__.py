"""Where results go: one file per kind of sink, found by its file name.

A sink runs in a thread of its own (`edgecnn.stream.outlet`); however slow it is, the loop does not
wait for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from edgecnn import discovery
from edgecnn.errors import UsageError
from edgecnn.stream.frame import Event
from edgecnn.stream.result import Result, Summary

Existing = Literal["refuse", "replace", "append"]


@dataclass(frozen=True)
class About:
    """What a sink may want to know of a stream.

    ``state`` gives the counts so far, ``health`` the machine's state, ``problem`` what is wrong
    with the source; all from any thread.
    """

    source: str
    fps: float | None
    frames: int | None
    models: tuple[str, ...]
    budget_ms: float | None
    percentile: float | None
    state: Callable[[], Mapping[str, Any]]
    health: Callable[[], Mapping[str, Any]]
    problem: Callable[[], str | None]


class Sink(Protocol):
    """Takes results and events, one at a time."""

    name: str
    """What it is, for messages, without passwords."""
    newest_only: bool
    """Whether it wants the newest result only, and not every one."""
    essential: bool
    """Whether the stream ends where it fails."""

    def open(self, about: About) -> None:
        """Begin.

        Raises:
            EdgecnnError, OSError: it cannot.
        """

    def result(self, result: Result) -> None:
        """Take a result. Raises OSError or EdgecnnError where it can take no more."""

    def event(self, event: Event) -> None:
        """Take an event; raises as `result` does."""

    def close(self, summary: Summary) -> None:
        """End; also called after a failure."""


class Kind(Protocol):
    """What a module in this folder provides."""

    syntax: str
    """What a user writes, for help and messages."""

    def matches(self, text: str) -> bool:
        """Whether the text of ``--to`` names a sink of this kind."""

    def make(self, text: str, existing: Existing) -> Sink:
        """Make the sink; nothing is opened yet.

        Raises:
            UsageError: the text is wrong, or names a file that exists and may not be touched.
            UnavailableError: a package is missing.
        """


def kinds() -> tuple[Kind, ...]:
    """Return all kinds."""
    names = discovery.names(__name__)
    return tuple(cast(Kind, discovery.load(__name__, name)) for name in names)


def make(text: str, existing: Existing = "refuse") -> Sink:
    """Make the sink that a text names; ``existing`` is what to do with a file that is there.

    Raises:
        UsageError, UnavailableError: see `Kind.make`; also where there is no such kind.
    """
    for kind in kinds():
        if kind.matches(text):
            return kind.make(text, existing)
    allowed = "; ".join(kind.syntax for kind in kinds())
    raise UsageError(f"no sink {text!r}; allowed: {allowed}.")
