"""Selecting: make the candidates, measure them in turns, find their accuracy, choose.

Everything that takes long is kept in a work folder under a name that says what it depends on, so
that an interrupted selection goes on where it was, and a repeated one is quick.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgecnn import devices
from edgecnn.choice import Choice, Row, choose
from edgecnn.device import Device
from edgecnn.environment import Environment
from edgecnn.errors import UsageError
from edgecnn.host import Host, Timing
from edgecnn.select.judging import with_accuracy
from edgecnn.select.making import make_all
from edgecnn.select.request import Progress, Request
from edgecnn.select.timing import environment, measured

__all__ = ["Request", "select"]


def select(request: Request, progress: Progress | None = None) -> Choice:
    """Make, measure and choose; see :mod:`edgecnn.choice` for the rules.

    Ctrl-C raises KeyboardInterrupt; what was made and measured until then is kept and used by the
    next selection with the same work folder.

    Raises:
        UsageError, SpecError, SourceError: a model, format, precision or runtime is not known.
        DataError: ``data`` holds no images.
    """
    report = progress or _silent
    _refuse_emulated(request.device, devices.get(request.device.kind).timing)
    made = tuple(make_all(request, report))
    with devices.connect(request.device, "select", lambda text: report(text, 0, 1)) as host:
        _refuse_emulated(request.device, host.timing)
        rows = list(measured(request, host, made, report))
        rows = list(with_accuracy(request, host, made, rows, report))
        notes, where = _mismatches(request, host), _environment(host, rows)
    return replace(choose(rows, request.target), notes=notes, environment=where)


def _environment(host: Host, rows: Sequence[Row]) -> Environment | None:
    """Return the device with the versions of all runtimes that were measured."""
    names = {row.runtime for row in rows if row.runtime and row.latency_kind == "measured"}
    found = [environment(host, name) for name in sorted(names)]
    versions = {name: version for one in found for name, version in one.versions.items()}
    return replace(found[0], versions=versions) if found else None


def _mismatches(request: Request, host: Host) -> tuple[str, ...]:
    """Return how the device differs from what the tables are of."""
    found = []
    for table in request.tables:
        differs = table.differs(environment(host, table.runtime))
        if differs:
            found.append(f"the table of {table} is of another device: {'; '.join(differs)}")
    return tuple(found)


def _refuse_emulated(device: Device, timing: Timing) -> None:
    if timing == "emulated":
        raise UsageError(
            f"{device} has no latency to select by: its processor is emulated. Select on the board "
            "itself (--device ssh://...)."
        )


def _silent(what: str, done: int, total: int) -> None:
    return
