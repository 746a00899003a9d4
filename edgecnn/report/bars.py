"""Horizontal bars: the time of each layer, or of each runtime, with its interval where known."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, tag
from edgecnn.report.scales import Scale


@dataclass(frozen=True)
class Bar:
    """A length with its name; ``said`` is its figure in words, ``until`` the end of a whisker."""

    name: str
    value: float
    kind: str | None
    said: str
    until: tuple[float, float] | None = None
    details: tuple[str, ...] = ()

    @property
    def tip(self) -> str:
        """Everything to be said of it, in lines."""
        kind = f" ({self.kind})" if self.kind else ""
        return "\n".join((self.name, f"{self.said}{kind}", *self.details))


def bars(rows: Sequence[Bar], title: str, label: str, limit: float | None = None) -> Chart:
    """Return bars that begin at 0, in the order given; ``limit`` is a line that is not to be
    passed. ``title`` names the quantity and its unit."""
    return Chart(label, lambda width: _draw(rows, title, label, limit, width))


def _draw(rows: Sequence[Bar], title: str, label: str, limit: float | None, width: float) -> Markup:
    stacked = width <= chart.BETWEEN
    step, top = (42.0 if stacked else 26.0), (24.0 if limit is not None else 8.0)
    left = 4.0 if stacked else _left(rows, width)
    bottom = top + step * len(rows) + 4
    said = max((chart.width_of(row.said) for row in rows), default=0.0)
    ends = [end for row in rows for end in (row.value, *(row.until or ()))]
    x = scales.from_zero([*ends, limit or 0.0], left, width - said - 14)
    return chart.svg(
        width,
        bottom + 44,
        label,
        chart.bottom_axis(x, top, bottom, title),
        *(_bar(row, x, top + i * step, stacked, width) for i, row in enumerate(rows)),
        None
        if limit is None
        else chart.upright(x(limit), top, bottom, f"target {limit:g} ms", "target", (0, width)),
    )


def _left(rows: Sequence[Bar], width: float) -> float:
    return min(0.42 * width, 16 + max((chart.width_of(row.name) for row in rows), default=0.0))


def _bar(row: Bar, x: Scale, y: float, stacked: bool, width: float) -> Markup:
    at = y + (19 if stacked else 4)
    name = (
        chart.text(chart.fitting(row.name, width - 8), 4, y + 14, "name")
        if stacked
        else chart.text(chart.fitting(row.name, x.start - 12), x.start - 8, y + 17, "name", "end")
    )
    until = x(max(row.value, *(row.until or (row.value,))))
    long = max(1.0, x(row.value) - x.start)
    return chart.mark(
        row.tip,
        name,
        tag("rect", x=x.start, y=at, width=long, height=17.0, rx=2.0, class_="shape"),
        _whisker(row, x, at + 8.5),
        chart.text(row.said, until + 7, at + 13, "figure"),
        class_=f"{chart.fill(row.kind)} strong",
    )


def _whisker(row: Bar, x: Scale, y: float) -> Markup | None:
    if row.until is None:
        return None
    low, high = map(x, row.until)
    path = f"M{low:.1f} {y - 5}v10M{low:.1f} {y}H{high:.1f}M{high:.1f} {y - 5}v10"
    return tag("path", d=path, class_="whisker")
