"""A network scaled to a deadline (``edgecnn scale``)."""

from collections.abc import Collection

from edgecnn.report import scales
from edgecnn.report.bars import Bar, bars
from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import Section, Verdict, facts, figure, table

made_by = "edgecnn scale --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a scaled network, or of a search for coefficients."""
    return {"base", "target_ms"} <= set(keys) and bool({"member", "grids"} & set(keys))


def section(document: Fields) -> Section:
    """Return the section: the coefficients that were searched for, and the member that meets."""
    base, target_ms = document.text("base"), document.maybe_positive("target_ms")
    command = document.texts("command")
    grids = tuple(map(_grid, document.children("grids")))
    member = document.maybe_child("member")
    if member is None or target_ms is None:
        return Section(
            title=f"Coefficients for {base}",
            body=join(grids),
            commands=(command,) if command else (),
        )
    return Section(
        title=f"{base} scaled to {target_ms:g} ms",
        body=join([_member(document, member, target_ms), *grids]),
        verdicts=(_verdict(member, target_ms),),
        commands=(command,) if command else (),
    )


def _verdict(member: Fields, target_ms: float) -> Verdict:
    latency_ms = member.positive("latency_ms")
    meets = latency_ms <= target_ms
    said = f"{member.text('name')}: {scales.label(latency_ms)} ms ({_kind(member)})"
    return Verdict(f"{said} \N{EN DASH} {'meets' if meets else 'misses'} {target_ms:g} ms", meets)


def _member(document: Fields, member: Fields, target_ms: float) -> Markup:
    """The member that meets the deadline, and the next one, which does not."""
    rows = [row for row in (member, document.maybe_child("next")) if row is not None]
    title = f"The member and the next larger one; the target is {target_ms:g} ms"
    cells = [
        [row.text("name"), *_sizes(row), scales.label(row.positive("latency_ms")), _kind(row)]
        for row in rows
    ]
    growth = ", ".join(map(scales.label, document.numbers("coefficients")))
    return join(
        [
            figure(
                bars([_bar(row) for row in rows], "latency (ms)", title, target_ms),
                "The largest member within the target, and the next one, which is not.",
            ),
            table(
                ["network", "phi", "width", "depth", "px", "latency (ms)", "of kind"],
                cells,
                "Both members.",
                numbers=range(1, 6),
            ),
            facts([("growth of depth, width, resolution", growth)]),
        ]
    )


def _grid(grid: Fields) -> Markup:
    """All points of a search for coefficients, the best first."""
    points = grid.children("points")
    sources = list(points[0].child("latency_ms").data) if points else []
    rows = [
        [
            *map(scales.label, point.numbers("coefficients")),
            scales.label(point.positive("ratio")),
            None if (top1 := point.maybe_percent("top1")) is None else f"{top1:.2f}",
            *(_known(point.child("latency_ms").maybe_positive(source)) for source in sources),
            point.text("name"),
        ]
        for point in points
    ]
    columns = ["depth", "width", "resolution", "ratio", f"top-1 (%), {grid.text('top1_kind')}",
               *(f"ms by {source}" for source in sources), "network"]  # fmt: skip
    caption = f"Coefficients that double the {grid.text('constraint')}, the best first."
    return table(columns, rows, caption, numbers=range(5 + len(sources)), strong=[0])


def _known(latency_ms: float | None) -> str | None:
    return None if latency_ms is None else scales.label(latency_ms)


def _kind(row: Fields) -> str:
    return row.maybe_text("latency_kind") or "predicted"


def _sizes(row: Fields) -> list[str]:
    return [scales.label(row.number(key)) for key in ("phi", "width", "depth", "imgsz")]


def _bar(row: Fields) -> Bar:
    latency_ms = row.positive("latency_ms")
    return Bar(row.text("name"), latency_ms, _kind(row), f"{scales.label(latency_ms)} ms")
