"""Accuracy as values: what a file got right, with intervals, and the verdict on it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgecnn import documents
from edgecnn.errors import UsageError

SCHEMA = 1

Z95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class Gate:
    """Limits of an evaluation: top-1 in per cent, drop against the reference in points."""

    min_top1: float | None = None
    max_drop: float | None = None


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of one file. Per cent throughout; differences are percentage points.

    ``top1``, ``top5`` and ``drop`` are None where the images have no classes. ``top1_ci95`` is
    Wilson's interval (JASA 22, 1927). ``drop`` is the reference's top-1 minus this file's on the
    same images; its interval is Agresti and Min's for paired proportions (Statistics in Medicine
    24, 2005). ``lost`` images only the reference has right, ``gained`` ones only this file.
    ``calibration_left_out`` counts images that had calibrated one of the files. ``stopped`` says
    why not all images were used (the board went away); no verdict is given then.
    """

    artifact: str
    sha256: str
    data: str
    runtime: str
    device: str
    threads: int
    images: int
    top1: float | None
    top5: float | None
    top1_ci95: Interval | None
    reference: str | None = None
    reference_top1: float | None = None
    agreement: float | None = None
    drop: float | None = None
    drop_ci95: Interval | None = None
    lost: int | None = None
    gained: int | None = None
    calibration_left_out: int = 0
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    stopped: str | None = None
    passed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return asdict(self) | {"schema": SCHEMA}

    def save(self, path: Path) -> None:
        """Write the JSON document in one step."""
        documents.save(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing, too large, damaged, or of another schema.
        """
        return documents.load(path, SCHEMA, _from_dict)


def _from_dict(data: dict[str, Any]) -> Evaluation:
    values = {f.name: _frozen(data[f.name]) for f in fields(Evaluation)}
    values["skipped"] = tuple(Skipped(**skipped) for skipped in data["skipped"])
    return Evaluation(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Prediction:
    """The best classes of each file for one image, best first, and the true class if known."""

    truth: int | None
    best: tuple[int, ...]
    reference_best: tuple[int, ...] | None


def judge(result: Evaluation, gate: Gate) -> Evaluation:
    """Return ``result`` with the verdict on ``gate``; ``passed`` stays None without limits.

    Raises:
        UsageError: the images have no classes, so that accuracy cannot be told.
    """
    if gate == Gate() or result.stopped is not None:
        return result
    if result.top1 is None:
        raise UsageError(
            f"{result.data}: the images lie in no class folders, so accuracy is unknown. Put "
            "them into one folder per class, or leave --min-top1 and --max-drop out."
        )
    failures = []
    if gate.min_top1 is not None and result.top1 < gate.min_top1:
        failures.append(f"top-1 is {result.top1:.2f} %, below {gate.min_top1:g} %")
    if gate.max_drop is not None and (result.drop is None or result.drop > gate.max_drop):
        found = "unknown" if result.drop is None else f"{result.drop:.2f} points"
        failures.append(f"the drop of top-1 is {found}, above {gate.max_drop:g}")
    return replace(result, failures=tuple(failures), passed=not failures)


def accuracy(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the fields of an evaluation that need the true classes; None without them."""
    if any(p.truth is None for p in predictions):
        return {"top1": None, "top5": None, "top1_ci95": None}
    first = sum(p.best[0] == p.truth for p in predictions)
    among = sum(p.truth in p.best for p in predictions)
    total = len(predictions)
    return {
        "top1": 100 * first / total,
        "top5": 100 * among / total,
        "top1_ci95": wilson(first, total),
    }


def comparison(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the fields of an evaluation that compare with the reference on the same images."""
    pairs = [(p, p.reference_best) for p in predictions if p.reference_best is not None]
    total = len(pairs)
    found: dict[str, Any] = {
        "agreement": 100 * sum(p.best[0] == best[0] for p, best in pairs) / total
    }
    if any(p.truth is None for p in predictions):
        return found
    rights = [(p.best[0] == p.truth, best[0] == p.truth) for p, best in pairs]
    lost = sum(theirs and not ours for ours, theirs in rights)
    gained = sum(ours and not theirs for ours, theirs in rights)
    return found | {
        "reference_top1": 100 * sum(theirs for _, theirs in rights) / total,
        "drop": 100 * (lost - gained) / total,
        "drop_ci95": paired_interval(lost, gained, total),
        "lost": lost,
        "gained": gained,
    }


def wilson(successes: int, trials: int) -> Interval:
    """Return Wilson's 95 % interval of a proportion, in per cent."""
    p = successes / trials
    spread = Z95 * math.sqrt(p * (1 - p) / trials + Z95**2 / (4 * trials**2))
    middle, scale = p + Z95**2 / (2 * trials), 1 + Z95**2 / trials
    # Without rounding both ends hold at the edges; with it, p itself could fall outside.
    low, high = min(p, (middle - spread) / scale), max(p, (middle + spread) / scale)
    return 100 * max(0.0, low), 100 * min(1.0, high)


def paired_interval(lost: int, gained: int, trials: int) -> Interval:
    """Return Agresti and Min's 95 % interval of ``(lost - gained) / trials``, in points."""
    b, c, n = lost + 0.5, gained + 0.5, trials + 2
    spread = Z95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return (100 * ((b - c) / n - spread), 100 * ((b - c) / n + spread))
