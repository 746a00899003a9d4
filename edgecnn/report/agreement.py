"""Prediction against measurement: equal figures lie on the diagonal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.pareto import MAX_POINTS
from edgecnn.report.scales import Scale

BAND = 0.1


@dataclass(frozen=True)
class Pair:
    """One network's latency in ms, predicted and measured, and the prediction's interval."""

    name: str
    predicted_ms: float
    measured_ms: float
    interval_ms: tuple[float, float] | None = None

    @property
    def error(self) -> float:
        """The prediction's error as a share of the measurement; below 0 it was too fast."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def tip(self) -> str:
        """Everything to be said of it, in lines."""
        figures = (
            f"{scales.label(self.predicted_ms)} ms predicted",
            f"{scales.label(self.measured_ms)} ms measured",
        )
        return "\n".join((self.name, *figures, f"error {100 * self.error:+.1f} %"))


def agreement(pairs: Sequence[Pair]) -> Chart:
    """Return the chart of ``pairs``, of which there is at least one; all times are above 0."""
    inside = sum(abs(pair.error) <= BAND for pair in pairs)
    label = f"{len(pairs)} predictions against measurements (ms), {inside} within 10 %"
    return Chart(label, lambda width: _draw(pairs, label, width))


def _draw(pairs: Sequence[Pair], label: str, width: float) -> Markup:
    side = min(width - 60, 380.0)
    left, top = 48.0, 28.0
    both = [ms for pair in pairs for ms in (pair.predicted_ms, pair.measured_ms)]
    ends = (0.88 * min(both), 1.12 * max(both))
    x = scales.fitted(ends, left, left + side)
    y = Scale(x.low, x.high, top + side, top, x.log)
    kept = [pairs[i] for i in chart.thinned(len(pairs), MAX_POINTS)]
    return chart.svg(
        width,
        top + side + 46,
        label,
        chart.left_axis(y, left, left + side, "predicted (ms)"),
        chart.bottom_axis(x, top, top + side, "measured (ms)"),
        *_guides(x, y),
        *(_mark(pair, x, y) for pair in kept),
        _said(left + side, top, width),
    )


def _guides(x: Scale, y: Scale) -> Iterator[Markup]:
    steps = [x.low * (x.high / x.low) ** (i / 24) if x.log else x.low + (x.high - x.low) * i / 24
             for i in range(25)]  # fmt: skip
    edges = [(x(ms), y(ms * (1 + BAND))) for ms in steps]
    edges += [(x(ms), y(ms * (1 - BAND))) for ms in reversed(steps)]
    yield tag("polygon", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in edges), class_="band")
    yield chart.polyline([(x(ms), y(ms)) for ms in (x.low, x.high)], "diagonal")


def _mark(pair: Pair, x: Scale, y: Scale) -> Markup:
    at_x, at_y = x(pair.measured_ms), y(pair.predicted_ms)
    whisker = None
    if pair.interval_ms is not None:
        low, high = map(y, pair.interval_ms)
        whisker = tag("path", d=f"M{at_x:.1f} {low:.1f}V{high:.1f}", class_="whisker")
    shape = tag("circle", cx=at_x, cy=at_y, r=5.0, class_="shape")
    return chart.mark(pair.tip, whisker, shape, class_="predicted strong")


def _said(right: float, top: float, width: float) -> Markup | None:
    if width - right < 150:
        return None
    lines = ("diagonal: as measured", "band: within 10 %", "below: predicted too fast")
    return join(chart.text(line, right + 18, top + 16 + 20 * i, "tick")
                for i, line in enumerate(lines))  # fmt: skip
