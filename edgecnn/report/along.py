"""A network along its layers: one panel for each figure, all over the same layers.

Shaded stripes in the background are stages: where the map becomes smaller, another begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgecnn.anatomy import Anatomy, Times, details, weightiest
from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.scales import Scale
from edgecnn.workload import Operator

PANEL, GAP, AXIS = 104.0, 46.0, 44.0
TOP, LINE = 74.0, 20.0
TALLEST = 1.5
"""Panels of a wide drawing are so many times as tall."""
LEFT, RIGHT = 58.0, 14.0
PER_LAYER, NARROWEST, WIDEST = 7.0, 900.0, 1800.0
SMALLEST_BAR = 1.6
BOLD = 1.12
"""Of a panel's title, in widths of plain text."""
FAR = 0.1
"""Of a run's time: so much the times of its nodes may add up to another."""
KEY = (
    "filled: counted or measured, hollow: predicted   -   blue: convolutions and fully connected "
    "layers, orange: depthwise convolutions, gray: all others"
)


@dataclass(frozen=True)
class Panel:
    """A figure of each layer, in the unit of its title; None where it is not known.

    ``said`` is the sentence beside the title, ``kind`` fills the bars (see `chart.fill`).
    """

    title: str
    said: str
    values: tuple[float | None, ...]
    kind: str = "measured"
    is_area: bool = False


def width_for(anatomy: Anatomy) -> float:
    """The width in pixels at which the bars of all layers can be told apart."""
    return min(WIDEST, max(NARROWEST, LEFT + RIGHT + PER_LAYER * len(anatomy.layers)))


def along(anatomy: Anatomy) -> Chart:
    """Return the chart of an anatomy."""
    panels = tuple(_panels(anatomy))
    label = (
        f"{anatomy.name} at {anatomy.imgsz} x {anatomy.imgsz} along its {len(anatomy.layers)} "
        f"layers: {', '.join(panel.title for panel in panels)}"
    )
    return Chart(label, lambda width: _draw(anatomy, panels, label, width))


def _panels(anatomy: Anatomy) -> Iterator[Panel]:
    layers = anatomy.layers
    folded = "normalization folded into convolutions"
    yield _counted("parameters", [layer.params for layer in layers], layers, f"; {folded}")
    yield _counted("multiply-adds", [layer.macs for layer in layers], layers)
    live = [size / 1e6 for size in anatomy.live_bytes]
    peak = max(range(len(live)), key=live.__getitem__)
    yield Panel(
        "activations alive (MB, float32)",
        f"peak {scales.label(live[peak])} MB, while {layers[peak].name} runs",
        tuple(live),
        is_area=True,
    )
    if anatomy.times is not None:
        yield _timed(anatomy.times, layers)


def _counted(what: str, values: Sequence[int], layers: Sequence[Operator], more: str = "") -> Panel:
    unit, size = ("millions", 1e6) if max(values) >= 1e6 else ("thousands", 1e3)
    total = sum(values)
    whole = f"{total / 1e9:.3g} G" if total >= 1e9 else f"{total / 1e6:.3g} M"
    said = f"{whole} in all; {_most(values, layers)}{more}"
    return Panel(f"{what} ({unit})", said, tuple(value / size for value in values))


def _most(values: Sequence[float], layers: Sequence[Operator]) -> str:
    layer, share = weightiest(values, layers)
    return f"most in {layer.name}, {share:.0%}"


def _timed(times: Times, layers: Sequence[Operator]) -> Panel:
    known = [ms or 0.0 for ms in times.ms]
    said = f"{scales.label(times.total_ms)} ms in all; "
    nodes_ms = sum(known) + times.apart_ms
    if abs(nodes_ms - times.total_ms) > FAR * times.total_ms:
        # A run is timed without the profiler; on a busy machine the two can be far apart.
        said = f"{scales.label(times.total_ms)} ms a run, its nodes {scales.label(nodes_ms)} ms; "
    said += _most(known, layers)
    if times.apart_ms > 0.01 * times.total_ms:
        said += f"; {scales.label(times.apart_ms)} ms more belong to no layer"
    kind = "measured" if times.kind == "measured" else "predicted"
    return Panel(f"latency (ms), {kind}", said, times.ms, kind)


def _draw(anatomy: Anatomy, panels: Sequence[Panel], label: str, width: float) -> Markup:
    count, start, end = len(anatomy.layers), LEFT, width - RIGHT
    x = Scale(0.0, float(count), start, end)
    top = TOP if anatomy.times is None else TOP + LINE
    tall = PANEL * min(TALLEST, max(1.0, width / NARROWEST))
    bottom = top + len(panels) * (tall + GAP) - GAP
    title = f"{anatomy.name} at {anatomy.imgsz} x {anatomy.imgsz}, {count} layers"
    return chart.svg(
        width,
        bottom + AXIS,
        label,
        chart.text(title, 2, 20, "heading"),
        _latency_line(anatomy.times, width),
        _stages(anatomy, x, (top - 32, bottom)),
        *(
            _panel(panel, anatomy, x, top + index * (tall + GAP), tall)
            for index, panel in enumerate(panels)
        ),
        _rows(anatomy.layers, x, bottom),
    )


def _latency_line(times: Times | None, width: float) -> Markup | None:
    """What the times are, and of which table or machine."""
    if times is None:
        return None
    said = f"latency: {times.source}"
    return chart.text(chart.fitting(said, width), 2, 40, "figure")


def _stages(anatomy: Anatomy, x: Scale, ends: tuple[float, float]) -> Markup:
    starts = [*anatomy.stages, (0, len(anatomy.layers))]
    drawn: list[Markup] = []
    for number, ((side, first), (_, last)) in enumerate(pairwise(starts)):
        left, right = x(first), x(last)
        if number % 2 == 0:
            drawn.append(tag("rect", x=left, y=ends[0], width=right - left,
                             height=ends[1] - ends[0], class_="stage"))  # fmt: skip
        said = f"{side} px" if chart.width_of(f"{side} px") < right - left else str(side)
        if chart.width_of(said) < right - left + 4:
            drawn.append(chart.text(said, (left + right) / 2, ends[0] - 4, "tick", "middle"))
    return join(drawn)


def _panel(panel: Panel, anatomy: Anatomy, x: Scale, top: float, tall: float) -> Markup:
    bottom = top + tall
    known = [value for value in panel.values if value is not None]
    y = scales.from_zero(known, bottom, top)
    grid = [
        join(
            [
                tag("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"),
                chart.text(scales.label(tick), x.start - 8, y(tick) + 4, "tick", "end"),
            ]
        )
        for tick in y.ticks(4)
    ]
    said_at = BOLD * chart.width_of(panel.title) + 14
    said = chart.fitting(panel.said, x.end - said_at)
    return join(
        [
            *grid,
            chart.text(panel.title, 2, top - 12, "title"),
            chart.text(said, said_at, top - 12, "figure"),
            _area(panel, x, y) if panel.is_area else None,
            *(
                _bar(panel, anatomy, index, x, y)
                for index, value in enumerate(panel.values)
                if value
            ),
        ]
    )


def _area(panel: Panel, x: Scale, y: Scale) -> Markup:
    corners: list[tuple[float, float]] = []
    for index, value in enumerate(panel.values):
        corners += [(x(index), y(value or 0.0)), (x(index + 1), y(value or 0.0))]
    floor = [(x.end, y.start), (x.start, y.start)]
    around = " ".join(f"{a:.1f},{b:.1f}" for a, b in (*corners, *floor))
    return join([tag("polygon", points=around, class_="area"), chart.polyline(corners, "outline")])


def _bar(panel: Panel, anatomy: Anatomy, index: int, x: Scale, y: Scale) -> Markup:
    layer, value = anatomy.layers[index], panel.values[index] or 0.0
    wide = x(1) - x(0)
    across = max(SMALLEST_BAR, 0.72 * wide)
    left = x(index) + (wide - across) / 2
    if panel.is_area:
        # Nothing to see, but to point at.
        left, across = x(index), wide
    shape = tag("rect", x=left, y=y(value), width=across, height=y.start - y(value),
                class_="nothing" if panel.is_area else "shape")  # fmt: skip
    tip = "\n".join((layer.name, *details(layer), f"{panel.title}: {scales.label(value)}"))
    return chart.mark(tip, shape, class_=f"{chart.fill(panel.kind)} {_weight(layer)} thin")


def _weight(layer: Operator) -> str:
    if layer.op == "depthwise_conv":
        return "warm"
    return "strong" if layer.macs else "weak"


def _rows(layers: Sequence[Operator], x: Scale, bottom: float) -> Markup:
    """The rows of the architecture below the axis, as far as names tell of them."""
    names = [layer.name.partition(".")[0] if "." in layer.name else "" for layer in layers]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    drawn: list[Markup] = [
        tag("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis"),
        chart.text("layers in the order of their execution", (x.start + x.end) / 2,
                   bottom + 38, "title", "middle"),
    ]  # fmt: skip
    for first, last in zip(starts, [*starts[1:], len(layers)], strict=True):
        drawn.append(tag("line", x1=x(first), x2=x(first), y1=bottom, y2=bottom + 5, class_="axis"))
        room, name = x(last) - x(first), names[first]
        number = name.lstrip("abcdefghijklmnopqrstuvwxyz_")
        said = next((t for t in (name, number) if t and chart.width_of(t) < room), "")
        if said:
            drawn.append(chart.text(said, (x(first) + x(last)) / 2, bottom + 18, "tick", "middle"))
    return join(drawn)
