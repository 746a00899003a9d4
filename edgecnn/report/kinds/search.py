"""What a search found (``edgecnn search``)."""

from collections.abc import Collection
from dataclasses import replace

from edgecnn.report import scales
from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, join
from edgecnn.report.pareto import Point, pareto
from edgecnn.report.parts import Section, Verdict, facts, figure, table

made_by = "edgecnn search --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a search."""
    return {"goal", "judged", "best", "front"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of a search: the best networks and the front."""
    target_ms, goal = document.positive("target_ms"), document.child("goal")
    front = {point.details: point for point in map(_point, document.children("front"))}
    best = [_point(one) for one in document.children("best")]
    points = [*front.values(), *(one for one in best if one.details not in front)]
    first = best[0] if best else None
    if first is not None:
        points = [replace(one, chosen=one.details == first.details) for one in points]
    return Section(
        title=f"Search of the space {goal.maybe_text('space')} under {target_ms:g} ms",
        body=join([_chart(points, target_ms), _best(document), _facts(document, goal)]),
        verdicts=(_verdict(first, target_ms, document),),
        commands=(document.texts("command"),) if document.texts("command") else (),
    )


def _point(found: Fields) -> Point:
    return Point(
        name=found.text("name"),
        latency_ms=found.positive("latency_ms"),
        latency_kind=found.maybe_text("latency_kind") or "predicted",
        top1=found.maybe_percent("top1"),
        top1_kind=found.maybe_text("top1_kind"),
        front="meets" not in found.data,
        details=(f"network {found.maybe_count('number')} of the search",),
    )


def _verdict(first: Point | None, target_ms: float, document: Fields) -> Verdict:
    judged = document.maybe_count("judged")
    if first is None:
        return Verdict(f"None of {judged} networks could be judged", False)
    meets = first.latency_ms <= target_ms
    word = "meets" if meets else "misses"
    accuracy = "unknown" if first.top1 is None else f"{first.top1:.2f} %"
    return Verdict(
        f"{first.name}, best of {judged}: {scales.label(first.latency_ms)} ms "
        f"({first.latency_kind}), {accuracy} top-1 ({first.top1_kind}) \N{EN DASH} {word} "
        f"{target_ms:g} ms",
        meets,
    )


def _chart(points: list[Point], target_ms: float) -> Markup | None:
    if not points:
        return None
    return figure(
        pareto(points, target_ms),
        "The best networks that were found; the line is the front of the whole search.",
    )


def _best(document: Fields) -> Markup:
    rows = [
        [
            one.text("name"),
            scales.label(one.positive("latency_ms")),
            one.maybe_text("latency_kind"),
            one.maybe_percent("top1"),
            one.maybe_text("top1_kind"),
            one.maybe_number("reward"),
            {True: "yes", False: "no"}.get(one.flag("meets") or False),
        ]
        for one in document.children("best")
    ]
    shown = [[f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
    return table(
        ["network", "latency (ms)", "of kind", "top-1 (%)", "of kind", "reward", "meets"],
        shown, "The best networks.", numbers=(1, 3, 5),
    )  # fmt: skip


def _facts(document: Fields, goal: Fields) -> Markup:
    named = [(key, goal.maybe_text(key)) for key in ("space", "aim", "accuracy", "latency")]
    return facts([*named, ("networks judged", document.maybe_count("judged"))])
