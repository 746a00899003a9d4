"""Candidates by latency and accuracy, their front, and the target."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.labels import Box, place
from edgecnn.report.markup import Markup, clipped, join, tag
from edgecnn.report.scales import Scale

MAX_POINTS = 2500
LABELS = 8
LONGEST_LABEL = 44
NEIGHBOURS = 300
"""Names are kept off so many points; among more there is no room anyway."""


@dataclass(frozen=True)
class Point:
    """One candidate: ``latency_ms`` and ``top1`` in per cent, each of a kind; None is unknown.

    ``percentile`` is of a measured latency; predicted and published ones are typical. ``details``
    are the lines shown at hover.
    """

    name: str
    latency_ms: float
    latency_kind: str | None
    top1: float | None
    top1_kind: str | None
    front: bool = False
    chosen: bool = False
    details: tuple[str, ...] = ()
    percentile: int = 95

    @property
    def tip(self) -> str:
        """Everything to be said of it, in lines."""
        top1 = "unknown" if self.top1 is None else f"{self.top1:.2f} % ({self.top1_kind})"
        is_measured = self.latency_kind == "measured"
        kind = f"measured p{self.percentile}" if is_measured else self.latency_kind
        figures = f"{scales.label(self.latency_ms)} ms ({kind})", f"top-1 {top1}"
        return "\n".join((self.name, *figures, *self.details))


def pareto(points: Sequence[Point], target_ms: float | None) -> Chart:
    """Return the chart of ``points``, of which there is at least one; latencies are above 0.

    A front is drawn for each kind of accuracy, since figures of two kinds cannot be compared.
    Points of unknown accuracy stand below the axis.
    """
    shown = _shown(points)
    count = sum(point.front for point in points)
    label = (
        f"{len(points)} candidates by latency (ms) and top-1 accuracy (per cent), {count} of them "
        "on a Pareto front"
    )
    if target_ms is not None:
        label += f"; the target is {target_ms:g} ms"
    return Chart(label, lambda width: _draw(shown, target_ms, width, label))


def _shown(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points to draw, the important ones last and hence on top."""
    first = [point for point in points if point.front or point.chosen]
    rest = [point for point in points if not (point.front or point.chosen)]
    kept = [rest[i] for i in chart.thinned(len(rest), max(1, MAX_POINTS - len(first)))]
    return (*kept, *sorted(first, key=lambda point: point.chosen))


def _draw(points: Sequence[Point], target_ms: float | None, width: float, label: str) -> Markup:
    height = 430.0 if width > chart.BETWEEN else 380.0
    left, right, top, bottom = 44.0, width - 14, 44.0, height - 46
    known = [point.top1 for point in points if point.top1 is not None]
    strip = 24.0 if len(known) < len(points) else 0.0
    latencies = [point.latency_ms for point in points]
    x = scales.fitted([*latencies, *([] if target_ms is None else [target_ms])], left, right)
    y = scales.linear(known or [0.0, 100.0], bottom - strip, top, pad=0.1)
    return chart.svg(
        width,
        height,
        label,
        _beyond(x, target_ms, top, bottom),
        chart.left_axis(y, left, right, "top-1 (%)"),
        chart.bottom_axis(x, top, bottom, "latency (ms)"),
        _unknown_strip(strip, left, right, bottom),
        _target(x, target_ms, top, bottom),
        *_fronts(points, x, y),
        *(_mark(point, x, y, bottom) for point in points),
        *_names(points, x, y, (left, top, right, bottom - strip)),
    )


def _beyond(x: Scale, target_ms: float | None, top: float, bottom: float) -> Markup | None:
    if target_ms is None:
        return None
    at = x(target_ms)
    return tag("rect", x=at, y=top, width=x.end - at, height=bottom - top, class_="beyond")


def _target(x: Scale, target_ms: float | None, top: float, bottom: float) -> Markup | None:
    if target_ms is None:
        return None
    said = f"target {target_ms:g} ms"
    # The title of the vertical axis stands on the left of the same line.
    return chart.upright(x(target_ms), top, bottom, said, "target", (100.0, x.end))


def _unknown_strip(strip: float, left: float, right: float, bottom: float) -> Markup | None:
    if not strip:
        return None
    y = bottom - strip
    return join(
        [
            tag("line", x1=left, x2=right, y1=y, y2=y, class_="axis"),
            chart.text("accuracy unknown", right - 4, bottom - 8, "tick", "end"),
        ]
    )


def _fronts(points: Sequence[Point], x: Scale, y: Scale) -> Iterator[Markup]:
    """Yield a staircase for each group: what is attainable at each latency."""
    for is_measured, corners in _staircases(points, x, y):
        yield chart.polyline(corners, "front" if is_measured else "front others")


def _staircases(
    points: Sequence[Point], x: Scale, y: Scale
) -> Iterator[tuple[bool, list[tuple[float, float]]]]:
    """Yield whether a front is of measured accuracies, and its corners."""
    for group in (True, False):
        members = sorted(
            (point.latency_ms, point.top1)
            for point in points
            if point.front and point.top1 is not None and (point.top1_kind == "measured") == group
        )
        if len(members) < 2:
            continue
        corners = [(x(members[0][0]), y(members[0][1]))]
        for (_, before), (latency_ms, top1) in pairwise(members):
            corners += [(x(latency_ms), y(before)), (x(latency_ms), y(top1))]
        yield group, corners


def _mark(point: Point, x: Scale, y: Scale, bottom: float) -> Markup:
    at_x = x(point.latency_ms)
    at_y = bottom - 12 if point.top1 is None else y(point.top1)
    size = 5.5 if point.front or point.chosen else 4.0
    weight = "strong" if point.front or point.chosen else "weak"
    ring = tag("circle", cx=at_x, cy=at_y, r=11.0, class_="ring") if point.chosen else None
    shape = _shape(point.top1_kind, at_x, at_y, size)
    return chart.mark(point.tip, ring, shape, class_=f"{chart.fill(point.latency_kind)} {weight}")


def _shape(top1_kind: str | None, x: float, y: float, size: float) -> Markup:
    """Return a circle for measured accuracy, a diamond for published, a triangle for "published
    fp32", a square for any other."""
    if top1_kind in ("measured", None):
        return tag("circle", cx=x, cy=y, r=size, class_="shape")
    corners = {"published": (4, 0.0, 1.3), "published fp32": (3, 0.0, 1.35)}
    count, turn, reach = corners.get(top1_kind or "", (4, 0.125, 1.25))
    angles = [2 * math.pi * (i / count + turn) for i in range(count)]
    outline = " ".join(
        f"{x + reach * size * math.sin(a):.1f},{y - reach * size * math.cos(a):.1f}" for a in angles
    )
    return tag("polygon", points=outline, class_="shape")


def _names(points: Sequence[Point], x: Scale, y: Scale, room: Box) -> Iterator[Markup]:
    """Yield names as far as there is room: of the choice, of front members, of all if few."""
    known = [p for p in reversed(points) if p.top1 is not None]
    named = known if len(known) <= LABELS else [p for p in known if p.front or p.chosen]
    taken = [_around(x(p.latency_ms), y(p.top1 or 0.0)) for p in known[:NEIGHBOURS]]
    for _, corners in _staircases(points, x, y):
        taken += [_along(*line) for line in pairwise(corners)]
    # The choice first, then the front, then what is most accurate.
    ranked = sorted(named, key=lambda p: (not p.chosen, not p.front, -(p.top1 or 0.0)))
    for point in ranked[:LABELS]:
        name = clipped(point.name, LONGEST_LABEL)
        at = x(point.latency_ms), y(point.top1 or 0.0)
        spot = place(at, chart.width_of(name), 14.0, taken, room)
        if spot is None:
            continue
        taken.append(spot)
        class_ = "name chosen" if point.chosen else "name"
        yield chart.text(name, spot[0], spot[3] - 3, class_)


def _around(x: float, y: float) -> Box:
    return x - 6, y - 6, x + 6, y + 6


def _along(start: tuple[float, float], end: tuple[float, float]) -> Box:
    """What a level or upright line takes."""
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(start, end, strict=True))
    return left - 1, top - 1, right + 1, bottom + 1
