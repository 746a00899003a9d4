"""How much memory does a stream take above the bare runtime, and does it grow?

    python samples/benchmarks/stream_memory.py FILE.onnx|FILE.tflite [--frames 100000]

Bars: at most 40 MB above a process with the same artifact opened and OpenCV loaded; growth below
1 MB over 100,000 frames (after the first 2,000).
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from _common import machine

from edgecnn.errors import EXIT_VERDICT_FAILED

ABOVE_MB, GROWTH_MB = 40.0, 1.0
SETTLE = 2000
BARE = """
import sys
import cv2
import numpy as np
path = sys.argv[1]
if path.endswith(".onnx"):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    one = session.get_inputs()[0]
    run = lambda: session.run(None, {one.name: np.zeros(one.shape, np.float32)})
else:
    from ai_edge_litert.interpreter import Interpreter
    session = Interpreter(model_path=path, num_threads=1)
    session.allocate_tensors()
    one = session.get_input_details()[0]
    def run():
        session.set_tensor(one["index"], np.zeros(one["shape"], one["dtype"]))
        session.invoke()
for _ in range(20):
    run()
print(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1])
"""
STREAM = """
import gc, sys
from itertools import islice
from edgecnn import Stream
def rss():
    gc.collect()
    return next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]
path, settle, frames = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from edgecnn.stream import Frame
import numpy as np, time
class Noise:
    live, frames, fps, clock, name = True, None, None, "arrival", "noise"
    def __init__(self):
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 255, (360, 640, 3), np.uint8) for _ in range(4)]
        self.number = -1
    def read(self):
        self.number += 1
        time.sleep(0.0005)
        return Frame(self.images[self.number % 4].copy(), self.number, time.monotonic_ns())
    def close(self):
        pass
with Stream(path, Noise()) as results:
    stream = iter(results)
    for _ in islice(stream, settle): pass
    before = rss()
    for _ in islice(stream, frames): pass
    print(before, rss())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--frames", type=int, default=100_000)
    asked = parser.parse_args()
    print(machine("onnxruntime", "ai-edge-litert", "opencv-python"))
    bare = float(told(BARE, asked.file)[0]) / 1e3
    settled, ended = told(STREAM, asked.file, SETTLE, asked.frames)
    first, last = float(settled) / 1e3, float(ended) / 1e3
    above = float(np.round(first - bare, 1))
    print(f"{asked.file.name}: bare {bare:.1f} MB, stream {first:.1f} MB: {above:.1f} MB above; "
          f"{last - first:+.2f} MB over {asked.frames} frames")  # fmt: skip
    sys.exit(0 if above <= ABOVE_MB and last - first < GROWTH_MB else EXIT_VERDICT_FAILED)


def told(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


if __name__ == "__main__":
    main()
