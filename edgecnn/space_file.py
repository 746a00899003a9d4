"""The TOML files of search spaces: see `space.py` for what may stand in them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgecnn.errors import SpecError
from edgecnn.space_rows import MistakeError, Part, Slot, distinct, read_row
from edgecnn.spec import MAX_RESOLUTION, Block, ModelSpec

CONVENTION_KEYS = ("padding", "bn_eps", "mean", "std", "crop_pct", "interpolation")
HEAD_KEYS = ("family", *CONVENTION_KEYS, "dropout", "width_divisor", "width_floor")
MIN_RESOLUTION = 8  # as `ModelSpec`
KEYS = ("source", "resolution", *HEAD_KEYS, "rows", "choices", "excludes")

_NAME = re.compile(r"[a-z][a-z0-9]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Contents:
    """What stands in a file: the fields of a `Space`."""

    source: str
    first: ModelSpec
    resolution: Part[int]
    rows: tuple[Part[Block], ...]


def read(text: str, name: str, file: str) -> Contents:
    """What the space called `name` consists of.

    Raises SpecError naming `file`, the line and the token.
    """
    try:
        return _contents(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{file}: no TOML: {error}.") from error
    except MistakeError as mistake:
        raise SpecError(f"{file}{_line(text, mistake.where)}: {mistake}") from mistake


def _line(text: str, where: Sequence[str]) -> str:
    """`, line 7` where the seventh line is the one that is meant; nothing where none is found.

    A key or the head of a table goes before a line with the text in quotes, and that before one
    that only has the text in it.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), start=1)]
    plain = [(number, line) for number, line in lines if not line.startswith("#")]
    for it in map(re.escape, where):
        for pattern in (rf'^"?{it}"?\s*=|^\[+\s*"?{it}"?\s*\]', rf"""["']{it}["']""", it):
            for number, line in plain:
                if re.search(pattern, line):
                    return f", line {number}"
    return ""


def _contents(data: Mapping[str, Any], name: str) -> Contents:
    if not _FILE_NAME.fullmatch(name):
        problem = "it names the networks: letters, digits, dots, - and _ only"
        raise MistakeError(f"file name {name!r}: {problem}.")
    for key in data:
        if key not in KEYS:
            raise MistakeError(f"unknown key {key!r}; allowed: {', '.join(KEYS)}.", key)
    for key in ("family", "resolution", "rows"):
        if key not in data:
            raise MistakeError(f"the space lacks {key!r}.")
    rows = _texts(data["rows"], "rows")
    choices = {key: _options(value, key) for key, value in _table(data, "choices").items()}
    excludes = {key: _texts(value, key) for key, value in _table(data, "excludes").items()}
    parts = tuple(read_row(text, f"block{i}.", choices, excludes) for i, text in enumerate(rows))
    resolution = _resolution(data["resolution"])
    _check_use(parts, choices, excludes)
    blocks = [next(iter(part.variants.values())) for part in parts]
    pixels = next(iter(resolution.variants.values()))
    first = _first(data, name, pixels, blocks)
    return Contents(_text(data.get("source", ""), "source"), first, resolution, parts)


def _check_use(
    parts: Sequence[Part[Block]],
    choices: Mapping[str, tuple[str, ...]],
    excludes: Mapping[str, Sequence[str]],
) -> None:
    """Everything in the tables has an effect: what has none is a slip of the pen."""
    slots = [slot for part in parts for slot in part.slots]
    if not slots:
        raise MistakeError("no row has a choice: there is nothing to search.", "rows")
    used = {slot.name.partition(".")[2] for slot in slots}
    for name in choices:
        if name not in used:
            raise MistakeError(f"no row has the choice {name!r}.", name)
    options = {option for slot in slots for option in slot.options}
    for option, closed in excludes.items():
        if option not in options:
            raise MistakeError(f"{option!r} is no option of a choice.", option)
        for name in closed:
            if name not in used:
                raise MistakeError(
                    f"no row has the choice {name!r} that {option!r} excludes.", name
                )


def _resolution(value: object) -> Part[int]:
    pixels: list[Any] = value if isinstance(value, list) else [value]
    if not all(type(entry) is int for entry in pixels):
        problem = "has to be a whole number of pixels, or a list of them"
        raise MistakeError(f"resolution = {value!r} {problem}.", "resolution")
    try:
        return resolution_part(pixels)
    except SpecError as error:
        raise MistakeError(str(error), "resolution") from error


def resolution_part(pixels: Sequence[int]) -> Part[int]:
    """One resolution, or several as a choice.

    Raises SpecError where there is none, one is out of range, or one stands there twice.
    """
    if not pixels or len(set(pixels)) != len(pixels):
        raise SpecError(f"resolution {list(pixels)}: at least one, and none twice.")
    for value in pixels:
        if not MIN_RESOLUTION <= value <= MAX_RESOLUTION:
            raise SpecError(
                f"resolution {value}: allowed are {MIN_RESOLUTION} to {MAX_RESOLUTION}."
            )
    if len(pixels) == 1:
        return Part((), {(): pixels[0]})
    slot = Slot("resolution", tuple(map(str, pixels)))
    return Part((slot,), {(str(value),): value for value in pixels})


def _first(
    data: Mapping[str, Any], name: str, resolution: int, blocks: Sequence[Block]
) -> ModelSpec:
    """The first network: the head keys are those of a model's text, and read as one."""
    _text(data["family"], "family")
    head = {key: _written(data[key], key) for key in HEAD_KEYS if key in data}
    lines = [f"{key} {value}" for key, value in head.items()]
    lines += [f"model {name}", f"resolution {resolution}", *(f"block {b}" for b in blocks)]
    try:
        return ModelSpec.parse("\n".join(lines))
    except SpecError as error:
        where = next((key for key in (*head, "resolution") if key in str(error)), "rows")
        raise MistakeError(f"{error}.", where) from error


def _written(value: object, key: str) -> str:
    """A TOML value as a model's text has it."""
    if isinstance(value, list) and all(type(item) in (int, float) for item in value):
        return ",".join(map(repr, value))
    if type(value) in (int, float):
        return repr(value)
    if isinstance(value, str) and value and value.isprintable() and "#" not in value:
        return value
    raise MistakeError(f"{key} = {value!r} has to be a plain text or numbers.", key)


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise MistakeError(f"{key} = {value!r} has to be a table, [{key}].", key)
    return value


def _options(value: object, name: str) -> tuple[str, ...]:
    if not _NAME.fullmatch(name):
        raise MistakeError(f"choice {name!r}: its name has small letters and digits only.", name)
    return distinct(_texts(value, name), name, name)


def _texts(value: object, key: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise MistakeError(f"{key} = {value!r} has to be a list of texts.", key)
    return [_text(item, key) for item in value]


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise MistakeError(f"{value!r} in {key} has to be a text in quotes.", key)
    return value
