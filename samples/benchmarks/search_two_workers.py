"""Two workers on one PostgreSQL study against one: wall-clock, quality, and one that is killed.

    python samples/benchmarks/search_two_workers.py DATA TABLE [--networks 24] [--target-ms 1]

Starts a PostgreSQL server of its own on the loopback address (Debian: apt install postgresql), in a
temporary folder and as an unprivileged user, and stops it in the end. Three studies judge the same
number of networks: one worker, two workers, and two of which one is killed with SIGKILL.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import EDGECNN, ROOT, machine

sys.path.insert(0, str(ROOT / "tests"))

import postgres

KILL_AFTER = 0.4
"""Of the time that one worker took: the other then has most of the work before it."""


def main() -> None:
    """Run the three studies."""
    options = _options()
    print(machine("torch", "optuna", "psycopg"))
    with postgres.running() as server:
        one_s, one = _study(options, server.url, "one", 1)
        two_s, two = _study(options, server.url, "two", 2)
        killed_s, killed = _study(options, server.url, "killed", 2, kill_after_s=KILL_AFTER * two_s)
    print(f"\n{'study':18}{'seconds':>9}{'judged':>8}{'problems':>10}{'best reward':>13}")
    rows = ("one worker", one_s, one), ("two workers", two_s, two), ("one killed", killed_s, killed)
    for name, seconds, found in rows:
        print(f"{name:18}{seconds:9.1f}{found['judged']:8}{len(found['problems']):10}"
              f"{found['best'][0]['reward']:13.2f}")  # fmt: skip
    print(f"two workers need {two_s / one_s:.2f} of the time of one")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--target-ms", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--output-stride", type=int, default=16)
    return parser.parse_args()


def _study(
    options: argparse.Namespace,
    url: str,
    name: str,
    workers: int,
    kill_after_s: float | None = None,
) -> tuple[float, dict[str, Any]]:
    """Seconds until the last network was judged, and the study's document.

    Each study has a cache of its own, shared by its workers, or the second would train nothing.
    The same networks are drawn in all of them (`random`, by the number of the trial), so that the
    times can be compared; "soft" stops none early by what was judged before.
    """
    with tempfile.TemporaryDirectory() as work:
        command = [
            *EDGECNN, "search", "--space", "mnasnet", "--table", str(options.table), "--data",
            str(options.data), "--imgsz", "32", "--output-stride", str(options.output_stride),
            "--target-ms", f"{options.target_ms:g}", "--epochs", "1", "--batch", "32", "--limit",
            str(options.limit), "--held-out", "1000", "--sampler", "random", "--networks",
            str(options.networks), "--storage", url, "--study", name, "--workdir", work,
            "--search-only", "--json",
        ]  # fmt: skip
        began = time.monotonic()
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(workers)
        ]
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            running.pop(0).kill()
        documents = [worker.communicate()[0] for worker in running]
        seconds = time.monotonic() - began
    if any(worker.returncode not in (0, 4) for worker in running):
        sys.exit(f"the study {name} failed")
    found: dict[str, Any] = json.loads(documents[-1])
    print(f"  {name}: {seconds:.1f} s", file=sys.stderr)
    return seconds, found


if __name__ == "__main__":
    main()
