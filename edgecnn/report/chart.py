"""What all charts share: the frame with its axes, the marks, and the words beside them.

A chart is a function of its width, so that a telephone gets a chart of its own and not a small
picture of a large one. How a mark is filled says where its figure is from, everywhere: filled is
measured, hollow is predicted, hatched is published.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgecnn.report.markup import Markup, clipped, join, tag
from edgecnn.report.scales import Scale, label

WIDE, NARROW = 760.0, 344.0
BETWEEN = 520.0
"""A chart narrower than this is drawn for a telephone."""
FONT_PX = 12.0
EM = 0.56
"""Mean width of a character of the page's font, in font sizes."""

Anchor = Literal["start", "middle", "end"]
FILLS = {"measured": "measured", "predicted": "predicted", "fitted to published": "predicted",
         "published": "published"}  # fmt: skip
PATTERNS = tag(
    "defs",
    *(
        tag(
            "pattern",
            tag("rect", width=5, height=5, class_="paper"),
            tag("line", x1=1, y1=0, x2=1, y2=5, class_=f"hatching {weight}"),
            id=f"hatch-{weight}",
            width=5,
            height=5,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)",
        )
        for weight in ("strong", "weak")
    ),
)
"""The hatching of published figures; once in each document."""


@dataclass(frozen=True)
class Chart:
    """A drawing at any width in pixels, and what it shows in one sentence."""

    label: str
    draw: Callable[[float], Markup]


def fill(kind: str | None) -> str:
    """Return the class that fills a mark for the kind of its figure."""
    return FILLS.get(kind or "", "unmarked")


def svg(width: float, height: float, label: str, *content: object) -> Markup:
    """Return a drawing; it is one stop for the keyboard, whose arrows go from mark to mark."""
    return tag(
        "svg",
        *content,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        class_="chart",
        role="group",
        aria_label=label,
        tabindex=0,
    )


def mark(tip: str, *content: object, class_: str = "") -> Markup:
    """Return a mark with its details, shown at hover and read aloud; lines part by newlines."""
    return tag("g", tag("title", tip), *content, class_=f"mark {class_}".strip())


def text(content: str, x: float, y: float, class_: str, anchor: Anchor = "start") -> Markup:
    """Return a line of text on its baseline."""
    return tag("text", content, x=x, y=y, class_=class_, text_anchor=anchor)


def width_of(content: str, size: float = FONT_PX) -> float:
    """Return about how wide a text is, in pixels."""
    return EM * size * len(content)


def fitting(content: str, room: float, size: float = FONT_PX) -> str:
    """Shorten a text to so many pixels."""
    return clipped(content, max(2, int(room / (EM * size))))


def bottom_axis(scale: Scale, top: float, bottom: float, title: str) -> Markup:
    """Return the grid and the marks of a horizontal axis, with its title."""
    count = max(3, int((scale.end - scale.start) / 75))
    lines = [
        tag("line", x1=scale(v), x2=scale(v), y1=top, y2=bottom, class_="grid")
        for v in scale.ticks(count)
    ]
    marks = [text(label(v), scale(v), bottom + 17, "tick", "middle") for v in scale.ticks(count)]
    middle = (scale.start + scale.end) / 2
    said = f"{title}, logarithmic" if scale.log else title
    return join([*lines, *marks, text(said, middle, bottom + 37, "title", "middle")])


def left_axis(scale: Scale, left: float, right: float, title: str) -> Markup:
    """Return the grid and the marks of a vertical axis; its title stands above it."""
    count = max(3, int((scale.start - scale.end) / 55))
    lines = [
        tag("line", x1=left, x2=right, y1=scale(v), y2=scale(v), class_="grid")
        for v in scale.ticks(count)
    ]
    marks = [text(label(v), left - 8, scale(v) + 4, "tick", "end") for v in scale.ticks(count)]
    said = f"{title}, logarithmic" if scale.log else title
    return join([*lines, *marks, text(said, 2, 14, "title")])


def upright(
    x: float, top: float, bottom: float, said: str, class_: str, room: tuple[float, float]
) -> Markup:
    """Return a vertical line with words at its top, kept between the two ends of ``room``."""
    half = width_of(said) / 2
    at = min(max(x, room[0] + half), room[1] - half)
    return join(
        [
            tag("line", x1=x, x2=x, y1=top, y2=bottom, class_=class_),
            text(said, at, top - 5, f"{class_} said", "middle"),
        ]
    )


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def thinned(count: int, most: int) -> range:
    """Return at most ``most`` of ``count`` indices, evenly spread."""
    return range(0, count, max(1, -(-count // most)))
