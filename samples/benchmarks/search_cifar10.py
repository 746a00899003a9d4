"""One hour of search on CIFAR-10, then every width of the stock networks by the same proxy.

    python samples/benchmarks/search_cifar10.py CIFAR10.zip TABLE [--target-ms T] [--minutes 60]
        [--space mnasnet] [--seeds 0,1] [--workers 1] [--workdir DIR]

TABLE predicts for this machine (`edgecnn calibrate --device local ...`). The seeds search side by
side, each with its own workers, study and cache, for the whole time; the clock counts what was
worked, so a benchmark that was killed goes on where it was and never searches for shorter than
said. Then found and stock networks are trained by the same recipe, exported, measured in turns and
tested on CIFAR-10's 10,000 test pictures. All rows are printed, also those that beat the search.
"""

import argparse
import ctypes
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _common import EDGECNN, ROOT, machine

IMGSZ, OUTPUT_STRIDE = 32, 16
EPOCHS, BATCH, LIMIT, HELD_OUT = 2, 64, 6000, 3000
"""Of the proxy."""
LEG_S = 60.0
"""So long a worker runs before its time is noted; less than that is lost with a killed one."""
NETWORKS = 100_000
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Search with every seed, then compare."""
    options = _options()
    work: Path = options.workdir
    work.mkdir(parents=True, exist_ok=True)
    print(machine("torch", "onnxruntime", "ai-edge-litert", "optuna"))
    print(f"space {Path(options.space).stem}")
    print(f"proxy {' '.join(_recipe(options))}, {IMGSZ} px, output stride {OUTPUT_STRIDE}")
    print(f"{options.minutes:g} minutes, {len(options.seeds)} seeds side by side with "
          f"{options.workers} workers each, target {options.target_ms:g} ms")  # fmt: skip
    with ThreadPoolExecutor(len(options.seeds)) as pool:
        list(pool.map(lambda seed: _search(options, seed), options.seeds))
    for seed in options.seeds:
        document = _finale(options, seed)
        (work / f"seed{seed}.json").write_text(json.dumps(document, indent=1))
        _print(document, seed, options.target_ms)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--space", default=str(ROOT / "samples" / "spaces" / "small_pictures.toml"))
    parser.add_argument("--target-ms", type=float, default=0.45)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seeds", type=_numbers, default=(0, 1))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--aim", default="hard")
    parser.add_argument("--best", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    quick = parser.add_argument_group("for a quick look; not for figures")
    quick.add_argument("--limit", type=int, default=LIMIT)
    quick.add_argument("--held-out", type=int, default=HELD_OUT)
    quick.add_argument("--against", default="widths")
    quick.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--workdir", type=Path, default=Path(".edgecnn-cifar10"))
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _recipe(options: argparse.Namespace) -> list[str]:
    return [
        "--epochs", str(EPOCHS), "--batch", str(BATCH), "--limit", str(options.limit),
        "--held-out", str(options.held_out), "--learning-rate", f"{options.learning_rate:g}",
    ]  # fmt: skip


def _command(options: argparse.Namespace, seed: int, networks: int, *more: str) -> list[str]:
    # A study and a cache for each seed: what another seed trained would be time not counted.
    work = options.workdir / f"seed{seed}"
    return [
        *EDGECNN, "search", "--space", options.space, "--table", str(options.table),
        "--data", str(options.data), "--target-ms", f"{options.target_ms:g}",
        "--imgsz", str(IMGSZ), "--output-stride", str(OUTPUT_STRIDE), *_recipe(options),
        "--sampler", options.sampler, "--aim", options.aim, "--seed", str(seed),
        "--networks", str(networks), "--workdir", str(work), *more,
    ]  # fmt: skip


def _search(options: argparse.Namespace, seed: int) -> None:
    """Work on the study until the time is spent, all legs together."""
    clock = options.workdir / f"clock{seed}.json"
    spent = float(json.loads(clock.read_text())) if clock.exists() else 0.0
    while (left := 60 * options.minutes - spent) > 0:
        minutes = max(LEG_S, left) / 60
        began = time.monotonic()
        command = _command(options, seed, NETWORKS, "--search-only", "--json",
                           "--minutes", f"{minutes:g}")  # fmt: skip
        workers = [
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                preexec_fn=_end_with_parent,
            )
            for _ in range(options.workers)
        ]  # fmt: skip
        said = _watch(workers, clock, spent, began)
        spent += time.monotonic() - began
        clock.write_text(json.dumps(spent))
        if any(worker.returncode not in (0, 4) for worker in workers):
            sys.exit("\n".join(said))


def _end_with_parent() -> None:
    """Let a worker of a killed benchmark end too: it would work on beside the clock."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(
    workers: list[subprocess.Popen[str]], clock: Path, spent: float, began: float
) -> list[str]:
    """Note the time worked while the workers run, so that a killed benchmark loses a minute.

    Returns what they said on stderr.
    """
    said = []
    for worker in workers:
        while True:
            try:
                said.append(worker.communicate(timeout=LEG_S)[1])
                break
            except subprocess.TimeoutExpired:
                clock.write_text(json.dumps(spent + time.monotonic() - began))
    return said


def _finale(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Files of the best and of every stock width; the study itself is over."""
    done = subprocess.run(
        _command(options, seed, 1, "--best", str(options.best), "--against", options.against,
                 "--test-images", str(options.test_images), "--json"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 4):
        sys.exit(f"the end of seed {seed} failed with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _print(document: dict[str, Any], seed: int, target_ms: float) -> None:
    rows = sorted((row for row in document["files"] if row["top1"] is not None), key=_ms)
    found = [row for row in rows if row["origin"] == "found"]
    print(f"\nseed {seed}: {document['judged']} networks judged")
    print(f"{'':6}{'network':34}{'ms p50':>8}{'ms predicted':>14}{'top-1 file':>12}"
          f"{'95 %':>14}{'proxy':>8}  beaten by a found one")  # fmt: skip
    for row in rows:
        low, high = row["top1_ci95"]
        better = [f for f in found if _ms(f) <= _ms(row) and f["top1"] > row["top1"]]
        verdict = "" if row["origin"] == "found" else "yes" if better else "no"
        latencies = f"{_ms(row):8.3f}{row['latency_ms']:14.3f}"
        accuracies = f"{row['top1']:12.2f}{low:7.2f}-{high:5.2f} {row['proxy_top1']:8.2f}"
        print(f"{row['origin']:6}{row['name']:34}{latencies}{accuracies}  {verdict}")
    for row in document["files"]:
        if row["problem"]:
            print(f"{row['origin']:6}{row['name']:34}{row['problem']}")
    stock = [row for row in rows if row["origin"] == "stock"]
    within = [row for row in stock if _ms(row) <= target_ms]
    best = max((f for f in found if _ms(f) <= target_ms), key=_top1, default=None)
    if best is None:
        print(f"none of the files of the search meets {target_ms:g} ms")
        return
    lost = [row["name"] for row in within if row["top1"] >= best["top1"]]
    print(f"at {target_ms:g} ms: {best['name']}, {best['top1']:.2f} % at {_ms(best):.3f} ms; more "
          f"accurate than {len(within) - len(lost)} of {len(within)} stock networks within the "
          f"target{'' if not lost else ', not than ' + ', '.join(lost)}")  # fmt: skip


def _ms(row: dict[str, Any]) -> float:
    return float(row["latency_ms"] if row["measured_ms"] is None else row["measured_ms"])


def _top1(row: dict[str, Any]) -> float:
    return float(row["top1"])


if __name__ == "__main__":
    main()
