"""The time of layers: by the kind of operator, and the slowest nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.report import scales
from edgecnn.report.bars import Bar, bars
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import figure, table

SHOWN_OPS, SHOWN_NODES = 8, 15


@dataclass(frozen=True)
class Layer:
    """One executed node or layer, and its time in ms."""

    name: str
    op: str
    ms: float


def layers(found: Sequence[Layer], kind: str) -> Markup | None:
    """Return two bar charts, with all layers in a table; None where no times are known."""
    total = sum(layer.ms for layer in found)
    if not total:
        return None
    by_op: dict[str, list[Layer]] = {}
    for layer in found:
        by_op.setdefault(layer.op, []).append(layer)
    sums = [(op, sum(layer.ms for layer in group), f"{len(group)} nodes")
            for op, group in by_op.items()]  # fmt: skip
    nodes = [(layer.name, layer.ms, layer.op) for layer in found]
    every = table(
        ["node", "operator", "ms", "share"],
        [[one.name, one.op, scales.label(one.ms), f"{one.ms / total:.1%}"] for one in found],
        f"All {len(found)} nodes, in the order of their execution.",
        numbers=(2, 3),
    )
    said = f"{len(found)} nodes, {scales.label(total)} ms together ({kind})"
    return join(
        [
            figure(
                bars(_rows(sums, SHOWN_OPS, total, kind), "ms",
                     f"Time by kind of operator, {said}"),
                f"Where the time goes: by kind of operator; {said}.",
            ),
            figure(
                bars(_rows(nodes, SHOWN_NODES, total, kind), "ms", f"The slowest of {said}"),
                f"The {min(SHOWN_NODES, len(nodes))} slowest nodes.",
                every,
            ),
        ]
    )  # fmt: skip


def _rows(
    times: Sequence[tuple[str, float, str]], shown: int, total: float, kind: str
) -> list[Bar]:
    ordered = sorted(times, key=lambda row: -row[1])
    first, rest = ordered[:shown], ordered[shown:]
    if rest:
        first = [*first, (f"{len(rest)} others", sum(ms for _, ms, _ in rest), "together")]
    return [
        Bar(name, ms, kind, f"{scales.label(ms)} ms, {ms / total:.0%}", None, (what,))
        for name, ms, what in first
    ]
