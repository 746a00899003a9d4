"""Which document a file is: each kind is a file of ``kinds``, found by its file name."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from edgecnn import discovery
from edgecnn.documents import MAX_BYTES
from edgecnn.errors import DataError
from edgecnn.report.fields import Fields
from edgecnn.report.parts import Section

KINDS = "edgecnn.report.kinds"
SHOWN_KEYS = 6


class Kind(Protocol):
    """What a module in ``kinds`` provides."""

    made_by: str
    """The command that writes such documents."""

    def matches(self, keys: Collection[str]) -> bool:
        """Tell from the names of its fields whether a document is of this kind."""

    def section(self, document: Fields) -> Section:
        """Return what it adds to the page. Raises DataError where a field is not as expected."""


def kinds() -> Mapping[str, Kind]:
    """Return all kinds by their names."""
    return {name: cast(Kind, discovery.load(KINDS, name)) for name in discovery.names(KINDS)}


def section(path: Path) -> Section:
    """Read a document and return its section.

    Raises:
        DataError: the file is missing, too large, no JSON, or none of edgecnn's documents.
    """
    data = _object(path, _read(path))
    for kind in kinds().values():
        if kind.matches(data.keys()):
            return kind.section(Fields(str(path), data))
    raise _unknown(path, f"a JSON object with {_told(data)}")


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path}: larger than {MAX_BYTES >> 20} MiB; no document is that large."
            )
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise _unknown(path, "no text") from error
    except (ValueError, RecursionError) as error:
        raise _unknown(path, f"no JSON ({error})") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        names = {list: "a JSON list", str: "a JSON text", type(None): "JSON's null"}
        raise _unknown(path, names.get(type(data), "a JSON number or truth value"))
    return data


def _told(data: Mapping[str, Any]) -> str:
    if not data:
        return "no fields"
    shown = ", ".join(repr(key)[:40] for key in list(data)[:SHOWN_KEYS])
    return f"the fields {shown}" + (", ..." if len(data) > SHOWN_KEYS else "")


def _unknown(path: Path, found: str) -> DataError:
    allowed = "; ".join(kind.made_by for kind in kinds().values())
    return DataError(
        f"{path}: this is {found}, and no run. Allowed are the documents of {allowed}."
    )
