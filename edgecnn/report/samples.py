"""Latency samples: how they are distributed, and how they came one after another."""

import statistics
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecnn.report import chart, scales
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.scales import Scale

BINS = 48
COLUMNS = 240
FAR = 1.6
"""The histogram ends at so many times the 99th percentile; what lies beyond is one bar."""


@dataclass(frozen=True)
class Line:
    """A value in ms with its name: a percentile, or the target."""

    name: str
    ms: float
    target: bool = False


def histogram(samples_ms: Sequence[float], lines: Sequence[Line], label: str) -> Chart:
    """Return how many runs took how long; ``lines`` are marked. There is at least one sample."""
    ordered = sorted(samples_ms)
    return Chart(label, lambda width: _histogram(ordered, lines, label, width))


def _histogram(ordered: Sequence[float], lines: Sequence[Line], label: str, width: float) -> Markup:
    top, bottom, left, right = 24.0 + 17 * len(lines), 290.0, 44.0, width - 14
    low, high = _range(ordered, lines)
    x = Scale(low, high, left, right)
    edges = [low + (high - low) * i / BINS for i in range(BINS + 1)]
    places = [bisect_right(ordered, edge) for edge in edges[1:-1]]
    starts, ends = [0, *places], [*places, len(ordered)]
    counts = [end - start for start, end in zip(starts, ends, strict=True)]
    beyond = len(ordered) - bisect_right(ordered, high)
    y = scales.from_zero([float(max(counts))], bottom, top)
    return chart.svg(
        width,
        bottom + 46,
        label,
        chart.left_axis(y, left, right, "runs"),
        chart.bottom_axis(x, top, bottom, "latency (ms)"),
        *_columns(edges, counts, x, y, (beyond, ordered[-1])),
        *(
            chart.upright(x(line.ms), 24.0 + 17 * i, bottom, f"{line.name} {scales.label(line.ms)}",
                          "target" if line.target else "quantile", (60, right))
            for i, line in enumerate(lines)
        ),
    )  # fmt: skip


def _range(ordered: Sequence[float], lines: Sequence[Line]) -> tuple[float, float]:
    far = FAR * ordered[int(0.99 * (len(ordered) - 1))]
    low = min(ordered[0], *(line.ms for line in lines))
    high = max(min(ordered[-1], far), *(line.ms for line in lines))
    room = 0.03 * (high - low) or 0.05 * high or 1.0
    return low - room, high + room


def _columns(
    edges: Sequence[float],
    counts: Sequence[int],
    x: Scale,
    y: Scale,
    beyond: tuple[int, float],
) -> Iterator[Markup]:
    for i, count in enumerate(counts):
        if not count:
            continue
        start, end = x(edges[i]), x(edges[i + 1])
        said = f"{count} runs\n{scales.label(edges[i])} to {scales.label(edges[i + 1])} ms"
        if beyond[0] and i == len(counts) - 1:
            said = f"{count} runs above {scales.label(edges[i])} ms, up to {beyond[1]:.4g} ms"
        shape = tag("rect", x=start + 0.5, y=y(count), width=max(1.0, end - start - 1),
                    height=y.start - y(count), class_="shape")  # fmt: skip
        yield chart.mark(said, shape, class_="measured strong")


def sequence(samples_ms: Sequence[float], rounds: Sequence[int], label: str) -> Chart:
    """Return the runs in their order: from the fastest to the slowest of each stretch, and its
    median; thin lines part the rounds."""
    return Chart(label, lambda width: _sequence(samples_ms, rounds, label, width))


def _sequence(
    samples_ms: Sequence[float], rounds: Sequence[int], label: str, width: float
) -> Markup:
    top, bottom, left, right = 26.0, 200.0, 44.0, width - 14
    x = Scale(0, max(1, len(samples_ms)), left, right)
    y = scales.fitted(samples_ms, bottom, top)
    size = max(1, -(-len(samples_ms) // (COLUMNS if width > chart.BETWEEN else COLUMNS // 2)))
    stretches = [(i, samples_ms[i : i + size]) for i in range(0, len(samples_ms), size)]
    medians = [(x(i + len(part) / 2), y(statistics.median(part))) for i, part in stretches]
    return chart.svg(
        width,
        bottom + 46,
        label,
        chart.left_axis(y, left, right, "ms"),
        chart.bottom_axis(x, top, bottom, "runs, in their order"),
        *_borders(rounds, x, top, bottom),
        *(_stretch(i, part, x, y) for i, part in stretches),
        chart.polyline(medians, "through") if size > 1 else None,
    )


def _borders(rounds: Sequence[int], x: Scale, top: float, bottom: float) -> Iterator[Markup]:
    start = 0
    for runs in rounds[:-1] if len(rounds) <= COLUMNS // 2 else ():
        start += runs
        yield tag("line", x1=x(start), x2=x(start), y1=top, y2=bottom, class_="border")


def _stretch(first: int, part: Sequence[float], x: Scale, y: Scale) -> Markup:
    low, high, middle = min(part), max(part), x(first + len(part) / 2)
    which = f"runs {first + 1} to {first + len(part)}" if len(part) > 1 else f"run {first + 1}"
    if low == high:
        shape = tag("circle", cx=middle, cy=y(low), r=2.0, class_="shape")
        return chart.mark(f"{which}\n{scales.label(low)} ms", shape, class_="measured strong")
    said = f"{scales.label(low)} to {scales.label(high)} ms"
    shape = tag("line", x1=middle, x2=middle, y1=y(low), y2=y(high), class_="spread")
    return chart.mark(f"{which}\n{said}", shape)


def trace(points: Sequence[tuple[float, float, str]], label: str) -> Chart:
    """Return a line over time: seconds, ms, and what is said of each point."""
    return Chart(label, lambda width: _trace(points, label, width))


def _trace(points: Sequence[tuple[float, float, str]], label: str, width: float) -> Markup:
    top, bottom, left, right = 26.0, 200.0, 44.0, width - 14
    x = Scale(0.0, max(1e-9, max(at for at, _, _ in points)), left, right)
    y = scales.linear([0.0, *(ms for _, ms, _ in points)], bottom, top, pad=0.05)
    kept = [points[i] for i in chart.thinned(len(points), COLUMNS)]
    return chart.svg(
        width,
        bottom + 46,
        label,
        chart.left_axis(y, left, right, "p50 (ms)"),
        chart.bottom_axis(x, top, bottom, "seconds"),
        chart.polyline([(x(at), y(ms)) for at, ms, _ in kept], "through"),
        join(
            chart.mark(tip, tag("circle", cx=x(at), cy=y(ms), r=3.0, class_="shape"),
                       class_="measured strong")
            for at, ms, tip in kept
        ),
    )  # fmt: skip
