"""HTML and SVG from values: text is escaped unless it is markup already.

Everything that a document says passes through here, and nothing of it becomes markup.
"""

import re
from collections.abc import Iterable
from html import escape

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
UNPRINTABLE = re.compile(
    # Control characters and lone surrogates are no XML; marks of direction reorder what follows.
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
EMPTY = frozenset(["circle", "line", "meta", "path", "polygon", "polyline", "rect"])


class Markup(str):
    """Text that is markup; any other string is escaped."""

    __slots__ = ()


def clean(text: str) -> str:
    """Replace what cannot stand in XML, or would hide or reorder other text."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def markup(content: object) -> Markup:
    """Return ``content`` as markup: escaped, unless it is that already; None is nothing."""
    if isinstance(content, Markup):
        return content
    return Markup("" if content is None else escape(clean(str(content))))


def join(parts: Iterable[object]) -> Markup:
    """Put markup and text after one another."""
    return Markup("".join(map(markup, parts)))


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Return an element; attributes that are None are left out.

    ``class_`` stands for class, and an underscore within a name for a hyphen.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in EMPTY and not content:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(content)}</{name}>")


def _short(value: object) -> object:
    """Write a coordinate with as many digits as can be seen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def clipped(text: str, length: int) -> str:
    """Shorten a text to ``length`` characters."""
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip() + ELLIPSIS
