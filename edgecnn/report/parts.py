"""The pieces of a page: tables, lists of facts, figures; and what a section consists of."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgecnn.report import chart, scales
from edgecnn.report.agreement import Pair
from edgecnn.report.chart import Chart
from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, clipped, join, tag

MAX_ROWS = 400
LONGEST_CELL = 400


@dataclass(frozen=True)
class Verdict:
    """What came of a run in one sentence; ``passed`` is None where nothing was asked of it."""

    sentence: str
    passed: bool | None = None


@dataclass(frozen=True)
class Identity:
    """What a figure is of, so that equal artifacts of several runs are joined.

    `device` and `format` are None where the document does not say them.
    """

    name: str
    precision: str | None = None
    runtime: str | None = None
    threads: int | None = None
    device: str | None = None
    format: str | None = None

    @property
    def always_said(self) -> "Identity":
        """What every document says."""
        return replace(self, device=None, format=None)

    def agrees(self, other: "Identity") -> bool:
        """Whether both can be of one thing: all is equal that both say."""
        devices = {self.device, other.device} - {None}
        formats = {self.format, other.format} - {None}
        return max(len(devices), len(formats)) < 2 and self.always_said == other.always_said

    def __str__(self) -> str:
        parts = [self.name, self.precision, self.runtime and f"on {self.runtime}"]
        where = " ".join(filter(None, parts))
        return where if self.threads is None else f"{where}, {threads(self.threads)}"


@dataclass(frozen=True)
class Figure:
    """One figure for the joined table: ``what`` names it with its unit, ``kind`` says whence.

    ``sha256`` is of the file, None where it is of no certain file; without an ``identity`` the
    figure is of the file alone. ``ends`` is its interval.
    """

    what: str
    value: float
    kind: str
    identity: Identity | None = None
    sha256: str | None = None
    ends: tuple[float, float] | None = None


LATENCY = "median latency (ms)"
TOP1 = "top-1 (%)"


@dataclass(frozen=True)
class Section:
    """What a run adds to the page. ``body`` is markup, ``commands`` make the run again."""

    title: str
    body: Markup
    verdicts: tuple[Verdict, ...] = ()
    figures: tuple[Figure, ...] = ()
    pairs: tuple[Pair, ...] = ()
    environments: tuple[Fields, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()


def threads(count: int) -> str:
    """Say how many threads."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def ms(value: float | None, kind: str | None = None) -> str | None:
    """Write a latency, with its kind where it is not clear from a heading."""
    if value is None:
        return None
    return f"{scales.label(value)} ms" + (f" ({kind})" if kind else "")


def megabytes(value: float | None) -> str | None:
    """Write a number of bytes."""
    return None if value is None else f"{value / 1e6:.1f} MB"


def swatch(kind: str) -> Markup:
    """Return the sign of a kind of figure, as charts draw it; words stand beside it."""
    shape = tag("circle", cx=7, cy=7, r=5, class_="shape")
    drawn = tag("g", shape, class_=f"mark {chart.fill(kind)} strong")
    return tag("svg", drawn, viewBox="0 0 14 14", class_="swatch", aria_hidden="true")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    caption: str,
    numbers: Iterable[int] = (),
    strong: Iterable[int] = (),
) -> Markup:
    """Return a table that scrolls in itself; ``numbers`` are columns, ``strong`` are rows.

    Of very many rows the first are shown, and how many there are is said.
    """
    every, right, marked = list(rows), set(numbers), set(strong)
    head = (tag("th", name, scope="col", class_=_side(i, right)) for i, name in enumerate(columns))
    body = (
        tag("tr", *(tag("td", _cell(cell), class_=_side(i, right)) for i, cell in enumerate(row)),
            class_="strong" if number in marked else None)
        for number, row in enumerate(every[:MAX_ROWS])
    )  # fmt: skip
    if len(every) > MAX_ROWS:
        caption = f"{caption} The first {MAX_ROWS} of {len(every)}; the document has all."
    inner = tag("table", tag("caption", caption), tag("thead", tag("tr", *head)),
                tag("tbody", *body))  # fmt: skip
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _side(index: int, right: set[int]) -> str | None:
    return "number" if index in right else None


def _cell(cell: object) -> object:
    if isinstance(cell, Markup):
        return cell
    return clipped(str(cell), LONGEST_CELL) if cell is not None else tag("span", "-", class_="none")


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Return a list of names and values; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value is not None and value != ""]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in known),
               class_="facts")  # fmt: skip


def notes(texts: Iterable[str], class_: str = "note") -> Markup:
    """Return one paragraph for each text."""
    return join(tag("p", said, class_=class_) for said in texts)


def figure(drawing: Chart, caption: str, beside: Markup | None = None) -> Markup:
    """Return a chart in both its widths, with its words, and its table to open."""
    drawn = (
        tag("div", drawing.draw(width), class_=class_)
        for width, class_ in ((chart.WIDE, "wide"), (chart.NARROW, "narrow"))
    )
    opened = beside and tag("details", tag("summary", "The figures as a table"), beside)
    return tag("figure", tag("figcaption", caption), *drawn, opened)


def legend(entries: Iterable[tuple[Markup, str]]) -> Markup:
    """Return signs and what they mean."""
    return tag("ul", *(tag("li", sign, tag("span", said)) for sign, said in entries),
               class_="legend")  # fmt: skip


def command_line(words: Iterable[str]) -> str:
    """Write a command so that a shell reads it as these words."""
    return shlex.join(words)
