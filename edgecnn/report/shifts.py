"""What moving a picture does to a network's answers, and the aliasing behind it as pictures."""

from collections.abc import Iterator

from edgecnn.aliasing import blurred_every, every, zone_plate
from edgecnn.report import chart, scales, tiles
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.scales import Scale
from edgecnn.shifts import Answers, Shifts

PLATE, STEP = 240, 4
"""Pixels of the zone plate, and the stride it is shown with."""
TOP, HEIGHT, EDGE, LEFT, NAMES = 78.0, 250.0, 14.0, 58.0, 260.0
KEY = (
    "whole lines: the class of the unmoved picture, dashed: the right class   -   below: what a "
    "stride does to waves, without any network"
)
_CLASSES = ("warm", "weak", "strong")


def shifts(found: Shifts) -> Chart:
    """Return the chart: agreement by shift, and a zone plate by stride and by blur and stride."""
    said = ", ".join(f"{one.consistency:.1f} % {one.name}" for one in found.networks)
    label = (
        f"{found.model} on {found.images} pictures moved by up to {found.pixels[-1]} pixels; pairs "
        f"of shifts that get the same class: {said}"
    )
    return Chart(label, lambda width: _draw(found, label, width))


def _draw(found: Shifts, label: str, width: float) -> Markup:
    bottom = TOP + HEIGHT
    below = bottom + 74
    side = min(float(PLATE), (width - 2 * EDGE - 60) / 3)
    x = Scale(0.0, float(found.pixels[-1]), LEFT, width - NAMES)
    known = [one for answers in found.networks for one in _all(answers)]
    y = scales.linear([*known, 100.0], bottom, TOP)
    return chart.svg(
        width,
        below + side + 44,
        label,
        chart.text(_heading(found), 2, 20, "heading"),
        chart.text(chart.fitting(_summary(found), width), 2, 40, "figure"),
        chart.left_axis(y, LEFT, width - NAMES, ""),
        chart.text("pictures (%)", 2, TOP - 8, "title"),
        _bottom(x, found, bottom),
        *(_lines(one, x, y, class_) for one, class_ in
          zip(found.networks, _CLASSES, strict=False)),
        *_names(found, x, y),
        *_plates(found.taps, below, side, width),
    )  # fmt: skip


def _heading(found: Shifts) -> str:
    return f"{found.model}, {found.images} pictures; no weight was trained for the blur"


def _summary(found: Shifts) -> str:
    said = ", ".join(f"{one.consistency:.1f} % {one.name}" for one in found.networks)
    return f"pairs of shifts of a picture that get the same class: {said}"


def _all(answers: Answers) -> tuple[float, ...]:
    return (*answers.agreement, *(answers.top1 or ()))


def _bottom(x: Scale, found: Shifts, bottom: float) -> Markup:
    step = max(1, len(found.pixels) // 16)
    marks = [
        chart.text(str(pixel), x(pixel), bottom + 17, "tick", "middle")
        for pixel in found.pixels[::step]
    ]
    title = "pixels that the picture was moved, down and to the right"
    middle = (x.start + x.end) / 2
    return join([*marks, chart.text(title, middle, bottom + 37, "title", "middle")])


def _lines(answers: Answers, x: Scale, y: Scale, class_: str) -> Markup:
    """Agreement as a whole line with dots, accuracy as a dashed one."""
    drawn = [_line(answers.agreement, x, y, class_)]
    drawn += [
        chart.mark(
            f"{answers.name}\nmoved by {pixel}\n{share:.1f} % as unmoved",
            tag("circle", cx=x(pixel), cy=y(share), r=3.5, class_="shape"),
            class_=f"measured {class_}",
        )
        for pixel, share in enumerate(answers.agreement)
    ]
    if answers.top1 is not None:
        drawn.append(_line(answers.top1, x, y, f"{class_} dashed"))
    return join(drawn)


def _line(shares: tuple[float, ...], x: Scale, y: Scale, class_: str) -> Markup:
    points = [(x(pixel), y(share)) for pixel, share in enumerate(shares)]
    return chart.polyline(points, f"curve {class_}")


def _names(found: Shifts, x: Scale, y: Scale) -> Iterator[Markup]:
    """Name each line at its end, moved apart where two end close together."""
    ends = []
    for answers in found.networks:
        ends.append((y(answers.agreement[-1]), f"{answers.name}: same"))
        if answers.top1 is not None:
            ends.append((y(answers.top1[-1]), f"{answers.name}: right"))
    below = 0.0
    for at, said in sorted(ends):
        below = max(at, below + 15.0)
        yield chart.text(said, x.end + 10, below + 4, "name")


def _plates(taps: int, top: float, side: float, width: float) -> Iterator[Markup]:
    plate = zone_plate(PLATE)
    limit = 0.5 / STEP
    shown = (
        (plate, f"rings of 0 to 0.5 cycles per pixel, {PLATE} x {PLATE}"),
        (every(plate, STEP), f"every {STEP}th pixel: false rings above {limit:g} cycles"),
        (blurred_every(plate, STEP, taps), f"twice a blur of {taps} taps and every 2nd pixel"),
    )
    step = (width - 2 * EDGE - 3 * side) / 2 + side
    for index, (picture, said) in enumerate(shown):
        x = EDGE + index * step
        yield tiles.picture(tiles.unsigned(picture, 1.0), x, top, side, said)
        yield chart.text(said, x + side / 2, top + side + 18, "figure", "middle")
