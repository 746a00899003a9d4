"""A training's course as a picture: loss and accuracy over its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import UnavailableError
from edgecnn.files import replace_file
from edgecnn.report import chart, plots, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.training.result import Epoch

NAME = "curves"
_PANEL, _GAP = 190.0, 44.0
_LEFT = 52.0


def write(folder: Path, epochs: Sequence[Epoch], best: int) -> str | None:
    """Draw curves.svg and, where resvg is installed, curves.png; else say why there is no PNG.

    Raises DiskError.
    """
    drawing = curves(epochs, best)
    key = "top-1 on the pictures that judge an epoch; the ring marks the epoch that was taken"
    replace_file(folder / f"{NAME}.svg", plots.svg(drawing, key=key).encode())
    png = folder / f"{NAME}.png"
    try:
        plots.check(png)
    except UnavailableError as error:
        return str(error)
    replace_file(png, plots.png(plots.svg(drawing, key=key)))
    return None


def curves(epochs: Sequence[Epoch], best: int) -> Chart:
    """The chart of one or more epochs; `best` is the number of the one whose weights are taken."""
    last = epochs[-1]
    label = (
        f"{len(epochs)} epochs: the loss goes from {epochs[0].loss:.3f} to {last.loss:.3f}, top-1 "
        f"from {epochs[0].top1:.2f} to {last.top1:.2f} per cent"
    )
    return Chart(label, lambda width: _draw(epochs, best, width, label))


def _draw(epochs: Sequence[Epoch], best: int, width: float, label: str) -> Markup:
    right = width - 14
    numbers = [float(epoch.number) for epoch in epochs]
    x = scales.linear(numbers, _LEFT, right, pad=0.02)
    rows = [
        ("mean training loss", [epoch.loss for epoch in epochs], False),
        ("top-1 (%)", [epoch.top1 for epoch in epochs], True),
    ]
    panels = [
        _panel(x, numbers, values, title, index, best if ringed else None)
        for index, (title, values, ringed) in enumerate(rows)
    ]
    bottom = len(rows) * (_PANEL + _GAP) - _GAP + 24
    axis = chart.bottom_axis(x, bottom, bottom, "epoch")
    return chart.svg(width, bottom + 46, label, *panels, axis)


def _panel(
    x: scales.Scale,
    numbers: Sequence[float],
    values: Sequence[float],
    title: str,
    index: int,
    ringed: int | None,
) -> Markup:
    top = 24 + index * (_PANEL + _GAP)
    y = scales.linear(values, _PANEL, 0.0, pad=0.08)
    points = [(x(number), y(value)) for number, value in zip(numbers, values, strict=True)]
    marks = [
        chart.mark(
            f"epoch {number:g}\n{title} {value:.4g}",
            tag("circle", cx=at[0], cy=at[1], r=3.0, class_="shape"),
            tag("circle", cx=at[0], cy=at[1], r=9.0, class_="ring") if number == ringed else None,
            class_="measured strong",
        )
        for number, value, at in zip(numbers, values, points, strict=True)
    ]
    # The title of an axis stands at the height 14 of its own drawing.
    drawn = [chart.left_axis(y, _LEFT, x.end, ""), chart.polyline(points, "front"), *marks]
    return join(
        [
            chart.text(title, 2, top - 10, "title"),
            tag("g", *drawn, transform=f"translate(0 {top:g})"),
        ]
    )
