"""``edgecnn scale --grid``: coefficients of compound scaling, searched for on a base network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecnn.cli import _proxy
from edgecnn.cli._output import Report, print_table, progress

if TYPE_CHECKING:
    from edgecnn.cli._scale_latency import Source
    from edgecnn.scale import Candidate, Cost
    from edgecnn.spec import ModelSpec

F = TypeVar("F", bound=Callable[..., Any])
FLOPS, LATENCY = "flops", "latency"


def options(function: F) -> F:
    """Add the options of the grid search."""
    for option in (
        click.option("--grid", is_flag=True, help="Search for the coefficients."),
        click.option(
            "--constraint",
            type=click.Choice((FLOPS, LATENCY)),
            default=FLOPS,
            show_default=True,
            help="What doubles at phi 1: multiply-adds, as in the paper, or each table's latency.",
        ),
        click.option("--step", type=float, default=0.1, show_default=True, help="Of the grid."),
        click.option(
            "--tolerance", type=float, default=0.1, show_default=True, help="Of the doubling."
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class Searched:
    """The grid of one constraint, best first; `latencies` are of each point, by each source."""

    constraint: str
    accuracy: str
    points: "tuple[Candidate, ...]"
    sources: tuple[str, ...]
    latencies: tuple[tuple[float, ...], ...]

    @property
    def best(self) -> "Candidate":
        return self.points[0]


def searched(
    base: "ModelSpec",
    sources: "Sequence[Source]",
    workdir: Path,
    *,
    constraint: str,
    step: float,
    tolerance: float,
    data: Path | None,
    train_threads: int,
    **recipe: Any,
) -> list[Searched]:
    """The grid, once for all sources where multiply-adds double, else once for each.

    Networks are trained once, however many grids they are in. Raises VerdictError where no point
    keeps the constraint.
    """
    from edgecnn import scale
    from edgecnn.errors import VerdictError
    from edgecnn.scale import Cost

    grid = scale.Grid(step=step, tolerance=tolerance)
    accuracy = _proxy.accuracy(data, workdir, train_threads, **recipe)
    costs: list[tuple[str, Cost | None]] = [("multiply-adds (equation 3)", None)]
    if constraint == LATENCY:
        costs = [(f"latency, {one.kind}, by {one.name}", one.known_ms) for one in sources]
    found = []
    for name, asked in costs:
        cost = asked and cache(asked)
        with progress() as report:
            listed = scale.search(base, cost and _told(cost, report), grid=grid)
        if not listed:
            raise VerdictError(
                f"no coefficients on a grid of {step:g} double the {name} within {tolerance:.0%}. "
                "Take a smaller --step or a larger --tolerance."
            )
        specs = {one.spec for one in listed}
        with progress() as report:
            judge = _judge(base, accuracy, len(specs), report)
            points = scale.search(base, cost, judge, grid)
        latencies = tuple(tuple(one.known_ms(p.spec) for one in sources) for p in points)
        names = tuple(one.name for one in sources)
        found.append(Searched(name, accuracy.kind, points, names, latencies))
    return found


def _told(cost: "Cost", report: Report) -> "Cost":
    """`cost`, with progress: how many networks a grid leads to is not known before."""
    number = count()

    def told(spec: "ModelSpec") -> float:
        report(f"latency of {spec.name}", next(number), 0)
        return cost(spec)

    return told


def _judge(
    base: "ModelSpec", accuracy: Any, total: int, report: Report
) -> "Callable[[ModelSpec], float | None]":
    from edgecnn.search import CandidateError

    done = 0

    def judge(spec: "ModelSpec") -> float | None:
        nonlocal done
        report(f"judging {spec.name}", done, total)
        done += 1
        try:
            top1: float | None = accuracy.top1(accuracy.network(spec), lambda epoch, so_far: None)
        except CandidateError:
            return None
        return top1

    return judge


def document(found: Sequence[Searched]) -> dict[str, Any]:
    """The grids for --json."""
    return {
        "grids": [
            {
                "constraint": one.constraint,
                "top1_kind": one.accuracy,
                "best": _point(one, 0),
                "points": [_point(one, index) for index in range(len(one.points))],
            }
            for one in found
        ]
    }


def _point(one: Searched, index: int) -> dict[str, Any]:
    point = one.points[index]
    latencies = zip(one.sources, one.latencies[index], strict=True)
    return {
        "coefficients": list(point.coefficients.values),
        "name": point.spec.name,
        "ratio": point.cost_ratio,
        "top1": point.accuracy,
        "latency_ms": {name: ms if ms != float("inf") else None for name, ms in latencies},
    }


def print_grids(base: "ModelSpec", found: Sequence[Searched]) -> None:
    """Print each grid, best first, and then the best of all side by side."""
    for one in found:
        print_table(
            ["depth", "width", "resolution", "ratio", f"top-1 (%), {one.accuracy}",
             *(f"ms by {n.partition(' ')[0]}" for n in one.sources), "network"],
            [
                [*(f"{c:g}" for c in p.coefficients.values), f"{p.cost_ratio:.2f}",
                 None if p.accuracy is None else f"{p.accuracy:.2f}",
                 *(f"{ms:.3g}" for ms in latencies), p.spec.name]
                for p, latencies in zip(one.points, one.latencies, strict=True)
            ],
            title=f"{base.name} at phi 1, doubling the {one.constraint}",
            text=["network"],
        )  # fmt: skip
    for one in found:
        values = ", ".join(f"{c:g}" for c in one.best.coefficients.values)
        said = "nearest to it (accuracy unknown: pass --data)"
        if one.best.accuracy is not None:
            said = f"best: {one.best.accuracy:.2f} % ({one.accuracy})"
        click.echo(f"doubling the {one.constraint}: depth, width, resolution {values}, {said}")
