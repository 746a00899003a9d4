"""The user's own names for boards, kept in ``devices.toml`` in the user's configuration folder."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn import discovery
from edgecnn.errors import DataError, EdgecnnError, UnavailableError, UsageError
from edgecnn.files import replace_file
from edgecnn.remote.address import parse_address

HEADER = (
    "# Boards that have a name. `edgecnn device add` and `remove` rewrite this file: comments of\n"
    "# your own are lost then.\n"
)
DEFAULT_PYTHON = "python3"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEYS = ("address", "python", "identity")


@dataclass(frozen=True)
class Named:
    """A board: its address (``ssh://...``), its Python, and a private key for it alone, if any."""

    address: str
    python: str = DEFAULT_PYTHON
    identity: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be written down, or is no address.

        Raises:
            UsageError: the address or another text is not usable.
            UnavailableError: the address names a computing unit that does not exist.
        """
        parse_address(self.address)
        if not self.python.strip() or not self.python.isprintable():
            raise UsageError(f"python {self.python!r} is no path of a program.")
        if self.identity is not None and not _is_plain(self.identity):
            raise UsageError(f"identity {str(self.identity)!r} is no full path of a key file.")


def path() -> Path:
    """Return the file: ``$XDG_CONFIG_HOME/edgecnn/devices.toml``, or below ``~/.config``."""
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # A relative path there is to be ignored: XDG Base Directory Specification, "Basics".
    folder = configured if configured.is_absolute() else Path.home() / ".config"
    return folder / "edgecnn" / "devices.toml"


def load() -> dict[str, Named]:
    """Return the named boards, by name; none where there is no file.

    Raises:
        DataError: the file cannot be read, is no TOML, or says something that is not understood.
    """
    file = path()
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        # Both an undecodable byte and bad TOML; the message holds the place.
        raise DataError(f"{file}: is no TOML: {error}. Mend it, or delete it.") from error
    return {name: _entry(file, name, table) for name, table in sorted(tables.items())}


def add(name: str, entry: Named, force: bool = False) -> None:
    """File a board under a name.

    Raises:
        UsageError: the name is not usable, or is taken and ``force`` is not set.
        DataError: the present file is not understood.
        DiskError: it cannot be written.
    """
    check_new(name, force)
    _save(load() | {name: entry})


def check_new(name: str, force: bool = False) -> None:
    """Refuse a name that :func:`add` would refuse.

    Raises:
        UsageError: the name is not usable, or is taken and ``force`` is not set.
        DataError: the present file is not understood.
    """
    _check_name(name)
    taken = load().get(name)
    if taken is not None and not force:
        raise UsageError(f"{name!r} is {taken.address} already; pass --force to replace it.")


def remove(name: str) -> Named:
    """Forget a board, and return what was filed.

    Raises:
        UnavailableError: there is no such name.
        DataError: the present file is not understood.
        DiskError: it cannot be written.
    """
    entries = load()
    if name not in entries:
        names = ", ".join(entries) or "none yet"
        raise UnavailableError(f"no board is named {name!r}; your names: {names}.")
    entry = entries.pop(name)
    _save(entries)
    return entry


def _is_plain(file: Path) -> bool:
    return file.is_absolute() and str(file).isprintable()


def _check_name(name: str) -> None:
    kinds = discovery.names("edgecnn.devices")
    if not _NAME.fullmatch(name) or name in kinds:
        raise UsageError(
            f"{name!r} cannot name a board: allowed are small letters, digits, - and _ (not at the "
            f"start), but not {', '.join(kinds)}."
        )


def _entry(file: Path, name: str, table: object) -> Named:
    try:
        _check_name(name)
        if not isinstance(table, dict):
            raise UsageError("must be a table that holds an address.")
        return Named(**_fields(table))
    except EdgecnnError as error:
        raise DataError(f"{file}: [{name}]: {error}") from error


def _fields(table: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"unknown key {key!r}; allowed: {', '.join(_KEYS)}.")
        if not isinstance(value, str):
            raise UsageError(f"{key} must be a text in quotes, not {value!r}.")
    if "address" not in table:
        raise UsageError("lacks its address.")
    identity = {"identity": Path(table["identity"]).expanduser()} if "identity" in table else {}
    return {**table, **identity}


def _save(entries: Mapping[str, Named]) -> None:
    # A link, as people have who keep their settings under version control, stays one.
    replace_file(path().resolve(), _text(entries).encode())


def _text(entries: Mapping[str, Named]) -> str:
    return HEADER + "".join(_table(name, entry) for name, entry in sorted(entries.items()))


def _table(name: str, entry: Named) -> str:
    lines = {"address": entry.address}
    if entry.python != DEFAULT_PYTHON:
        lines["python"] = entry.python
    if entry.identity is not None:
        lines["identity"] = str(entry.identity)
    # A printable text in JSON is the same text in TOML.
    pairs = [f"{key} = {json.dumps(text, ensure_ascii=False)}\n" for key, text in lines.items()]
    return f"\n[{name}]\n{''.join(pairs)}"
