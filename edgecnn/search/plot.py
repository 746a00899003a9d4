"""The live plot of a search: rewritten in one step each time something was judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.errors import UsageError
from edgecnn.files import replace_file
from edgecnn.report import pareto, plots
from edgecnn.report.pareto import Point
from edgecnn.search.goal import Found, Goal
from edgecnn.search.goal import pareto as front_of


def check(path: Path) -> None:
    """Refuse what could not be drawn hours later. Raises UsageError."""
    if path.suffix.lower() != ".svg":
        raise UsageError(f"{path}: the live plot is an SVG; pass a name that ends in .svg.")


def write(goal: Goal, found: Sequence[Found], path: Path) -> None:
    """Draw all judged networks, their front and the target. Nothing judged: nothing is drawn.

    Raises DiskError where `path` cannot be written.
    """
    if not found:
        return
    front = {one.number for one in front_of(goal, found)}
    points = [
        Point(
            name=one.spec.name,
            latency_ms=one.latency_ms,
            latency_kind=one.latency_kind,
            top1=one.top1,
            top1_kind=one.top1_kind,
            front=one.number in front,
            details=(f"network {one.number} of the search",),
        )
        for one in found
    ]
    replace_file(path, plots.svg(pareto.pareto(points, goal.target_ms)).encode())
