"""Search spaces as data: rows of an architecture with open choices in them.

A space is a TOML file; those that are shipped stand in `edgecnn/spaces`. Its `rows` are rows as in
`block.py`, where a token may be a choice:

    "{conv}_{layers:r1|r2|r3}_{kernel}_s2_c24_{se}_relu"

`{kernel}` takes an option of `kernel` in the table `[choices]`; `{layers:r1|r2|r3}` has its options
in place. An option is a piece of a row: a token, several (`mbconv_e6`) or none (`""`). In the table
`[excludes]` an option closes choices further right in its row: beside `fused_e1` no `se` is asked
for. So every row is a finite list of `Block`s, all read when the file is: no choice can lead to a
row that does not exist. `resolution` is a number of pixels or a list of them; `family` and `source`
(where the space comes from) are text; the other keys are those of a model's text (`ModelSpec`).

A network of the space is a mapping from choice to option, `{"block2.kernel": "k5", ...}`, with the
row's place in the network as its number. The shape, one choice for all layers of a block, is that
of MnasNet (arXiv 1807.11626, section 4.1).
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from random import Random

from edgecnn import strides
from edgecnn.errors import SpecError
from edgecnn.space_file import read, resolution_part
from edgecnn.space_rows import Part, Picks, Slot, V
from edgecnn.spec import Block, ModelSpec

Choices = Mapping[str, str]
"""An option for each open choice, by the choice's name."""

FOLDER = Path(__file__).parent / "spaces"


@dataclass(frozen=True)
class Space:
    """A search space. `first` is its first network, whose conventions all others share."""

    name: str
    source: str
    first: ModelSpec
    resolution: Part[int]
    rows: tuple[Part[Block], ...]

    @classmethod
    def load(cls, name: str | Path) -> Space:
        """A shipped space by its name, or one from a file (a path, or a text ending in .toml).

        Raises SpecError where there is none, or where the file has a mistake: line and token.
        """
        path = Path(name)
        if isinstance(name, str) and path.suffix != ".toml":
            if name not in names():
                near = difflib.get_close_matches(name, names(), n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise SpecError(
                    f"unknown search space {name!r}; {hint}Known: {', '.join(names())}, or a file "
                    "whose name ends in .toml."
                )
            path = FOLDER / f"{name}.toml"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{path}: no readable search space ({error}).") from error
        return cls.parse(text, path.stem, str(path))

    @classmethod
    def parse(cls, text: str, name: str, file: str | None = None) -> Space:
        """The space in a TOML text; `file` is what errors call it.

        Raises SpecError naming the line and the token.
        """
        found = read(text, name, file or name)
        return cls(name, found.source, found.first, found.resolution, found.rows)

    @property
    def parts(self) -> tuple[Part[int] | Part[Block], ...]:
        """The resolution and all rows, in the order in which choices are asked."""
        return (self.resolution, *self.rows)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All open choices in their order."""
        return tuple(slot for part in self.parts for slot in part.slots)

    def size(self) -> int:
        """The exact number of networks: different rows or resolution, thus different text."""
        return prod(len(part.variants) for part in self.parts)

    def parameters(self) -> list[tuple[str, tuple[str, ...]]]:
        """All choices with their options, in order; see `choose` for those that may be closed."""
        return [(slot.name, slot.options) for slot in self.slots]

    def choose(self, pick: Callable[[str, Sequence[str]], str]) -> dict[str, str]:
        """Ask `pick(name, options)` for every choice in order, closed ones left out.

        With Optuna: `space.choose(trial.suggest_categorical)`.
        """
        chosen: dict[str, str] = {}
        for part in self.parts:
            taken: set[str] = set()
            for slot in part.slots:
                if not slot.closed_by & taken:
                    chosen[slot.name] = pick(slot.name, slot.options)
                    taken.add(chosen[slot.name])
        return chosen

    def sample(self, random: Random) -> dict[str, str]:
        """A random network: every choice that is asked takes each option equally often."""
        return self.choose(lambda name, options: random.choice(options))

    def decode(self, choices: Choices) -> ModelSpec:
        """The network of these choices, named by the space and a digest of rows and resolution.

        Raises SpecError where a choice is missing, unknown, closed, or has another option.
        """
        unknown = choices.keys() - self._names
        if unknown:
            raise SpecError(f"{self.name} has no choice {min(unknown)!r}.")
        resolution = _value(self.resolution, choices)
        blocks = tuple(_value(row, choices) for row in self.rows)
        text = "\n".join((str(resolution), *map(_text, blocks)))
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        name = f"{self.name}-{digest}"
        return replace(self.first, name=name, resolution=resolution, blocks=blocks)

    def encode(self, spec: ModelSpec) -> dict[str, str]:
        """The choices that lead to the rows and the resolution of `spec`.

        Name, conventions, dropout and the number of classes are the space's own and not compared.
        Raises SpecError naming the row that is outside the space.
        """
        blocks = spec.with_classes(self.first.num_classes).blocks
        if len(blocks) != len(self.rows):
            raise SpecError(
                f"{spec.name} has {len(blocks)} rows; the networks of {self.name} have "
                f"{len(self.rows)}."
            )
        chosen = _named(self.resolution, spec.resolution, f"{spec.name}: the resolution", self.name)
        for index, (row, block) in enumerate(zip(self.rows, blocks, strict=True)):
            chosen |= _named(row, block, f"{spec.name}: row {index}", self.name)
        return chosen

    def __contains__(self, spec: ModelSpec) -> bool:
        """Whether `encode` knows the network."""
        try:
            self.encode(spec)
        except SpecError:
            return False
        return True

    def neighbours(self, choices: Choices) -> Iterator[dict[str, str]]:
        """All networks with another option in one choice; what that opens takes every option.

        Raises SpecError as `decode`.
        """
        for part, picks in self._picked(choices):
            for _, other in part.near(picks):
                yield self._changed(choices, part, picks, other)

    def mutate(self, choices: Choices, random: Random) -> dict[str, str]:
        """One choice, each equally often, takes another option, as in regularized evolution.

        Real et al. 2019, arXiv 1802.01548, section 3. Raises SpecError as `decode`.
        """
        asked = [
            (part, picks, slot)
            for part, picks in self._picked(choices)
            for slot, option in zip(part.slots, picks, strict=True)
            if option is not None
        ]
        part, picks, changed = random.choice(asked)
        others = [other for slot, other in part.near(picks) if slot is changed]
        return self._changed(choices, part, picks, random.choice(others))

    def with_resolution(self, *pixels: int) -> Space:
        """The same rows at another resolution, or at several to choose from.

        Raises SpecError where there is none, one is out of range, or one stands there twice.
        """
        resolution = resolution_part(pixels)
        first = replace(self.first, resolution=pixels[0])
        return replace(self, first=first, resolution=resolution)

    def with_output_stride(self, wanted: int) -> Space:
        """The same rows without the first strides, for small pictures; see `strides.dropped`.

        Raises SpecError where it cannot be had, or where a row's stride is itself a choice.
        """
        rows = strides.dropped([_stride(self.name, row) for row in self.rows], wanted)
        if not rows:
            return self
        return replace(
            self,
            name=f"{self.name}-os{wanted}",
            first=strides.with_output_stride(self.first, wanted),
            rows=tuple(_denser(row) if i in rows else row for i, row in enumerate(self.rows)),
        )

    @property
    def suited_stride(self) -> int:
        """The output stride for the smallest of its resolutions; see `strides.suited`."""
        found = [_stride(self.name, row) for row in self.rows]
        return strides.suited(found, min(self.resolution.variants.values()))

    def _picked(self, choices: Choices) -> list[tuple[Part[int] | Part[Block], Picks]]:
        self.decode(choices)
        return [(part, tuple(choices.get(s.name) for s in part.slots)) for part in self.parts]

    def _changed(
        self, choices: Choices, part: Part[int] | Part[Block], old: Picks, new: Picks
    ) -> dict[str, str]:
        kept = {name: choices[name] for name in choices.keys() - part.named(old).keys()}
        merged = kept | part.named(new)
        return {slot.name: merged[slot.name] for slot in self.slots if slot.name in merged}

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(slot.name for slot in self.slots)


def names() -> tuple[str, ...]:
    """The shipped spaces, sorted: the names of the files in the folder `spaces`."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


_text = lru_cache(maxsize=1 << 14)(str)


def _stride(space: str, row: Part[Block]) -> int:
    found = {block.stride for block in row.variants.values()}
    if len(found) > 1:
        raise SpecError(f"a row of {space} chooses its stride itself: {sorted(found)}.")
    return found.pop()


def _denser(row: Part[Block]) -> Part[Block]:
    return replace(row, variants={k: strides.denser(v) for k, v in row.variants.items()})


def _value(part: Part[V], choices: Choices) -> V:
    picks = tuple(choices.get(slot.name) for slot in part.slots)
    value = part.variants.get(picks)
    if value is None:
        raise SpecError(_wrong(part.slots, picks))
    return value


def _wrong(slots: Sequence[Slot], picks: Picks) -> str:
    """Which of the picks is the mistake."""
    taken: set[str] = set()
    for slot, option in zip(slots, picks, strict=True):
        closing = slot.closed_by & taken
        if closing and option is not None:
            return f"{slot.name} is given beside {min(closing)}, which has none; leave it out."
        if not closing and option not in slot.options:
            found = "is missing" if option is None else f"is {option!r}"
            return f"{slot.name} {found}; allowed: {', '.join(map(repr, slot.options))}."
        taken.add(option or "")
    return "these choices do not fit together."


def _named(part: Part[V], value: V, where: str, space: str) -> dict[str, str]:
    if value not in part.picks_of:
        near = difflib.get_close_matches(str(value), map(str, part.picks_of), n=1, cutoff=0)
        raise SpecError(f"{where}, {value}, is not in the space {space}; the nearest: {near[0]}.")
    return part.named(part.picks_of[value])
