"""Charts as pictures of their own: SVG, or PNG where resvg is installed."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from edgecnn.choice import Row
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.files import replace_file
from edgecnn.report import chart
from edgecnn.report.chart import Chart
from edgecnn.report.markup import join, tag
from edgecnn.report.pareto import Point
from edgecnn.report.pareto import pareto as pareto_chart

COLORS = {"card": "#ffffff", "ink": "#16202b", "muted": "#536171", "line": "#c9d1da",
          "grid": "#e6eaef", "strong": "#0063b2", "weak": "#8b98a7", "target": "#b04a00",
          "beyond": "#f7efe9"}  # fmt: skip
"""The page's colors by day; a picture has no night, since it is put on paper."""
KEY = (
    "filled: measured, hollow: predicted, hatched: published   -   accuracy: circle measured, "
    "diamond published, triangle published fp32"
)
PIXELS = 2
"""Pixels of a PNG for each of the drawing's."""
SUFFIXES = (".svg", ".png")
WIDTH, WIDE, FOOT = 900.0, 1080.0, 30.0


def check(path: Path) -> None:
    """Refuse what could not be written in the end: an ending that is not known, a missing package.

    Raises:
        UsageError: the ending is neither .svg nor .png.
        UnavailableError: a PNG is asked for, and resvg is not installed or finds no font.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a plot is written as {' or '.join(SUFFIXES)}.")
    if path.suffix.lower() == ".png":
        _check_fonts()


def pareto(rows: Sequence[Row], target_ms: float | None, path: Path) -> None:
    """Draw a choice's candidates by latency and accuracy to ``path``, a .svg or .png.

    Rows without a latency are left out. Raises as :func:`check`, DiskError where ``path`` cannot be
    written, and UsageError where no row has a latency.
    """
    check(path)
    points = [point for row in rows if (point := _point(row)) is not None]
    if not points:
        raise UsageError("no candidate has a latency, so there is nothing to draw.")
    write(pareto_chart(points, target_ms), path)


def write(drawing: Chart, path: Path, width: float = WIDTH, key: str = KEY) -> None:
    """Write a chart to ``path``, a .svg or .png; ``key`` is what stands below it.

    Raises as :func:`check`, and DiskError where ``path`` cannot be written.
    """
    check(path)
    picture = svg(drawing, width, key)
    replace_file(path, png(picture) if path.suffix.lower() == ".png" else picture.encode())


def _point(row: Row) -> Point | None:
    if row.latency_ms is None or row.latency_ms <= 0:
        return None
    runtime = f", {row.runtime}" if row.runtime else ""
    return Point(
        name=f"{row.name} {row.precision}{runtime}",
        latency_ms=row.latency_ms,
        latency_kind=row.latency_kind,
        top1=row.top1,
        top1_kind=row.top1_kind,
        front=row.pareto,
        chosen=row.rejected_because is None and row.problem is None,
        details=(f"{row.format}, threads {row.threads}", row.rejected_because or "the choice"),
    )


def svg(drawing: Chart, width: float = WIDTH, key: str = KEY) -> str:
    """Return a chart as an SVG file, with its colors and what its marks mean (``key``)."""
    inner = drawing.draw(width)
    height = float(re.findall(r' height="([\d.]+)"', inner)[0])
    style = files("edgecnn.report").joinpath("chart.css").read_text("utf-8")
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    style = re.sub(r"var\(--(\w+)\)", lambda found: COLORS[found[1]], style)
    content = [
        tag("title", drawing.label),
        tag("style", style),
        chart.PATTERNS,
        tag("rect", width=width, height=height + FOOT, class_="paper"),
        inner,
        chart.text(key, width / 2, height + 14, "tick", "middle"),
    ]
    return tag(
        "svg",
        join(content),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height + FOOT:g}",
        width=width,
        height=height + FOOT,
    )


def png(picture: str) -> bytes:
    """Return an SVG file as a PNG; see :func:`check` for what has to be there."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=PIXELS, font_family="DejaVu Sans",
                                       sans_serif_family="DejaVu Sans"))  # fmt: skip


def _check_fonts() -> None:
    """Refuse to draw a picture whose words would be missing: resvg leaves them out in silence."""
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "a PNG needs resvg: pip install edgecnn[report]. An .svg needs nothing."
        ) from error
    blank = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{}</svg>'
    text = '<text x="2" y="30" font-family="sans-serif" font-size="30">M</text>'
    if png(blank.format(text)) == png(blank.format("")):
        raise UnavailableError(
            "no font was found to write a PNG's words with: install one (Debian: "
            "fonts-dejavu-core), or write an .svg."
        )
