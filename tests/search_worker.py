"""A worker of a search as a process of its own: `python search_worker.py STORAGE NETWORKS LOG S`.

It takes S seconds for each network, and writes into LOG what it begins and ends.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgecnn.search import Budget, Given, Goal, Pace, Sampling, Study
from edgecnn.space import Space
from edgecnn.spec import ModelSpec
from edgecnn.workload import from_spec

SPACE = Space.parse(
    """
family = "small"
resolution = 32
rows = [
  "stem_k3_s2_{stem:c8|c16}_relu",
  "{conv}_{layers:r1|r2|r3}_{kernel:k3|k5}_s2_{channels:c8|c16|c24}_{se}_relu",
  "mbconv_{layers:r1|r2|r3}_{kernel:k3|k5}_s2_e3_{channels:c16|c24|c32}_{se}_relu",
  "pool",
  "linear_c10",
]

[choices]
conv = ["fused_e1", "mbconv_e3"]
se = ["", "se0.25"]

[excludes]
fused_e1 = ["se"]
""",
    "small",
)
QUICK = Pace(beat_s=0.1, grace_s=1.5, poll_s=0.05)
TARGET_MS = 1.0


def latency_ms(spec: ModelSpec) -> float:
    """A millisecond for each million of multiply-adds."""
    return from_spec(spec).macs / 1e6


def top1(spec: ModelSpec) -> float:
    """Some accuracy: wide, deep, and with a bonus for squeeze-and-excitation."""
    rows = spec.blocks[1:3]
    return 30 + sum(0.3 * b.channels + 2.5 * b.repeats + 4 * (b.se > 0) for b in rows)


def goal(function=top1, aim="hard", target_ms=TARGET_MS, space=SPACE) -> Goal:  # type: ignore[no-untyped-def]
    """The goal that tests search for."""
    return Goal(space, target_ms, Given(function, "some"), latency_ms, "a million an ms", aim)


def main(storage: str, networks: str, log: str, seconds: str) -> None:
    """Work on the study until its budget is spent."""

    def slow(spec: ModelSpec) -> float:
        _write(Path(log), "begin", spec)
        time.sleep(float(seconds))
        _write(Path(log), "end", spec)
        return top1(spec)

    study = Study.opened(goal(slow, "soft"), storage)
    study.run(Budget(int(networks)), Sampling("random"), pace=QUICK)


def _write(log: Path, what: str, spec: ModelSpec) -> None:
    with log.open("a") as file:
        file.write(f"{os.getpid()} {what} {spec.name}\n")


def start(storage: Path | str, networks: int, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Start a worker of its own."""
    arguments = [str(storage), str(networks), str(log), str(seconds)]
    return subprocess.Popen([sys.executable, __file__, *arguments])


def wait_for(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def check_account(storage: Path | str, log: Path, networks: int, lost: str) -> None:
    """Every network that was ended counts once, and the one under way was ended by another."""
    lines = [line.split() for line in log.read_text().splitlines()]
    ended = [name for _, what, name in lines if what == "end"]
    found = [one.spec.name for one in Study.opened(goal(aim="soft"), storage).found()]
    assert len(found) == networks
    assert set(ended) == set(found)
    assert ended.count(lost) == 1
    assert max(Counter(ended).values()) == 1


if __name__ == "__main__":
    main(*sys.argv[1:])
