"""How much of the bare runtime's rate does a stream reach, where the source is not the limit?

    python samples/benchmarks/stream_throughput.py [FILE.onnx|FILE.tflite ...] [--rounds 12]

In turns, in one process: the runtime alone on one input again and again; a stream of decoded
640 x 360 frames from memory, resized for each result; a stream of the encoded file. Printed are
medians of the ratios of paired rounds. Bars: 97 % from decoded frames, 90 % from the file.

Without files, EfficientNet-Lite0 is exported to both formats into a temporary folder.
"""

import argparse
import statistics
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, monotonic_ns

import numpy as np
from _common import EDGECNN, machine, run, video

from edgecnn import Artifact, Stream, runtimes
from edgecnn.device import LOCAL
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.stream import Frame, Wanted
from edgecnn.stream.sources import open_source

DECODED, ENCODED = 0.97, 0.90
ROUND_S = 2.0
WARM_UP = 30
KEPT = 100
"""Decoded frames; 69 MB."""


class Memory:
    """Decoded frames without an end."""

    live, frames, fps, clock, name = False, None, None, "arrival", "memory"

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = enumerate(cycle(images))

    def read(self) -> Frame:
        number, image = next(self._images)
        return Frame(image, number, monotonic_ns())

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--num-threads", type=int, default=1)
    asked = parser.parse_args()
    print(machine("onnxruntime", "ai-edge-litert", "opencv-python"))
    print("| file | bare, results/s | decoded frames | encoded file |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        files = asked.files or [
            exported(kind, precision, Path(folder))
            for kind in ("onnx", "tflite")
            for precision in ("fp32", "w8a8")
        ]
        passed = [judged(file, asked.rounds, asked.num_threads) for file in files]
    sys.exit(0 if all(passed) else EXIT_VERDICT_FAILED)


def exported(kind: str, precision: str, folder: Path) -> Path:
    from _common import photographs

    path = folder / f"lite0-{precision}.{kind}"
    run([*EDGECNN, "export", "efficientnet_lite0", "--format", kind, "--precision", precision,
         "--data", photographs(), "--output", path])  # fmt: skip
    return path


def judged(file: Path, rounds: int, threads: int) -> bool:
    artifact, images = Artifact.load(file), decoded()
    rates: dict[str, list[float]] = {"bare": [], "decoded": [], "encoded": []}
    for _ in range(rounds):
        rates["bare"].append(bare(artifact, threads))
        rates["decoded"].append(streamed(artifact, Memory(images), threads))
        rates["encoded"].append(streamed(artifact, str(video()), threads))
    shares = {
        name: statistics.median(a / b for a, b in zip(rates[name], rates["bare"], strict=True))
        for name in ("decoded", "encoded")
    }
    print(f"| {file.name} | {statistics.median(rates['bare']):.1f} | {shares['decoded']:.1%} | "
          f"{shares['encoded']:.1%} |", flush=True)  # fmt: skip
    return shares["decoded"] >= DECODED and shares["encoded"] >= ENCODED


def decoded() -> list[np.ndarray]:
    source = open_source(str(video()), Wanted(pace=False))
    frames = [source.read() for _ in range(KEPT)]
    source.close()
    return [frame.image for frame in frames if frame is not None]


def bare(artifact: Artifact, threads: int) -> float:
    """Runs a second of the runtime alone."""
    runtime = runtimes.made_for(artifact, LOCAL)
    session = runtimes.open_session(runtime, artifact, LOCAL, threads)
    spec = session.inputs[0]
    array = np.random.default_rng(0).normal(0, 1, spec.shape).astype(spec.dtype)
    for _ in range(WARM_UP):
        session.run(array)
    start, count = monotonic(), 0
    while monotonic() - start < ROUND_S:
        session.run(array)
        count += 1
    seconds = monotonic() - start
    session.close()
    return count / seconds


def streamed(artifact: Artifact, source: str | Memory, threads: int) -> float:
    """Results a second of a stream that drops nothing."""
    with Stream(artifact, source, threads=threads, every_frame=True) as results:
        stream = iter(results)
        for _ in islice(stream, WARM_UP):
            pass
        start, count = monotonic(), 0
        for _ in stream:
            count += 1
            if monotonic() - start >= ROUND_S:
                break
        return count / (monotonic() - start)


if __name__ == "__main__":
    main()
