"""A row with open choices: its text, its slots, and the blocks that it may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import prod
from typing import Generic, TypeVar

from edgecnn.errors import SpecError
from edgecnn.spec import Block

Picks = tuple[str | None, ...]
"""The options of one part in the order of its slots; None where a slot is closed."""
V = TypeVar("V", Block, int)

MAX_VARIANTS = 10_000
"""Of one row: all are read and kept, so that every network of a space is known to be possible."""

_BETWEEN_TOKENS = re.compile(r"_(?![^{]*\})")
_OPEN = re.compile(r"\{([a-z][a-z0-9]*)(?::([^{}]*))?\}")
_QUOTED = re.compile(r"'([^']+)'")


class MistakeError(Exception):
    """What is wrong in a file; `where` are texts in the line where it is, the best first."""

    def __init__(self, message: str, *where: str) -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True)
class Slot:
    """An open choice: its name, its options, and the options left of it that close it."""

    name: str
    options: tuple[str, ...]
    closed_by: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Part(Generic[V]):
    """A row or the resolution: its slots, and what each combination of options stands for."""

    slots: tuple[Slot, ...]
    variants: Mapping[Picks, V]

    @cached_property
    def picks_of(self) -> Mapping[V, Picks]:
        """The combination that stands for a value."""
        return {value: picks for picks, value in self.variants.items()}

    def named(self, picks: Picks) -> dict[str, str]:
        """A combination by the names of the choices, closed ones left out."""
        pairs = zip(self.slots, picks, strict=True)
        return {slot.name: option for slot, option in pairs if option is not None}

    def near(self, picks: Picks) -> list[tuple[Slot, Picks]]:
        """The combinations that differ from `picks` in one slot, with that slot.

        A slot that opens or closes with it does not count as a difference.
        """
        found = []
        for other in self.variants:
            pairs = zip(self.slots, picks, other, strict=True)
            changed = [slot for slot, a, b in pairs if a != b and None not in (a, b)]
            if len(changed) == 1:
                found.append((changed[0], other))
        return found


def combinations(slots: Sequence[Slot]) -> list[Picks]:
    """All combinations of options, with None in the slots that are closed."""
    found: list[Picks] = [()]
    for slot in slots:
        found = [
            (*picks, option)
            for picks in found
            for option in ((None,) if slot.closed_by.intersection(picks) else slot.options)
        ]
    return found


def read_row(
    text: str,
    prefix: str,
    choices: Mapping[str, tuple[str, ...]],
    excludes: Mapping[str, Sequence[str]],
) -> Part[Block]:
    """All blocks that a row with choices may be. Raises MistakeError."""
    tokens: list[str | Slot] = []
    for token in _BETWEEN_TOKENS.split(text):
        options = _choice(token, text, choices)
        if options is None:
            tokens.append(token)
            continue
        key, allowed = options
        closing = frozenset(option for option, closed in excludes.items() if key in closed)
        slot = Slot(prefix + key, allowed, closing)
        left = [other for other in tokens if isinstance(other, Slot)]
        if slot.name in (other.name for other in left):
            raise MistakeError(f"choice {key!r} stands twice in {text!r}.", text)
        tokens.append(slot)
    slots = tuple(token for token in tokens if isinstance(token, Slot))
    _check_order(slots, text)
    if (count := prod(len(slot.options) for slot in slots)) > MAX_VARIANTS:
        raise MistakeError(
            f"{text!r} has {count} variants; allowed: {MAX_VARIANTS} in a row.", text
        )
    return Part(slots, _variants(text, tokens, slots))


def _choice(
    token: str, text: str, choices: Mapping[str, tuple[str, ...]]
) -> tuple[str, tuple[str, ...]] | None:
    """The name and the options of a token in braces, None for a plain token."""
    if "{" not in token and "}" not in token:
        return None
    match = _OPEN.fullmatch(token)
    if match is None:
        raise MistakeError(
            f"token {token!r} in {text!r}: a choice is written {{name}} or {{name:k3|k5}}, with a "
            "name of small letters and digits, and stands alone between underscores.",
            text,
        )
    name, listed = match[1], match[2]
    if listed is not None:
        options = distinct(listed.split("|"), name, text)
    elif name in choices:
        options = choices[name]
    else:
        known = ", ".join(choices) or "none"
        raise MistakeError(
            f"choice {name!r} in {text!r} is not in [choices]; there: {known}.", text
        )
    return name, options


def _check_order(slots: Sequence[Slot], text: str) -> None:
    """A choice has to stand to the right of those that may close it."""
    for index, slot in enumerate(slots):
        for option in chain.from_iterable(later.options for later in slots[index:]):
            if option in slot.closed_by:
                raise MistakeError(
                    f"{option!r} excludes {slot.name}, which stands left of it in {text!r}; put "
                    "it to the right.",
                    text,
                )


def _variants(text: str, tokens: Sequence[str | Slot], slots: Sequence[Slot]) -> dict[Picks, Block]:
    found: dict[Picks, Block] = {}
    origin: dict[Block, str] = {}
    for picks in combinations(slots):
        picked = dict(zip(slots, picks, strict=True))
        pieces = [token if isinstance(token, str) else picked[token] for token in tokens]
        written = "_".join(piece for piece in pieces if piece)
        try:
            block = Block.parse(written)
        except SpecError as error:
            message = f"{text!r} leads to {written!r}: {error}"
            raise MistakeError(message, *_culprits(str(error), picks), text) from error
        if block in origin:
            raise MistakeError(
                f"{text!r} leads to {block} twice: {origin[block]}, {written}.", text
            )
        found[picks] = block
        origin[block] = written
    return found


def _culprits(error: str, picks: Picks) -> list[str]:
    """The options, as a list has them, in which the token stands that an error names first."""
    match = _QUOTED.search(error)
    tokens = {match[1]} if match else set()
    return [f'"{option}"' for option in picks if option and tokens & set(option.split("_"))]


def distinct(options: Sequence[str], name: str, where: str) -> tuple[str, ...]:
    """The options of the choice `name`: two or more. Raises MistakeError."""
    doubled = [option for option, count in Counter(options).items() if count > 1]
    if doubled or len(options) < 2:
        problem = f"{doubled[0]!r} stands there twice" if doubled else "at least two options"
        raise MistakeError(f"choice {name!r}: {problem}.", where)
    return tuple(options)
