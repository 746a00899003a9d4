"""What edgecnn takes on a board: disk with one runtime, and memory above a bare script.

    python samples/benchmarks/board_footprint.py [FILE.tflite FILE.onnx] [--json FILE]

Disk is counted on an emulated Raspberry Pi 4 set up with one runtime, after a model was opened
there. Bars: under 250 MB; no torch and no onnx. Memory cannot be told under emulation, so it is
measured on this machine as on a board: a plain Python that has only what `setup` installs, the
runner reached through a pipe, and its measuring process doing what `edgecnn profile` has it do
before and while it times. The bare script imports NumPy and the runtime, opens the same file and
makes as many runs; both tell their VmHWM, in turns. To it comes what the runner beside it does not
share with it (its private pages). Bar: at most 25 MB more in all (1 MB is 10^6 bytes).

Without files, EfficientNet-Lite0 w8a8 is exported. Ends with 4 where a bar is missed.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from _common import EDGECNN, machine, photographs, run

from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL
from edgecnn.errors import EdgecnnError, UnavailableError, VerdictError
from edgecnn.hosted import Hosted
from edgecnn.onboard.install import Site
from edgecnn.remote import setup
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.link import Transport
from edgecnn.remote.qemu import Emulated

RUNTIME = {"onnx": "ort", "tflite": "litert"}
BOARD = "rpi4"
RUNS = 50
DISK_BAR_MB, MEMORY_BAR_MB = 250.0, 25.0
NOT_ON_A_BOARD = {"torch", "onnx"}
TIMEOUT_S = 600.0

COMMON = """
import re, sys
import numpy as np
path, runs = sys.argv[1], int(sys.argv[2])
random = np.random.default_rng(0)
{opening}
for _ in range(runs):
    {run}
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""
BARE = {
    "onnx": COMMON.format(
        opening="""
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
x = random.uniform(-1, 1, shape).astype(np.float32)
""",
        run="session.run(None, {name: x})",
    ),
    "tflite": COMMON.format(
        opening="""
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=path, num_threads=1)
interpreter.allocate_tensors()
given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
x = random.uniform(-1, 1, given["shape"]).astype(np.float32)
""",
        run='interpreter.set_tensor(given["index"], x); interpreter.invoke(); '
        "interpreter.get_tensor(result)",
    ),
}


@dataclass(frozen=True)
class Piped:
    """This machine as a board: a Python without the packages of the one that runs this script."""

    folder: Path
    where: str = "a pipe to this machine"

    def command(self, arguments: Sequence[str]) -> list[str]:
        return [str(Path(sys.base_prefix) / "bin" / "python3"), *arguments]

    def environment(self) -> dict[str, str]:
        own = {"EDGECNN_BOARD_HOME": str(self.folder), "EDGECNN_BOARD_LOCK": f"{self.folder}.lock"}
        return os.environ | own

    def explain(self, code: int | None, stderr: str) -> EdgecnnError:
        return UnavailableError(f"the runner ended with {code}: {stderr.strip()}")


@dataclass(frozen=True)
class Disk:
    """What lies on the board. ``wheels_bytes`` are the packages as they were sent."""

    runtime: str
    packages: dict[str, str]
    installed_bytes: int
    code_bytes: int
    compiled_bytes: int
    wheels_bytes: int


@dataclass(frozen=True)
class Memory:
    """In bytes, one for each repetition: peaks, and what the runner has for itself beside that."""

    file: str
    runtime: str
    runs: int
    edgecnn: list[int]
    bare: list[int]
    runner: list[int]

    @property
    def above_mb(self) -> float:
        """The medians of the process and of the runner, above the bare script's."""
        ours = statistics.median(self.edgecnn) + statistics.median(self.runner)
        return (ours - statistics.median(self.bare)) / 1e6


def main() -> None:
    options = arguments()
    about = machine("onnxruntime", "ai-edge-litert", "numpy")
    print(about)
    with files(options.files) as artifacts, tempfile.TemporaryDirectory() as temporary:
        disks, memories = [], []
        for artifact in artifacts:
            folder = Path(temporary) / artifact.format
            disks.append(disk(artifact, folder / BOARD))
            print(disk_line(disks[-1]))
            memories.append(memory(artifact, folder / "desk", options.repeats))
            print(memory_line(memories[-1]))
    if options.json:
        found = {"machine": about, "board": f"emulated:{BOARD}"}
        found |= {"disk": list(map(asdict, disks)), "memory": list(map(asdict, memories))}
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(
        0 if all(map(fits, disks)) and all(map(is_small, memories)) else VerdictError.exit_code
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help=".tflite and .onnx made by edgecnn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


@contextmanager
def files(given: Sequence[Path]) -> Iterator[list[Artifact]]:
    """The files given, or new exports for as long as the block runs."""
    if given:
        yield [Artifact.load(path) for path in given]
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"efficientnet_lite0-w8a8.{kind}" for kind in RUNTIME]
        for path in paths:
            run([*EDGECNN, "export", "efficientnet_lite0", "--format", path.suffix[1:],
                 "--precision", "w8a8", "--data", photographs(), "--output", path])  # fmt: skip
        yield [Artifact.load(path) for path in paths]


def disk(artifact: Artifact, folder: Path) -> Disk:
    """Set a board up with one runtime, use it once, and add up its files."""
    board = Emulated(BOARD, folder)
    site = set_up(board, artifact)
    with RemoteHost(board) as host:
        opened(host, artifact).close()
    return Disk(
        runtime=RUNTIME[artifact.format],
        packages=dict(site.packages),
        installed_bytes=site.bytes,
        code_bytes=size(folder / "code", "*.py", "*.toml", "*.txt"),
        compiled_bytes=size(folder, "*.pyc"),
        wheels_bytes=size(folder / "store", "*.whl"),
    )


def set_up(board: Transport, artifact: Artifact) -> Site:
    request = setup.Request((RUNTIME[artifact.format],), offline=True)
    return setup.on_board(RemoteHost(board), request, lambda text: None)


def size(folder: Path, *patterns: str) -> int:
    return sum(path.stat().st_size for pattern in patterns for path in folder.rglob(pattern))


def memory(artifact: Artifact, folder: Path, repeats: int) -> Memory:
    """Measure both processes in turns, with the packages that `setup` installs."""
    board = Piped(folder)
    set_up(board, artifact)
    found = Memory(artifact.path.name, RUNTIME[artifact.format], RUNS, [], [], [])
    for _ in range(repeats):
        with RemoteHost(board) as host:
            process, runner = measured(host, artifact)
        found.edgecnn.append(process)
        found.runner.append(runner)
        found.bare.append(bare_script(artifact, board))
    return found


def measured(host: RemoteHost, artifact: Artifact) -> tuple[int, int]:
    """Do what `edgecnn profile` does until the last round; the process's peak, and the runner's."""
    process = opened(host, artifact)
    try:
        process.ask("warm_up", TIMEOUT_S, max_seconds=10.0, tolerance=0.03)
        process.ask("environment", TIMEOUT_S)
        peak = process.ask("round", TIMEOUT_S, runs=RUNS, settle=2)["peak_rss_bytes"]
        return peak, private_bytes(only_child())
    finally:
        process.close()


def opened(host: RemoteHost, artifact: Artifact) -> Hosted:
    """A measuring process that has passed the golden sample."""
    process = Hosted(host, artifact, RUNTIME[artifact.format], LOCAL, threads=1, verify=True)
    process.open()
    return process


def bare_script(artifact: Artifact, board: Piped) -> int:
    """Run the plain script with the board's Python and packages; its peak."""
    command = board.command(["-c", BARE[artifact.format], str(artifact.path), str(RUNS)])
    variables = board.environment() | {"PYTHONPATH": str(board.folder / "site")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def only_child() -> int:
    """The process that this one has started: the runner, behind a pipe."""
    [child] = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(child)


def private_bytes(pid: int) -> int:
    """The pages that a process shares with no other one: proc(5), smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(map(int, re.findall(r"Private_(?:Clean|Dirty): +(\d+) kB", text)))


def fits(found: Disk) -> bool:
    return total_mb(found) < DISK_BAR_MB and not NOT_ON_A_BOARD & set(found.packages)


def total_mb(found: Disk) -> float:
    """All that stays, but the wheels, which the cache drops when it needs the space."""
    return (found.installed_bytes + found.code_bytes + found.compiled_bytes) / 1e6


def disk_line(found: Disk) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    return (
        f"{found.runtime}: {total_mb(found):.0f} MB on disk (bar {DISK_BAR_MB:.0f}): packages "
        f"{found.installed_bytes / 1e6:.0f}, edgecnn {found.code_bytes / 1e6:.1f}, compiled "
        f"{found.compiled_bytes / 1e6:.1f}; beside it {found.wheels_bytes / 1e6:.0f} MB of wheels "
        f"in the cache\n  {packages}"
    )


def is_small(found: Memory) -> bool:
    return found.above_mb <= MEMORY_BAR_MB


def memory_line(found: Memory) -> str:
    ours, bare, runner = (statistics.median(part) / 1e6 for part in
                          (found.edgecnn, found.bare, found.runner))  # fmt: skip
    return (
        f"{found.runtime}: bare script {bare:.1f} MB, measuring process {ours:.1f} MB, "
        f"runner {runner:.1f} MB: {found.above_mb:+.1f} MB in all (bar {MEMORY_BAR_MB:.0f})"
    )


if __name__ == "__main__":
    main()
