"""How well do latency tables of this machine predict networks that took no part in them?

    python samples/benchmarks/latency_tables.py --work FOLDER [--minutes 20]
    python samples/benchmarks/latency_tables.py --work FOLDER --only "litert w8a8 2"

Calibrates onnxruntime and LiteRT in fp32 and w8a8 with 1 and 2 threads. The zoo's networks, and a
variant of each in width and resolution, are measured in between and never fitted: no network of
their families takes part. Afterwards they are measured again in --rounds, interleaved: predictions
are held against medians. A table of two threads starts from that of one, where --work holds it.
Bars: at least 95 % of predictions within 10 % of the measured median, 70 % within 5 %, a median
error of at most 3 %, and 50,000 predictions a second on one core.

What is measured stays in --work, and an interrupted run goes on. Leave the machine alone meanwhile.
Ends with 4 where a bar is missed.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from _common import machine

from edgecnn import families, latency
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.latency.calibrate import Request, calibrate
from edgecnn.latency.predictor import Predictor
from edgecnn.latency.table import Table
from edgecnn.spec import ModelSpec

CONFIGURATIONS = [
    (runtime, precision, threads)
    for runtime in ("ort", "litert")
    for precision in ("fp32", "w8a8")
    for threads in (1, 2)
]
MEDIAN, WITHIN_5, WITHIN_10, EACH_SECOND = 0.03, 0.70, 0.95, 50_000
CANDIDATES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", metavar="'RUNTIME PRECISION THREADS'")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    print(machine())
    print("| table | minutes | samples | networks | median | within 5 % | within 10 % | bias "
          "| predictions/s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    missed = []
    for configuration in CONFIGURATIONS:
        name = " ".join(map(str, configuration))
        if asked.only and name not in asked.only:
            continue
        table = made(asked.work, configuration, asked.minutes, asked.rounds)
        each_second = speed(table)
        print(row(name, table, each_second), flush=True)
        missed += [f"{name}: {what}" for what in misses(table, each_second)]
    if missed:
        print("\n".join(["missed:", *missed]), file=sys.stderr)
        sys.exit(EXIT_VERDICT_FAILED)


def made(work: Path, configuration: tuple[str, str, int], minutes: float, rounds: int) -> Table:
    """The table of a configuration, calibrated or read from an earlier run."""
    runtime, precision, threads = configuration
    path = work / f"{runtime}-{precision}-t{threads}.json"
    if not path.exists():
        alone = work / f"{runtime}-{precision}-t1.json"
        start = latency.load(alone).table if threads > 1 and alone.exists() else None
        request = Request(
            runtime, precision, threads, minutes=minutes, start=start, check_rounds=rounds
        )
        calibrate(request, path.with_suffix(".samples"), progress).save(path)
    return latency.load(path).table


def progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} {done}/{total} s   ", end="", file=sys.stderr)


def row(name: str, table: Table, each_second: float) -> str:
    errors = table.errors.networks
    if errors is None:
        return f"| {name} | no network of the zoo was measured undisturbed |"
    minutes = sum(sample.seconds for sample in table.samples) / 60
    shares = (errors.median, errors.within_5, errors.within_10)
    cells = [name, f"{minutes:.1f}", len(table.samples), errors.networks,
             *(f"{share:.1%}" for share in shares), f"{errors.bias:+.1%}",
             f"{each_second:,.0f}"]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def misses(table: Table, each_second: float) -> list[str]:
    """The bars that a table misses."""
    errors = table.errors.networks
    if errors is None:
        return ["no network was checked"]
    found = []
    if errors.median > MEDIAN:
        found.append(f"median {errors.median:.1%} > {MEDIAN:.0%}")
    if errors.within_5 < WITHIN_5:
        found.append(f"within 5 %: {errors.within_5:.0%} < {WITHIN_5:.0%}")
    if errors.within_10 < WITHIN_10:
        found.append(f"within 10 %: {errors.within_10:.0%} < {WITHIN_10:.0%}")
    if each_second < EACH_SECOND:
        found.append(f"{each_second:,.0f} predictions a second < {EACH_SECOND:,}")
    return found


def speed(table: Table) -> float:
    """Predictions a second of networks whose rows were seen: what a search mostly meets."""
    predictor, specs = Predictor(table), candidates()
    predictor.predict_all(specs)
    start = time.perf_counter()
    for spec in specs:
        predictor.predict(spec)
    return len(specs) / (time.perf_counter() - start)


def candidates() -> list[ModelSpec]:
    """Networks of MnasNet's kind, as a search would meet them."""
    random = Random(0)  # noqa: S311 (no secrets)
    base = families.get("mnasnet_a1")
    found = []
    for _ in range(CANDIDATES):
        blocks = [
            replace(
                block,
                channels=8 * max(1, round(block.channels * random.choice((0.75, 1, 1.25)) / 8)),
                kernel=random.choice((3, 5)),
                expand=random.choice((3.0, 6.0)),
                repeats=max(1, block.repeats + random.choice((-1, 0, 1))),
            )
            if block.kind == "mbconv"
            else block
            for block in base.blocks
        ]
        resolution = random.choice((160, 192, 224))
        found.append(replace(base, blocks=tuple(blocks), resolution=resolution, published=None,
                             checkpoints=()))  # fmt: skip
    return found


if __name__ == "__main__":
    main()
