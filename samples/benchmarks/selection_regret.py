"""Does selecting by tables find what measuring everything would have found?

    python samples/benchmarks/selection_regret.py --work FOLDER

FOLDER holds the tables of samples/benchmarks/latency_tables.py. Candidates are the zoo's networks
up to 320 pixels with a published top-1, on onnxruntime and LiteRT, fp32 and w8a8, one thread; all
are measured twice, in two passes through all of them. For each of 20 targets the choice is the
most accurate candidate

- that the tables predict to meet the target ("predicted"), or
- out of the 8 most promising by the tables, the one that met it in the first pass ("finalists"), as
  `edgecnn select --table` chooses.

The second pass is the truth. Bars, for "finalists": the choice meets the target at least 19 times,
and in no more than 2 cases would a more accurate candidate have met it. A quantized file counts
with its network's float accuracy less a tenth of a point, so that of two equal ones float wins.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _common import machine

from edgecnn import devices, families, latency
from edgecnn.device import LOCAL
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.latency.predictor import Predictor
from edgecnn.latency.sampler import Sampler
from edgecnn.spec import ModelSpec

TABLES = [(runtime, precision) for runtime in ("ort", "litert") for precision in ("fp32", "w8a8")]
LARGEST, TARGETS, FINALISTS = 320, 20, 8
MET, BETTER = 19, 2
QUANTIZED_COST = 0.1


@dataclass(frozen=True)
class Candidate:
    """A network on a runtime: its latency predicted, and measured in two passes, in ms."""

    name: str
    top1: float
    low_ms: float
    predicted_ms: float
    first_ms: float
    second_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    asked = parser.parse_args()
    print(machine())
    candidates = measured(asked.work)
    targets = np.geomspace(1.5, 0.8 * max(one.second_ms for one in candidates), TARGETS)
    passed = True
    for rule in (predicted, finalists):
        rows = [outcome(rule(candidates, target), candidates, target) for target in targets]
        met, better = sum(row[0] for row in rows), sum(row[1] for row in rows)
        worst = max(row[2] for row in rows)
        print(
            f"{rule.__name__}: met the target {met} of {TARGETS} times; a more accurate candidate "
            f"would have met it {better} times, by at most {worst:.1f} points of top-1"
        )
        passed = met >= MET and better <= BETTER
    sys.exit(0 if passed else EXIT_VERDICT_FAILED)


def predicted(candidates: Sequence[Candidate], target: float) -> Candidate | None:
    """The most accurate of those that are predicted to meet the target."""
    meeting = [one for one in candidates if one.predicted_ms <= target]
    return max(meeting, key=lambda one: one.top1, default=None)


def finalists(candidates: Sequence[Candidate], target: float) -> Candidate | None:
    """The most accurate that met the target, of the most promising."""
    hopeful = sorted((one for one in candidates if one.low_ms <= target), key=lambda one: -one.top1)
    meeting = [one for one in hopeful[:FINALISTS] if one.first_ms <= target]
    return max(meeting, key=lambda one: one.top1, default=None)


def outcome(
    choice: Candidate | None, candidates: Sequence[Candidate], target: float
) -> tuple[bool, bool, float]:
    """Whether the choice meets the target, whether there was a better one, and by how much."""
    best = max((one.top1 for one in candidates if one.second_ms <= target), default=0.0)
    if choice is None:
        return best == 0, best > 0, best
    return choice.second_ms <= target, best > choice.top1, max(0.0, best - choice.top1)


def measured(work: Path) -> list[Candidate]:
    """All candidates, measured or read from an earlier run."""
    path = work / "candidates.json"
    if not path.exists():
        found = [asdict(one) for table in TABLES for one in _measured(work, *table)]
        path.write_text(json.dumps(found))
    return [Candidate(**one) for one in json.loads(path.read_text())]


def _measured(work: Path, runtime: str, precision: str) -> Iterator[Candidate]:
    predictor = latency.load(work / f"{runtime}-{precision}-t1.json")
    specs = [spec for spec in families.mobile()
             if spec.accuracy is not None and spec.resolution <= LARGEST]  # fmt: skip
    with (
        devices.connect(LOCAL, "regret", lambda text: None) as host,
        Sampler(host, LOCAL, runtime, precision, 1) as sampler,
    ):
        passes = [[sampler.measure(spec).latency_ms for spec in specs] for _ in range(2)]
    for spec, first_ms, second_ms in zip(specs, *passes, strict=True):
        yield _candidate(spec, predictor, first_ms, second_ms)


def _candidate(
    spec: ModelSpec, predictor: Predictor, first_ms: float, second_ms: float
) -> Candidate:
    estimate = predictor.estimate(spec, force=True)
    table = predictor.table
    top1 = (spec.accuracy or (0.0, ""))[0] - QUANTIZED_COST * (table.precision != "fp32")
    name = f"{spec.name} {table.runtime} {table.precision}"
    low_ms = estimate.interval_ms[0]
    return Candidate(name, top1, low_ms, estimate.latency_ms, first_ms, second_ms)


if __name__ == "__main__":
    main()
