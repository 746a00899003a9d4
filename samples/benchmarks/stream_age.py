"""How old is a frame when its result is there, where the network is slower than the source?

    python samples/benchmarks/stream_age.py FILE.onnx|FILE.tflite [--seconds 60] [--fps 30]
        [--only file]

One RTSP stream on loopback, whose pictures tell when they were made, is read in three ways, one
after another, with the same artifact: `edgecnn.Stream`; a plain OpenCV loop (read, infer); a thread
that reads into a list which the loop empties, as Ultralytics does with stream_buffer=True. Ages are
from the picture to the result, by the picture's own clock: encoding, network and decoding
included. Before that a file at its own pace through `edgecnn.Stream` alone, whose bar is: the 95th
percentile at most one frame period, one inference and 5 ms; in the last minute as in the first.

Needs ffmpeg, and for RTSP what _clock_server.py needs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from _common import machine, video

from edgecnn import Artifact, Stream
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.stream import Wanted
from edgecnn.stream.classifier import Classifier

SYSTEM_PYTHON = "/usr/bin/python3"
BLOCK, BITS = 16, 32
SLACK_MS = 5.0
MOST_WAITING = 2000
"""Frames in the list of the buffered way; 1.4 GB, more than a minute of a slow network."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--only", choices=["file"])
    asked = parser.parse_args()
    print(machine("onnxruntime", "ai-edge-litert", "opencv-python"))
    artifact = Artifact.load(asked.file)
    passed = from_file(artifact, asked)
    if asked.only is None:
        from_rtsp(artifact, asked)
    sys.exit(0 if passed else EXIT_VERDICT_FAILED)


def from_rtsp(artifact: Artifact, asked: argparse.Namespace) -> None:
    print("| RTSP, way | results/s | age p50 | p95 | first quarter p95 | last quarter p95 (ms) |")
    print("|---|---|---|---|---|---|")
    ways: dict[str, Callable[[str], Iterator[float]]] = {
        "edgecnn.Stream": lambda url: by_stream(artifact, url, asked.num_threads),
        "plain OpenCV loop": lambda url: by_loop(opened(artifact, asked.num_threads), url),
        "buffered reading": lambda url: by_buffer(opened(artifact, asked.num_threads), url),
    }
    for name, way in ways.items():
        with serving(asked.fps) as url:
            ages = within(way(url), asked.seconds)
        quarter = max(1, len(ages) // 4)
        cells = (len(ages) / asked.seconds, statistics.median(ages), p95(ages),
                 p95(ages[:quarter]), p95(ages[-quarter:]))  # fmt: skip
        print(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |", flush=True)


def from_file(artifact: Artifact, asked: argparse.Namespace) -> bool:
    """A file that is long enough, at so many frames a second: ages by the time they were due."""
    at, ages, infers = list[float](), list[float](), list[float]()
    until = time.monotonic() + asked.seconds
    with (
        looped(video(), asked.seconds * asked.fps) as clip,
        Stream(
            artifact, str(clip), threads=asked.num_threads, wanted=Wanted(fps=asked.fps)
        ) as results,
    ):
        for result in results:
            at.append(time.monotonic())
            ages.append(result.frame_age_ms)
            infers.append(result.stages_ms["infer"])
            if at[-1] >= until:
                break
    del at[:10], ages[:10], infers[:10]
    bar = 1000 / asked.fps + statistics.median(infers) + SLACK_MS
    window_s = min(60.0, asked.seconds / 4)
    first = [age for when, age in zip(at, ages, strict=True) if when < at[0] + window_s]
    last = [age for when, age in zip(at, ages, strict=True) if when > at[-1] - window_s]
    print(
        f"file at {asked.fps} frames/s, {at[-1] - at[0]:.0f} s: {len(ages)} results, network "
        f"{statistics.median(infers):.1f} ms (p95 {p95(infers):.1f}), age p50 "
        f"{statistics.median(ages):.1f}, p95 {p95(ages):.1f} (bar {bar:.1f}); "
        f"first {window_s:.0f} s p95 {p95(first):.1f}, last {p95(last):.1f} ms",
        flush=True,
    )
    return p95(ages) <= bar


@contextmanager
def looped(clip: Path, frames: float) -> Iterator[Path]:
    """The clip over and over in one file, of so many frames or more; nothing encoded anew."""
    capture = cv2.VideoCapture(str(clip))
    held = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / clip.name
        times = str(int(frames / held) + 1)
        subprocess.run(
            ["ffmpeg", "-v", "error", "-stream_loop", times, "-i", str(clip), "-c", "copy", "-an",
             str(long)],
            check=True,
        )  # fmt: skip
        yield long


def by_stream(artifact: Artifact, url: str, threads: int) -> Iterator[float]:
    with Stream(artifact, url, threads=threads, frozen_after_s=0) as results:
        for result in results:
            yield age_ms(result.image)


def by_loop(classifier: Classifier, url: str) -> Iterator[float]:
    capture = cv2.VideoCapture(url)
    while True:
        good, picture = capture.read()
        if not good:
            return
        yield looked_at(classifier, picture)


def by_buffer(classifier: Classifier, url: str) -> Iterator[float]:
    waiting: list[np.ndarray] = []
    ended = threading.Event()

    def read() -> None:
        capture = cv2.VideoCapture(url)
        while not ended.is_set() and len(waiting) < MOST_WAITING:
            good, picture = capture.read()
            if good:
                waiting.append(picture)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while thread.is_alive() or waiting:
            if not waiting:
                time.sleep(0.001)
                continue
            yield looked_at(classifier, waiting.pop(0))
    finally:
        ended.set()
        thread.join(5)


def looked_at(classifier: Classifier, bgr: np.ndarray) -> float:
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    classifier.scores(classifier.run(classifier.prepare(image)))
    return age_ms(image)


def opened(artifact: Artifact, threads: int) -> Classifier:
    return Classifier.open(artifact, None, threads)


def age_ms(image: np.ndarray) -> float:
    """How long ago a picture says that it was made."""
    middle = image[BLOCK // 2, BLOCK // 2 :: BLOCK, 1][:BITS] > 127
    made = sum(int(bit) << at for at, bit in enumerate(middle))
    return float((time.monotonic_ns() // 1_000_000 - made) & 0xFFFFFFFF)


def within(ages: Iterator[float], seconds: float) -> list[float]:
    """Ages of so many seconds, without the first ten."""
    found, until = list[float](), time.monotonic() + seconds
    for age in ages:
        found.append(age)
        if time.monotonic() >= until:
            break
    ages.close()  # type: ignore[attr-defined]
    return found[10:]


def p95(values: list[float]) -> float:
    return float(np.percentile(values, 95))


@contextmanager
def serving(fps: int) -> Iterator[str]:
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(Path(__file__).with_name("_clock_server.py")), str(fps)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield f"rtsp://127.0.0.1:{int(server.stdout.readline())}/cam"
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
