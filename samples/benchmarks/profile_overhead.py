"""How far is the median of `edgecnn profile` from that of a bare loop on the same runtime?

Both run in fresh processes on the same file with the same input and number of threads, in turns
(A B A B), in one run. The bare loop is a plain script of the runtime's own documentation: it does
not import edgecnn. Printed is the median of the ratios of paired rounds with its 95 % interval.

    python samples/benchmarks/profile_overhead.py [FILE.onnx|FILE.tflite ...]

Without files, EfficientNet-Lite0 is exported to both formats into a temporary folder.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _common import EDGECNN, machine, run

from edgecnn.artifact import Artifact
from edgecnn.comparison import median_ratio
from edgecnn.worker_process import WorkerProcess

ROUNDS = 100
ROUND_S = 0.12
WARMUP_S = 3.0
THREADS = 1
RUNTIMES = {"onnx": "ort", "tflite": "litert"}

COMMON = """
import json, sys, time
import numpy as np
path, threads = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(0)
{opening}
def timed(runs):
    samples = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        {run}
        samples.append(time.perf_counter_ns() - start)
    return samples
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(timed(int(line))), flush=True)
"""
BARE = {
    "onnx": COMMON.format(
        opening="""
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
x = random.uniform(-1, 1, shape).astype(np.float32)
""",
        run="session.run(None, {name: x})",
    ),
    "tflite": COMMON.format(
        opening="""
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=path, num_threads=threads)
interpreter.allocate_tensors()
given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
index = given["index"]
x = random.uniform(-1, 1, given["shape"]).astype(np.float32)
""",
        run="interpreter.set_tensor(index, x); interpreter.invoke(); "
        "interpreter.get_tensor(result)",
    ),
}


class Bare:
    """The plain script, waiting for a number of runs."""

    def __init__(self, artifact: Artifact) -> None:
        command = [sys.executable, "-c", BARE[artifact.format], str(artifact.path), str(THREADS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while self._line() != "ready\n":
            pass

    def round(self, runs: int) -> list[int]:
        """Return ``runs`` durations in nanoseconds."""
        self._process.stdin.write(f"{runs}\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End the script."""
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            sys.exit("the bare loop died")
        return line


def compare(artifact: Artifact) -> None:
    """Print the ratio of profile's worker to the bare loop, and of the bare loop to another."""
    with WorkerProcess() as worker:
        worker.request(
            "open", 60, artifact=str(artifact.path.resolve()), runtime=RUNTIMES[artifact.format],
            device="local", threads=THREADS,
        )  # fmt: skip
        warm = worker.request("warm_up", 60, max_seconds=WARMUP_S, tolerance=0.03)
        bare, control = Bare(artifact), Bare(artifact)
        runs = max(3, int(ROUND_S * 1e9 / warm["median_ns"]))
        bare.round(runs), control.round(runs)
        medians = [
            (
                statistics.median(worker.request("round", 60, runs=runs, settle=2)["samples_ns"]),
                statistics.median((bare.round(2), bare.round(runs))[1]),
                statistics.median((control.round(2), control.round(runs))[1]),
            )
            for _ in range(ROUNDS)
        ]
        bare.close(), control.close()
    ours, first, second = zip(*medians, strict=True)
    print(f"{artifact.path.name}: {ROUNDS} rounds of {runs} runs, {THREADS} thread")
    print(f"  bare loop      p50 {statistics.median(first) / 1e6:8.3f} ms")
    print(f"  edgecnn        p50 {statistics.median(ours) / 1e6:8.3f} ms")
    for name, pair in (("edgecnn / bare", (ours, first)), ("bare / bare", (second, first))):
        ratio = median_ratio(*pair)
        print(
            f"  {name:14} {ratio.median:.4f}  (95 % interval {ratio.low:.4f} to {ratio.high:.4f})"
        )


@contextmanager
def exported() -> Iterator[list[Path]]:
    """Export EfficientNet-Lite0 to both formats, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"lite0.{format_name}" for format_name in RUNTIMES]
        for path in paths:
            run([*EDGECNN, "export", "efficientnet_lite0", "--format", path.suffix[1:],
                 "--output", path])  # fmt: skip
        yield paths


def main() -> None:
    """Compare on each file."""
    print(machine("onnxruntime", "ai-edge-litert"))
    given = [Path(argument) for argument in sys.argv[1:]]
    if given:
        for path in given:
            compare(Artifact.load(path))
        return
    with exported() as paths:
        for path in paths:
            compare(Artifact.load(path))


if __name__ == "__main__":
    main()
