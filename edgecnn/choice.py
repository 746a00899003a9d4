"""The choice among candidates under a target: a pure function over rows.

Rules, in this order:

1. A candidate that was not made, not proven or not measured, or that misses a limit, is out.
2. Measured accuracy goes before published accuracy: they are of different images and cannot be
   compared. A candidate whose accuracy is only published is chosen where no other one is left
   whose accuracy was measured; one of unknown accuracy where nothing is known of any.
3. The higher top-1 wins. A quantized file whose own accuracy nobody published carries its
   network's float figure, marked "published fp32", and goes behind files of the same figure that
   have it as their own.
4. The lower latency wins.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from edgecnn.environment import Environment
from edgecnn.profile import Target

Kind = Literal["measured", "predicted", "fitted to published"]
Top1Kind = Literal["measured", "published", "published fp32"]
RULE = (
    "Among the candidates within the limits the one with the highest top-1, ties by latency. "
    "Measured accuracy goes before published accuracy, which is of other images; a quantized "
    "file's 'published fp32' is its float network's figure."
)


@dataclass(frozen=True)
class Row:
    """One candidate and what is known of it; each figure says of which kind it is.

    ``latency_ms`` is the 95th percentile where it was measured, else the predicted median with its
    ``interval_ms``; ``p50_ms`` the median. ``predicted_ms`` is what a table had said of a candidate
    that was then measured. ``top1`` is in per cent, with its 95 % interval where it was measured:
    differences inside it may be chance. ``problem``
    says why the candidate could not be made, proven or measured. ``rejected_because`` and
    ``pareto`` are filled in by :func:`choose`.
    """

    name: str
    format: str
    precision: str
    runtime: str | None
    threads: int | None
    artifact: str | None = None
    weights: str | None = None
    latency_ms: float | None = None
    latency_kind: Kind | None = None
    latency_source: str | None = None
    interval_ms: tuple[float, float] | None = None
    predicted_ms: float | None = None
    p50_ms: float | None = None
    peak_rss_bytes: int | None = None
    top1: float | None = None
    top1_kind: Top1Kind | None = None
    top1_source: str | None = None
    top1_ci95: tuple[float, float] | None = None
    problem: str | None = None
    pareto: bool = False
    rejected_because: str | None = None

    @property
    def place(self) -> tuple[object, ...]:
        """What is run where: equal for the prediction and the measurement of a candidate."""
        return self.name, self.format, self.precision, self.runtime, self.threads

    def __str__(self) -> str:
        where = f", {self.runtime}, threads {self.threads}" if self.runtime else ""
        return f"{self.name} {self.format} {self.precision}{where}"


@dataclass(frozen=True)
class Choice:
    """The pick, and why each other candidate lost; ``nearest`` where nothing meets the target."""

    target: Target
    choice: Row | None
    nearest: Row | None
    candidates: tuple[Row, ...]
    rule: str = RULE
    notes: tuple[str, ...] = ()
    """What to know before trusting it: such as predictions by the table of another machine."""
    environment: Environment | None = field(default=None, compare=False)
    """Of the device, with the versions of all runtimes that were measured; None without any."""

    @property
    def passed(self) -> bool:
        """Whether a candidate meets the target."""
        return self.choice is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "target_ms": self.target.p95_ms,
            "target_statistic": "p95",
            "target": asdict(self.target),
            "passed": self.passed,
            "choice": None if self.choice is None else asdict(self.choice),
            "nearest": None if self.nearest is None else asdict(self.nearest),
            "candidates": [asdict(row) for row in self.candidates],
            "rule": self.rule,
            "notes": list(self.notes),
            "environment": None if self.environment is None else asdict(self.environment),
        }


def choose(rows: Sequence[Row], target: Target) -> Choice:
    """Choose among ``rows``; see the rules above. The order of ``rows`` is kept in the result."""
    eligible = [row for row in rows if row.problem is None and misses(row, target) is None]
    best = min(eligible, key=_rank, default=None)
    front = pareto(rows)
    judged = tuple(
        replace(
            row,
            pareto=any(row is member for member in front),
            rejected_because=None if row is best else _reason(row, best, target),
        )
        for row in rows
    )
    winner = next((row for row in judged if row.rejected_because is None), None)
    nearest = None if winner else min(judged, key=lambda row: _excess(row, target), default=None)
    if nearest is not None and nearest.latency_ms is None:
        nearest = None
    return Choice(target, winner, nearest, judged)


def misses(row: Row, target: Target) -> str | None:
    """Say which limit of ``target`` a row misses, or None where it keeps them all."""
    if row.latency_ms is None:
        return "its latency is not known"
    if target.p95_ms is not None and row.latency_ms > target.p95_ms:
        return f"over the target by {row.latency_ms - target.p95_ms:.2f} ms"
    limit = target.peak_rss_bytes
    if limit is not None and (row.peak_rss_bytes is None or row.peak_rss_bytes > limit):
        found = "unknown" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.1f} MB"
        return f"its memory is {found}, the limit {limit / 1e6:.1f} MB"
    if target.min_top1 is not None and row.top1 is None:
        return f"no accuracy known, at least {target.min_top1:g} % asked for"
    if target.min_top1 is not None and row.top1 is not None and row.top1 < target.min_top1:
        return f"top-1 is {row.top1:.2f} % ({row.top1_kind}), below {target.min_top1:g} %"
    return None


def pareto(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows that no other row of comparable accuracy beats in latency and top-1."""
    known = [row for row in rows if row.latency_ms is not None and row.top1 is not None
             and row.problem is None]  # fmt: skip
    return tuple(row for row in known if not any(_dominates(other, row) for other in known))


def _dominates(one: Row, other: Row) -> bool:
    if _group(one) != _group(other):
        return False
    mine, theirs = _both(one), _both(other)
    return mine[0] <= theirs[0] and mine[1] >= theirs[1] and mine != theirs


def _both(row: Row) -> tuple[float, float]:
    return row.latency_ms or 0.0, row.top1 or 0.0


def by_promise(rows: Sequence[Row], target: Target) -> tuple[Row, ...]:
    """Predicted rows that may meet the target, as far as their intervals tell, the best first."""
    hopeful = [
        row
        for row in rows
        if row.problem is None
        and misses(replace(row, latency_ms=row.interval_ms[0] if row.interval_ms else None), target)
        is None
    ]
    return tuple(sorted(hopeful, key=_rank))


def _group(row: Row) -> int:
    """Rows of one group have comparable accuracy; the lower group goes first."""
    return {"measured": 0, "published": 1, "published fp32": 1, None: 2}[row.top1_kind]


def _rank(row: Row) -> tuple[int, float, bool, float]:
    latency_ms, top1 = _both(row)
    return _group(row), -top1, row.top1_kind == "published fp32", latency_ms


def _excess(row: Row, target: Target) -> tuple[bool, float]:
    """Order rows by how far they miss the target: the worst of their relative excesses."""
    if row.problem is not None or row.latency_ms is None:
        return True, 0.0
    excesses = [0.0]
    if target.p95_ms is not None:
        excesses.append(row.latency_ms / target.p95_ms - 1)
    if target.peak_rss_bytes is not None:
        excesses.append((row.peak_rss_bytes or 0) / target.peak_rss_bytes - 1)
    if target.min_top1:
        excesses.append(1 - (row.top1 or 0.0) / target.min_top1)
    return False, max(excesses)


def _reason(row: Row, best: Row | None, target: Target) -> str:
    missed = row.problem or misses(row, target)
    if missed is not None or best is None:
        return missed or "no choice was made"
    if _group(row) != _group(best):
        known = "unknown" if row.top1 is None else "only published, which is of other images"
        return f"its accuracy is {known}; the choice's is {best.top1_kind}"
    (latency_ms, top1), (best_ms, best_top1) = _both(row), _both(best)
    slower = latency_ms - best_ms
    if top1 < best_top1:
        also = f" and slower by {slower:.2f} ms" if slower > 0 else ""
        return f"less accurate by {best_top1 - top1:.2f} points{also}"
    if row.top1_kind != best.top1_kind:
        return "the figure is its float network's; its own accuracy is not published"
    return f"as accurate, slower by {slower:.2f} ms" if slower > 0 else "equal to the choice"
