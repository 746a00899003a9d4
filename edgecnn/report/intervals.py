"""Figures with their intervals on one axis: accuracies, drops, predicted latencies."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, tag
from edgecnn.report.scales import Scale


@dataclass(frozen=True)
class Interval:
    """A figure with its name; ``ends`` is its interval, ``said`` both in words."""

    name: str
    value: float
    ends: tuple[float, float] | None
    kind: str | None
    said: str


@dataclass(frozen=True)
class Limit:
    """A line that is named: what a figure must not pass."""

    name: str
    value: float


def intervals(
    rows: Sequence[Interval], title: str, label: str, limits: Sequence[Limit] = ()
) -> Chart:
    """Return the chart of ``rows``, of which there is at least one; ``title`` names the unit."""
    return Chart(label, lambda width: _draw(rows, title, label, limits, width))


def _draw(
    rows: Sequence[Interval], title: str, label: str, limits: Sequence[Limit], width: float
) -> Markup:
    step, top = 48.0, 10.0 + 18 * len(limits)
    bottom = top + step * len(rows)
    values = [end for row in rows for end in (row.value, *(row.ends or ()))]
    x = scales.linear([*values, *(limit.value for limit in limits)], 14, width - 14)
    return chart.svg(
        width,
        bottom + 44,
        label,
        chart.bottom_axis(x, top, bottom, title),
        *(_row(row, x, top + i * step, width) for i, row in enumerate(rows)),
        *(
            chart.upright(x(limit.value), 20.0 + 18 * i, bottom, limit.name, "target", (4, width))
            for i, limit in enumerate(limits)
        ),
    )


def _row(row: Interval, x: Scale, y: float, width: float) -> Markup:
    at, said = y + 32, f"{row.name}: {row.said}"
    whisker = None
    if row.ends is not None:
        low, high = map(x, row.ends)
        path = f"M{low:.1f} {at - 6}v12M{low:.1f} {at}H{high:.1f}M{high:.1f} {at - 6}v12"
        whisker = tag("path", d=path, class_="whisker")
    return chart.mark(
        f"{said}\n{row.kind}" if row.kind else said,
        chart.text(chart.fitting(said, width - 20), 14, y + 17, "name"),
        whisker,
        tag("circle", cx=x(row.value), cy=at, r=5.5, class_="shape"),
        class_=f"{chart.fill(row.kind)} strong",
    )
