"""Reading what a document says, with the type that it must have.

Documents come from anywhere: what is not as expected is refused by its name, never shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from edgecnn.errors import DataError
from edgecnn.report.markup import clipped

LONGEST_TEXT = 2000
MAX_ITEMS = 2_000_000


@dataclass(frozen=True)
class Fields:
    """One JSON object of a document; ``where`` names it in errors.

    Every method raises DataError where the field is of another type; those that are not named
    ``maybe`` also where it is missing.
    """

    where: str
    data: Mapping[str, Any]

    def text(self, key: str) -> str:
        """A text that is not empty; overlong ones are shortened."""
        return self.maybe_text(key) or self._refuse(key, "a text")

    def maybe_text(self, key: str) -> str | None:
        """A text, or None where it is missing, null or empty."""
        value = self.data.get(key)
        if value is not None and not isinstance(value, str):
            self._refuse(key, "a text")
        return clipped(value, LONGEST_TEXT) if value else None

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.maybe_number(key)
        return self._refuse(key, "a number") if value is None else value

    def maybe_number(self, key: str) -> float | None:
        """A finite number, or None where it is missing or null."""
        value = self.data.get(key)
        return None if value is None else self._finite(key, value)

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        value = self.number(key)
        return value if value > 0 else self._refuse(key, "a number above 0")

    def maybe_positive(self, key: str) -> float | None:
        """A finite number above 0, or None where it is missing or null."""
        return None if self.data.get(key) is None else self.positive(key)

    def maybe_count(self, key: str) -> int | None:
        """A whole number from 0 on, or None where it is missing or null."""
        value = self.maybe_number(key)
        if value is None:
            return None
        return int(value) if value == int(value) and value >= 0 else self._refuse(key, "a count")

    def maybe_percent(self, key: str) -> float | None:
        """A number from 0 to 100, or None where it is missing or null."""
        value = self.maybe_number(key)
        if value is not None and not 0 <= value <= 100:
            self._refuse(key, "a per cent from 0 to 100")
        return value

    def flag(self, key: str) -> bool | None:
        """True, False, or None where it is missing or null."""
        value = self.data.get(key)
        return value if value is None or isinstance(value, bool) else self._refuse(key, "a verdict")

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers; empty where it is missing or null."""
        return tuple(self._finite(key, value) for value in self._list(key))

    def interval(self, key: str) -> tuple[float, float] | None:
        """Two numbers, the lower first, or None."""
        ends = self.numbers(key)
        if not ends:
            return None
        if len(ends) != 2 or ends[0] > ends[1]:
            self._refuse(key, "an interval [low, high]")
        return ends[0], ends[1]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where it is missing or null."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            self._refuse(key, "a list of texts")
        return tuple(clipped(value, LONGEST_TEXT) for value in values)

    def child(self, key: str) -> "Fields":
        """An object."""
        return self.maybe_child(key) or self._refuse(key, "an object")

    def maybe_child(self, key: str) -> "Fields | None":
        """An object, or None where it is missing or null."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._refuse(key, "an object")
        return Fields(f"{self.where}: {key}", value)

    def children(self, key: str) -> tuple["Fields", ...]:
        """A list of objects; empty where it is missing or null."""
        values = self._list(key)
        if not all(isinstance(value, dict) for value in values):
            self._refuse(key, "a list of objects")
        return tuple(Fields(f"{self.where}: {key}[{i}]", value) for i, value in enumerate(values))

    def _list(self, key: str) -> Sequence[Any]:
        value = self.data.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            self._refuse(key, f"a list of at most {MAX_ITEMS} items")
        return list(value)

    def _finite(self, key: str, value: object) -> float:
        try:
            if not isinstance(value, bool) and isinstance(value, int | float):
                number = float(value)
                if math.isfinite(number):
                    return number
        except OverflowError:
            pass
        return self._refuse(key, "a finite number", value)

    def _refuse(self, key: str, expected: str, found: object = None) -> NoReturn:
        value = self.data.get(key) if found is None else found
        told = clipped(repr(value), 80) if key in self.data else "missing"
        raise DataError(
            f"{self.where}: {key} is {told}; {expected} is expected. Write the document again with "
            "edgecnn."
        )
