"""The kinds of devices: one module per kind, found by its file name, and one TOML file per board.

A kind reads the text that ``--device`` takes, and connects to the machine. Nothing else in edgecnn
asks what kind a device is of.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, cast

from edgecnn import discovery, named
from edgecnn.device import Device
from edgecnn.errors import UnavailableError
from edgecnn.host import Host, Timing
from edgecnn.onboard.install import Site
from edgecnn.remote.setup import Request as SetupRequest

Say = Callable[[str], None]
"""Called with what is happening on the way to a board."""


class Kind(Protocol):
    """What a module in this folder provides."""

    syntax: str
    """What a user writes, for help and messages."""

    timing: Timing
    """Whether times mean anything there."""

    def parse(self, text: str) -> Device:
        """Read the text of a device of this kind.

        Raises:
            UnavailableError, UsageError: the text names no such device.
        """

    def connect(self, device: Device, what: str, say: Say) -> Host:
        """Reach the machine, for ``what`` (a person's words).

        Raises:
            UnavailableError: it cannot be reached, is in use, or lacks something.
        """

    def setup(self, device: Device, request: SetupRequest, say: Say) -> Site:
        """Install what edgecnn needs there.

        Raises:
            UsageError: nothing is ever installed on such a device.
            UnavailableError: it cannot be reached, or cannot have what is asked for.
        """


def names() -> tuple[str, ...]:
    """Return the kinds."""
    return discovery.names(__name__)


def get(kind: str) -> Kind:
    """Return the module of a kind.

    Raises:
        KeyError: there is none.
    """
    return cast(Kind, discovery.load(__name__, kind))


def syntaxes() -> tuple[str, ...]:
    """Return what a user may write, kind by kind."""
    return tuple(get(kind).syntax for kind in names())


def parse(text: str) -> Device:
    """Read what ``--device`` takes: a device of some kind, or a name that the user gave to one.

    Raises:
        UnavailableError: no such device.
    """
    kind = text.partition(":")[0]
    if kind in names():
        return get(kind).parse(text)
    known = named.load()
    if text in known:
        return replace(parse(known[text].address), name=text)
    yours = f", or a name of yours: {', '.join(known)}" if known else ""
    raise UnavailableError(
        f"unknown device {text!r}; allowed: {', '.join(syntaxes())}{yours}. "
        "`edgecnn device add NAME ADDRESS` names a board."
    )


def connect(device: Device, what: str = "edgecnn", say: Say | None = None) -> Host:
    """Reach the machine of ``device``; close the host in the end, or use it in a ``with`` block.

    Raises:
        UnavailableError: it cannot be reached, is in use, or lacks something.
    """
    return get(device.kind).connect(device, what, say or _silent)


def _silent(message: str) -> None:
    return
