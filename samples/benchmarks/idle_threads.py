"""What does it cost that onnxruntime's threads spin between runs?

    python samples/benchmarks/idle_threads.py [--threads 2] [--precision w8a8]

After a run onnxruntime's threads wait for the next one with their processors busy; edgecnn lets
them sleep after 2 ms. Of each network, in turns: runs back to back, the processors kept after them,
and a stream of 30 frames a second, its latency and its processor time. Bar: back to back edgecnn's
setting takes at most 2 % longer (the median of networks). Ends with 4 where it does.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import onnxruntime
from _common import machine

from edgecnn import families
from edgecnn.artifact import Artifact
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.latency import graphs
from edgecnn.machine.state import others_at_work
from edgecnn.runtimes._ort import OrtSession, Provider
from edgecnn.worker import timing_input

NETWORKS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0")
ROUNDS, RUNS, SETTLE = 60, 6, 3
STREAMS, FRAMES, FRAME_S = 8, 12, 1 / 30
LONGER = 1.02


class Cost(NamedTuple):
    """Milliseconds of a run back to back, of the threads after it, and of a frame; processors."""

    run_ms: float
    after_ms: float
    frame_ms: float
    processors: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="w8a8", choices=("fp32", "w8a8"))
    asked = parser.parse_args()
    print(machine("onnxruntime"), f"{asked.precision}, {asked.threads} threads")
    print("| network | | a run (ms) | threads sleep after (ms) | frame at 30/s (ms) | processors |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for name in NETWORKS:
        costs = measured(name, asked.precision, asked.threads)
        for setting, cost in costs.items():
            print(f"| {name} | {setting} | {cost.run_ms:.2f} | {cost.after_ms:.1f} "
                  f"| {cost.frame_ms:.2f} | {cost.processors:.2f} |", flush=True)  # fmt: skip
        ratios.append(costs["edgecnn"].run_ms / costs["default"].run_ms)
    ratio = statistics.median(ratios)
    print(f"back to back: {ratio:.3f} times, by network {', '.join(f'{r:.3f}' for r in ratios)}")
    if ratio > LONGER:
        sys.exit(EXIT_VERDICT_FAILED)


def measured(name: str, precision: str, threads: int) -> dict[str, Cost]:
    """The costs of both settings, in turns of random order."""
    with tempfile.TemporaryDirectory() as folder:
        path = graphs.write(families.get(name), "onnx", precision, Path(folder) / "network.onnx")
        artifact = Artifact.load(path)
        sessions = {"edgecnn": OrtSession(artifact, Provider(), threads)}
        with onnxruntimes_own_spinning():
            sessions["default"] = OrtSession(artifact, Provider(), threads)
        image = timing_input(artifact.inputs[0])
        found: dict[str, list[list[float]]] = defaultdict(lambda: [[], [], [], []])
        for setting in in_turns(sessions, ROUNDS):
            runs = [timed_ms(sessions[setting], image) for _ in range(SETTLE + RUNS)]
            found[setting][0].append(statistics.median(runs[SETTLE:]))
            found[setting][1].append(rested_ms())
        for setting in in_turns(sessions, STREAMS):
            frames_ms, processors = streamed(sessions[setting], image)
            found[setting][2] += frames_ms
            found[setting][3].append(processors)
            rested_ms()
    return {key: Cost(*map(statistics.median, lists)) for key, lists in found.items()}


@contextmanager
def onnxruntimes_own_spinning() -> Iterator[None]:
    """Sessions opened meanwhile keep the default."""
    entry = onnxruntime.SessionOptions.add_session_config_entry

    def but_that(options: Any, key: str, value: str) -> None:
        if "spin" not in key:
            entry(options, key, value)

    onnxruntime.SessionOptions.add_session_config_entry = but_that
    try:
        yield
    finally:
        onnxruntime.SessionOptions.add_session_config_entry = entry


def in_turns(settings: dict[str, OrtSession], rounds: int) -> Iterator[str]:
    random = Random(0)  # noqa: S311 (no secrets)
    for _ in range(rounds):
        yield from random.sample(sorted(settings), len(settings))


def timed_ms(session: OrtSession, image: Any) -> float:
    start = time.perf_counter()
    session.run(image)
    return (time.perf_counter() - start) * 1e3


def rested_ms() -> float:
    """Wait until all threads sleep; how long that took."""
    start = time.perf_counter()
    while others_at_work():
        time.sleep(5e-4)
    return (time.perf_counter() - start) * 1e3


def streamed(session: OrtSession, image: Any) -> tuple[list[float], float]:
    """Latencies at a camera's pace, and how many processors were used meanwhile."""
    used, start = time.process_time(), time.perf_counter()
    frames_ms = []
    for frame in range(FRAMES):
        time.sleep(max(0.0, start + frame * FRAME_S - time.perf_counter()))
        frames_ms.append(timed_ms(session, image))
    time.sleep(max(0.0, start + FRAMES * FRAME_S - time.perf_counter()))
    return frames_ms, (time.process_time() - used) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
