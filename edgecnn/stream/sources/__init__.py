"""Where frames come from: one file per kind of source, found by its file name.

A kind reads the text of ``--source`` and opens it. Reading never waits for whoever takes the
frames: a live source goes on, and what is not taken is lost, which its frames' numbers tell.
"""

from dataclasses import dataclass
from typing import Protocol, cast

from edgecnn import discovery
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream.frame import Frame

_ORDER = ("stdin", "v4l2", "picamera", "url", "folder", "file")
"""A kind is asked only where those before it have declined: a name without more is a file's."""


class SourceLostError(UnavailableError):
    """A source that was there has gone: the camera was unplugged, the server does not answer."""


@dataclass(frozen=True)
class Wanted:
    """What a source should give, as far as it can be asked.

    ``size`` is width and height, ``needed`` the shorter side that the network uses. Without
    ``pace``, a file is read as fast as it is taken, and nothing of it is dropped.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    needed: int = 224
    pace: bool = True
    timeout_s: float = 5.0


class Source(Protocol):
    """An opened source."""

    name: str
    """What it is, with its format, without passwords."""
    live: bool
    """Whether it goes on when nobody takes its frames, and may come back after it was lost."""
    fps: float | None
    """Frames a second as it states them."""
    frames: int | None
    """How many there are in all, where that is known."""
    clock: str
    """What ``captured_ns`` is: ``capture``, the camera's own time; ``arrival``, when the frame was
    decoded here; ``due``, when a file's frame would have been taken."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end.

        Raises:
            SourceLostError: the source is gone, or has sent nothing for too long.
        """

    def close(self) -> None:
        """Let go of it."""


class Kind(Protocol):
    """What a module in this folder provides."""

    syntax: str
    """What a user writes, for help and messages."""

    def matches(self, text: str) -> bool:
        """Whether the text of ``--source`` names a source of this kind."""

    def open(self, text: str, wanted: Wanted) -> Source:
        """Open it.

        Raises:
            UnavailableError: it is not there, in use, or may not be read; also where a package
                is missing.
            DataError: what is there cannot be read.
            UsageError: it cannot give what is wanted.
        """


def kinds() -> tuple[Kind, ...]:
    """Return all kinds, in the order in which they are asked."""
    names = sorted(discovery.names(__name__), key=_ORDER.index)
    return tuple(cast(Kind, discovery.load(__name__, name)) for name in names)


def kind_of(text: str) -> Kind:
    """Return the kind of source that a text names.

    Raises:
        UsageError: none.
    """
    for kind in kinds():
        if kind.matches(text):
            return kind
    allowed = "; ".join(kind.syntax for kind in kinds())
    raise UsageError(f"no source {text!r}; allowed: {allowed}.")


def open_source(text: str, wanted: Wanted) -> Source:
    """Open the source that a text names; see `Kind.open`."""
    return kind_of(text).open(text, wanted)
