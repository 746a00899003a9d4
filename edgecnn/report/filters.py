"""A convolution as pictures: filters, frequency responses, and the maps of a photograph."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgecnn.filters import COLORS, Filters, beyond, frequencies
from edgecnn.report import chart, tiles
from edgecnn.report.chart import Chart
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.tiles import Floats, Pixels

MOST, FEW = 96, 40
"""Filters shown at most, and how many are few enough for large maps."""
EDGE, BETWEEN = 14.0, 6.0
TILE, MAP, LARGEST = 58.0, 104.0, 140.0
"""Sides of tiles: at least, for maps at least, and at most."""
LARGE = 256.0
TITLE, SECTION = 30.0, 34.0
KEY = (
    "each picture is scaled by itself   -   dashed square: what the stride can carry; of a filter "
    "that lets everything through, 1 - 1 / stride^2 of the energy lies outside"
)


@dataclass(frozen=True)
class _Section:
    """A heading with a note, and tiles below it."""

    title: str
    note: str
    tiles: tuple[Pixels, ...]
    tips: tuple[str, ...]
    side: float


def filters(found: Filters) -> Chart:
    """Return the chart of a convolution's filters, and of its maps where it has any."""
    count, _, size, _ = found.taps.shape
    label = (
        f"{found.model}: {count} filters of {size} x {size} of {found.layer}, their frequency "
        "responses" + ("" if found.maps is None else " and feature maps")
    )
    return Chart(label, lambda width: _draw(found, label, width))


def _draw(found: Filters, label: str, width: float) -> Markup:
    shown = min(MOST, len(found.taps))
    parts: list[Markup] = [chart.text(_heading(found), EDGE, 22, "heading")]
    top = TITLE
    for section in _sections(found, shown):
        drawn, top = _section(section, top, width)
        parts.append(drawn)
        if section.title.startswith("frequency"):
            drawn, top = _responses(found, top, width)
            parts.append(drawn)
    return chart.svg(width, top, label, *parts)


def _heading(found: Filters) -> str:
    count, _, size, _ = found.taps.shape
    return (
        f"{found.model}, {found.layer}: {count} filters of {size} x {size}, stride {found.stride}"
    )


def _sections(found: Filters, shown: int) -> Iterator[_Section]:
    taps, names = found.taps[:shown], [f"filter {i}" for i in range(shown)]
    more = f"; the first {shown} of {len(found.taps)}" if shown < len(found.taps) else ""
    what = "red, green and blue weights" if taps.shape[1] == COLORS else "weights"
    yield _Section(
        "filters",
        f"{what}, middle gray is 0{more}; weights: {found.weights}",
        tuple(tiles.signed(one if len(one) == COLORS else one[0]) for one in taps),
        tuple(names),
        TILE,
    )
    responses, shares = found.responses[:shown], found.beyond[:shown]
    yield _Section(
        "frequency responses",
        "magnitude; still light (0 cycles per pixel) in the middle, 0.5 cycles per pixel at the "
        "edges",
        tuple(tiles.unsigned(one) for one in responses),
        tuple(f"{n}\n{s:.0%} of its energy above {0.5 / found.stride:g} cycles per pixel"
              for n, s in zip(names, shares, strict=True)),
        TILE,
    )  # fmt: skip
    if found.maps is not None:
        height, width = found.maps.shape[1:]
        yield _Section(
            "feature maps",
            f"{height} x {width}, results of the convolution itself, dark to light",
            tuple(tiles.stretched(one) for one in found.maps[:shown]),
            tuple(names),
            MAP if shown <= FEW else TILE,
        )


def _section(section: _Section, top: float, width: float) -> tuple[Markup, float]:
    count, room = len(section.tiles), width - 2 * EDGE + BETWEEN
    rows = tiles.rows_of(count, max(1, int(room / (section.side + BETWEEN))))
    columns = tiles.rows_of(count, rows)
    step = min(LARGEST + BETWEEN, room / columns)
    first = top + SECTION

    def place(index: int) -> tuple[float, float]:
        return EDGE + index % columns * step, first + index // columns * step

    note_at = EDGE + 1.12 * chart.width_of(section.title) + 10
    drawn = join(
        [
            chart.text(section.title, EDGE, top + 20, "title"),
            chart.text(chart.fitting(section.note, width - note_at), note_at, top + 20, "figure"),
            tiles.grid(section.tiles, place, step - BETWEEN, section.tips),
        ]
    )
    return drawn, first + rows * step + 6


def _responses(found: Filters, top: float, width: float) -> tuple[Markup, float]:
    """Two large responses with axes: all filters together, and that of the sharpest one."""
    together = np.sqrt((found.responses**2).mean(axis=0))
    sharpest = int(np.argmax(found.beyond))
    panels = [
        ("all filters, root mean square", together),
        (f"filter {sharpest}, most above the stride's limit", found.responses[sharpest]),
    ]
    if found.picture is not None:
        panels.append(("the picture, logarithmic", _spectrum(found.picture)))
    step = LARGE + 44
    drawn = [
        _response(title, values, found.stride, EDGE + 30 + i * step, top + 26)
        for i, (title, values) in enumerate(panels)
    ]
    if found.picture is not None and EDGE + 30 + 3 * step + 80 < width:
        drawn.append(tiles.picture(found.picture, EDGE + 30 + 3 * step, top + 26, 120.0))
    return join(drawn), top + 26 + LARGE + 52


def _spectrum(picture: Pixels) -> Floats:
    """Of a picture's brightness, without its mean; a window takes away what the edges add."""
    gray = picture.astype(np.float64).mean(axis=2)
    window = np.hanning(len(gray))
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2((gray - gray.mean()) * np.outer(window, window))))
    logarithm = np.log10(1 + spectrum)
    return np.asarray(np.maximum(logarithm - np.quantile(logarithm, 0.02), 0))


def _response(title: str, values: Floats, stride: int, x: float, y: float) -> Markup:
    """A response with its axes; a dashed square is the limit of what the stride keeps."""
    middle, reach = (x + LARGE / 2, y + LARGE / 2), LARGE / stride
    limit = tag(
        "rect",
        x=middle[0] - reach / 2,
        y=middle[1] - reach / 2,
        width=reach,
        height=reach,
        class_="limit",
    )
    share = beyond(values, stride) if len(values) == len(frequencies()) else None
    said = "" if share is None or stride == 1 else f"{share:.0%} of the energy outside the square"
    ticks = []
    for tick in (-0.5, -0.25, 0.0, 0.25, 0.5):
        along = x + (tick + 0.5) * LARGE
        ticks.append(chart.text(f"{tick:g}", along, y + LARGE + 16, "tick", "middle"))
        if tick != 0.0 or x < 2 * EDGE + 30:
            across = y + (0.5 - tick) * LARGE
            ticks.append(chart.text(f"{tick:g}", x - 6, across + 4, "tick", "end"))
    return join(
        [
            chart.text(title, x, y - 8, "figure"),
            tiles.picture(tiles.unsigned(values), x, y, LARGE),
            limit if stride > 1 else None,
            *ticks,
            chart.text("cycles per pixel", middle[0], y + LARGE + 32, "title", "middle"),
            chart.text(said, middle[0], y + LARGE + 47, "figure", "middle"),
        ]
    )
