"""A choice among candidates (``edgecnn select``)."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgecnn.report import scales
from edgecnn.report.agreement import Pair
from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, clipped, join, tag
from edgecnn.report.pareto import Point, pareto
from edgecnn.report.parts import (
    LATENCY,
    TOP1,
    Figure,
    Identity,
    Section,
    Verdict,
    facts,
    figure,
    notes,
    table,
)

made_by = "edgecnn select --json"
LONGEST_REASON = 160
CAPTION = (
    "Up is more accurate, left is faster; the shaded side misses the target. The line is the "
    "Pareto front: what no other candidate beats."
)


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a choice."""
    return {"candidates", "choice", "rule"} <= set(keys)


@dataclass(frozen=True)
class Candidate:
    """One row of a choice; latency in ms, accuracy in per cent, ``predicted_ms`` where a finalist
    was measured after it had been predicted."""

    identity: Identity
    format: str | None
    latency_ms: float | None
    latency_kind: str | None
    p50_ms: float | None
    predicted_ms: float | None
    top1: float | None
    top1_kind: str | None
    source: str | None
    ends: tuple[float, float] | None
    pareto: bool
    reason: str | None

    @classmethod
    def read(cls, row: Fields) -> "Candidate":
        """Make one of a document's."""
        threads = row.maybe_count("threads")
        identity = Identity(
            row.text("name"),
            row.maybe_text("precision"),
            row.maybe_text("runtime"),
            threads,
            format=row.maybe_text("format"),
        )
        return cls(
            identity=identity,
            format=row.maybe_text("format"),
            latency_ms=row.maybe_positive("latency_ms"),
            latency_kind=row.maybe_text("latency_kind"),
            p50_ms=row.maybe_positive("p50_ms"),
            predicted_ms=row.maybe_positive("predicted_ms"),
            top1=row.maybe_percent("top1"),
            top1_kind=row.maybe_text("top1_kind"),
            source=row.maybe_text("top1_source"),
            ends=row.interval("top1_ci95"),
            pareto=row.flag("pareto") or False,
            reason=row.maybe_text("rejected_because") or row.maybe_text("problem"),
        )

    @property
    def statistic(self) -> str:
        """What the latency is: its kind, and the 95th percentile where that was measured."""
        kind = self.latency_kind or "of unknown kind"
        return f"{kind} p95" if kind == "measured" else kind

    @property
    def top1_of(self) -> str:
        """The kind of the accuracy, with its interval where there is one."""
        kind = self.top1_kind or "of unknown kind"
        if self.ends is None:
            return kind
        return f"{kind}, 95 % interval {self.ends[0]:.1f} to {self.ends[1]:.1f}"

    def point(self) -> Point | None:
        """Return its point in the chart; None where its latency is unknown."""
        if self.latency_ms is None:
            return None
        identity = self.identity
        where = Identity(self.format or "file", None, identity.runtime, identity.threads)
        reason = "the choice" if self.reason is None else clipped(self.reason, LONGEST_REASON)
        what = " ".join(filter(None, (identity.name, identity.precision)))
        return Point(
            ", ".join(filter(None, (what, identity.runtime))),
            self.latency_ms,
            self.latency_kind,
            self.top1,
            self.top1_kind,
            self.pareto,
            self.reason is None,
            (*([] if self.ends is None else [self.top1_of]), str(where), reason),
        )


def section(document: Fields) -> Section:
    """Return the section of a choice."""
    rows = tuple(map(Candidate.read, document.children("candidates")))
    target_ms = document.maybe_positive("target_ms")
    picked = document.maybe_child("choice") or document.maybe_child("nearest")
    best = None if picked is None else Candidate.read(picked)
    passed = document.maybe_child("choice") is not None
    return Section(
        title="Choice" + (f" under {target_ms:g} ms" if target_ms is not None else ""),
        body=join([_chart(rows, target_ms), _table(rows), notes([document.text("rule")])]),
        verdicts=(_verdict(best, passed, target_ms),),
        figures=tuple(figure for row in rows for figure in _figures(row)),
        pairs=tuple(_pairs(rows)),
        environments=tuple(filter(None, [document.maybe_child("environment")])),
        commands=(document.texts("command") or _command(rows, target_ms, document),),
    )


def _verdict(best: Candidate | None, passed: bool, target_ms: float | None) -> Verdict:
    if best is None or best.latency_ms is None:
        return Verdict("Nothing could be measured or predicted.", False)
    top1 = "accuracy unknown"
    if best.top1 is not None:
        top1 = f"{best.top1:.1f} % top-1 ({best.top1_of})"
    said = f"{best.identity}: {scales.label(best.latency_ms)} ms ({best.statistic}), {top1}"
    if passed:
        return Verdict(f"{said} \N{EN DASH} meets {_limit(target_ms)}", True)
    return Verdict(
        f"Nothing meets {_limit(target_ms)}. The nearest is {said} \N{EN DASH} {best.reason}", False
    )


def _limit(target_ms: float | None) -> str:
    return "the limits" if target_ms is None else f"{target_ms:g} ms"


def _chart(rows: Sequence[Candidate], target_ms: float | None) -> Markup:
    points = [point for row in rows if (point := row.point()) is not None]
    if not points:
        return notes(["No candidate has a latency."])
    return figure(pareto(points, target_ms), CAPTION)


def _table(rows: Sequence[Candidate]) -> Markup:
    ordered = sorted(rows, key=_order)
    sources = list(dict.fromkeys(row.source for row in ordered if row.source))
    listed = table(
        [
            "candidate",
            "file",
            "latency (ms)",
            "of kind",
            "top-1 (%)",
            "of kind",
            "front",
            "why not",
        ],
        [_cells(row, sources) for row in ordered],
        f"All {len(rows)} candidates: the choice, the front, then by latency.",
        numbers=(2, 4),
        strong=[i for i, row in enumerate(ordered) if row.reason is None],
    )
    named = facts((f"accuracy {i}", source) for i, source in enumerate(sources, 1))
    return tag("details", tag("summary", f"All {len(rows)} candidates, and why each one lost"),
               listed, named)  # fmt: skip


def _order(row: Candidate) -> tuple[bool, bool, bool, float]:
    return row.reason is not None, not row.pareto, row.latency_ms is None, row.latency_ms or 0.0


def _cells(row: Candidate, sources: Sequence[str]) -> list[object]:
    source = f" [{sources.index(row.source) + 1}]" if row.source else ""
    return [
        str(row.identity),
        row.format,
        None if row.latency_ms is None else scales.label(row.latency_ms),
        None if row.latency_ms is None else row.statistic,
        None if row.top1 is None else f"{row.top1:.2f}",
        None if row.top1 is None else f"{row.top1_of}{source}",
        "yes" if row.pareto else "",
        row.reason or "the choice",
    ]


def _figures(row: Candidate) -> Iterable[Figure]:
    if row.p50_ms is not None and row.latency_kind == "measured":
        yield Figure(LATENCY, row.p50_ms, "measured", row.identity)
    if row.top1 is not None and row.top1_kind:
        yield Figure(TOP1, row.top1, row.top1_kind, row.identity)


def _pairs(rows: Iterable[Candidate]) -> Iterable[Pair]:
    for row in rows:
        if row.predicted_ms and row.p50_ms and row.latency_kind == "measured":
            yield Pair(str(row.identity), row.predicted_ms, row.p50_ms)


def _command(
    rows: Sequence[Candidate], target_ms: float | None, document: Fields
) -> tuple[str, ...]:
    """Return the command as far as the document tells it; it does not name the photographs."""
    words = ["edgecnn", "select", *dict.fromkeys(row.identity.name for row in rows)]
    if target_ms is not None:
        words += ["--target-ms", f"{target_ms:g}"]
    target = document.maybe_child("target")
    min_top1 = target and target.maybe_percent("min_top1")
    if min_top1 is not None:
        words += ["--min-top1", f"{min_top1:g}"]
    for option, values in (
        ("--format", [row.format for row in rows]),
        ("--precision", [row.identity.precision for row in rows]),
        ("--runtime", [row.identity.runtime for row in rows]),
        ("--num-threads", [row.identity.threads for row in rows]),
    ):
        for value in dict.fromkeys(values):
            words += [option, str(value)] if value is not None else []
    return (*words, "--json")
