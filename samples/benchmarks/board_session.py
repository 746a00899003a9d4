"""A session on an emulated Raspberry Pi 4 over real SSH: what it takes, and where the time goes.

    sudo python samples/benchmarks/board_session.py [FILE] [--repeats N] [--json FILE]

A fresh board under QEMU serves SSH on the loopback address. First, once each: `device setup
--offline`, the push of the file, opening it, its golden sample. Then, in turns: `edgecnn profile`
as a user starts it, the same with the runtime named, a bare `ssh BOARD python3` that imports NumPy
and the runtime, and the session's own steps one by one. Times under emulation say nothing of a
board's speed; what edgecnn adds to them is what it adds to anything.

Bar: `edgecnn profile` takes less than 3 s more than the bare Python and the golden sample together
(median of what each repetition takes), on a machine that does nothing else. Without FILE,
EfficientNet-Lite0 w8a8 is exported to TFLite. Needs root, sshd and QEMU. Ends with 4 where the bar
is missed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from _common import EDGECNN, machine, photographs, run

from edgecnn import devices
from edgecnn.artifact import Artifact
from edgecnn.errors import UnavailableError, VerdictError
from edgecnn.hosted import OPEN_TIMEOUT_S
from edgecnn.remote.sshd import EmulatedBoard, why_not

BOARD = "rpi4"
BAR_S = 3.0
RUNTIME = {"onnx": "ort", "tflite": "litert"}
MODULE = {"onnx": "onnxruntime", "tflite": "ai_edge_litert.interpreter"}

PROFILE = "edgecnn profile"
BARE = "bare: ssh python3, importing the runtime"
GOLDEN = "session: run the golden sample"

Seconds = dict[str, float]


class Steps:
    """Seconds of named steps, in their order."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def main() -> None:
    options = arguments()
    if reason := why_not():
        print(reason, file=sys.stderr)
        sys.exit(UnavailableError.exit_code)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact = Artifact.load(options.file or exported(folder))
        found: dict[str, Any] = {
            "machine": machine("ai-edge-litert", "onnxruntime"),
            "file": artifact.path.name,
        }
        print(found["machine"])
        with EmulatedBoard(BOARD, folder=folder / "board") as board:
            use_client_of(board, folder)
            found["once"] = once(artifact, board.address)
            show("once, on a fresh board", {n: [s] for n, s in found["once"].items()})
            found["again"] = again(artifact, board.address, options.repeats)
    show(f"again, medians of {options.repeats}", found["again"])
    found["above_s"] = seconds = above(found["again"])
    print(
        f"edgecnn profile takes {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}) "
        f"above the bare Python and the golden sample (bar {BAR_S:g} s)"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.exit(0 if median(seconds) < BAR_S else VerdictError.exit_code)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, help=".tflite or .onnx made by edgecnn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def exported(folder: Path) -> Path:
    path = folder / "efficientnet_lite0-w8a8.tflite"
    run([*EDGECNN, "export", "efficientnet_lite0", "--format", "tflite", "--precision", "w8a8",
         "--data", photographs(), "--output", path])  # fmt: skip
    return path


def use_client_of(board: EmulatedBoard, folder: Path) -> None:
    """Put an `ssh` first on the PATH that knows this board, and leaves the user's files alone."""
    programs = folder / "bin"
    programs.mkdir()
    client = programs / "ssh"
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "{board.ssh_config}" "$@"\n')
    client.chmod(0o755)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"


def once(artifact: Artifact, address: str) -> Seconds:
    """Everything that a new board needs."""
    runtime = RUNTIME[artifact.format]
    steps = Steps()
    with steps.step("edgecnn device setup --offline"):
        run([*EDGECNN, "device", "setup", address, "--offline", "--runtime", runtime])
    return steps.seconds | session(artifact, address)


def again(artifact: Artifact, address: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of everything, in turns: whole processes, and a session's steps."""
    profile = [*EDGECNN, "profile", artifact.path, "--device", address, "--json"]
    with devices.connect(devices.parse(address)) as host:
        python = f"PYTHONPATH={host.board['home']}/site python3 -c"
    commands = {
        PROFILE: profile,
        f"{PROFILE} --runtime": [*profile, "--runtime", RUNTIME[artifact.format]],
        BARE: ["ssh", address, f"{python} 'import numpy, {MODULE[artifact.format]}'"],
        "bare: ssh python3 -c pass": ["ssh", address, f"{python} pass"],
        "bare: ssh true": ["ssh", address, "true"],
        "edgecnn --version": [*EDGECNN, "--version"],
    }
    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        seconds = {name: run(command)[0] for name, command in commands.items()}
        for name, value in (seconds | session(artifact, address)).items():
            found.setdefault(name, []).append(value)
    return found


def session(artifact: Artifact, address: str) -> Seconds:
    """The steps of `edgecnn profile`, one by one in this process."""
    contract = artifact.required_contract()
    steps = Steps()
    with steps.step("session: connect, start the runner, claim"):
        host = devices.connect(devices.parse(address), "board_session")
    with host:
        with steps.step("session: push the file"):
            path = host.stage(artifact.path, artifact.sha256)
        with steps.step("session: start the measuring process"):
            worker = host.start_worker()
        with steps.step("session: open the file"):
            worker.request("open", OPEN_TIMEOUT_S, artifact=path, device="local", threads=1,
                           runtime=RUNTIME[artifact.format])  # fmt: skip
        with steps.step(GOLDEN):
            golden = worker.request("golden", OPEN_TIMEOUT_S)["golden"]
        with steps.step("session: describe the environment"):
            worker.request("environment", OPEN_TIMEOUT_S)
        with steps.step("session: end"):
            worker.close()
            host.close()
    if golden is None or not golden["passed"]:
        sys.exit(f"the golden sample of {contract.name} is off: {golden}")
    return steps.seconds


def above(found: Mapping[str, list[float]]) -> list[float]:
    """What `edgecnn profile` takes above the bare Python and the golden sample, each time."""
    times = zip(found[PROFILE], found[BARE], found[GOLDEN], strict=True)
    return [whole - bare - golden for whole, bare, golden in times]


def show(title: str, found: Mapping[str, list[float]]) -> None:
    print(f"{title}:")
    for name, seconds in found.items():
        spread = f"   ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else ""
        print(f"  {name:44}{median(seconds):7.2f} s{spread}")


if __name__ == "__main__":
    main()
