"""Every CUDA runtime on the same model: latency end to end, and the transfers told apart.

    edgecnn export efficientnet_lite0 --format onnx --precision fp16
    edgecnn export efficientnet_lite0 --format pt2 --precision fp16
    python samples/benchmarks/gpu.py efficientnet_lite0*.onnx efficientnet_lite0*.pt2

`.onnx` runs on onnxruntime's CUDA and TensorRT providers, `.pt2` on PyTorch: eager, as a CUDA
graph, and compiled. All are measured in turns. A latency begins and ends in the host's memory; in,
compute and out are measured apart, the device idle before each, and add up to a little more.
A runtime that cannot run is named with its reason. Ends with 5 where none can.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from _common import machine

from edgecnn import measure, runtimes
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Comparison, Plan
from edgecnn.device import Device
from edgecnn.errors import EdgecnnError, UsageError

PACKAGES = ("onnxruntime-gpu", "tensorrt", "torch", "triton")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".onnx or .pt2")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=5.0, help="timed, for each runtime")
    options = parser.parse_args()
    try:
        found = candidates(options.files, Device.parse(options.device))
    except EdgecnnError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    plan = Plan(min_runs=200, min_seconds=options.seconds, rounds=16)
    print(machine(*PACKAGES))
    print(gpus())
    comparison = measure.interleave(found, plan)
    print_table(comparison)
    if not comparison.profiles:
        sys.exit(comparison.failures[0].error.exit_code)


def candidates(files: list[Path], device: Device) -> list[Candidate]:
    """Every timed runtime that is made for the device, on each file that it reads."""
    artifacts = [Artifact.load(path) for path in files]
    found = [
        Candidate(artifact, name, device)
        for artifact in artifacts
        for name in runtimes.reading(artifact.format, device)
        if runtimes.get(name).timed
    ]
    if not found:
        raise UsageError(f"no runtime is made for these files on {device}; give .onnx or .pt2.")
    return found


def gpus() -> str:
    """What the driver says of the GPUs: name, driver, power limit, highest clock."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi: no NVIDIA driver is installed"
    query = "--query-gpu=index,name,driver_version,power.limit,clocks.max.sm"
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True
    )
    return (done.stdout or done.stderr).strip()


def print_table(comparison: Comparison) -> None:
    print(
        f"{'file':32} {'runtime':16} {'p50':>8} {'p95':>8} {'in':>8} {'compute':>8} {'out':>8}  ms"
    )
    for profile in sorted(comparison.profiles, key=lambda profile: profile.latency.p50):
        parts = profile.transfers
        split = (parts.in_ms, parts.compute_ms, parts.out_ms) if parts else ()
        figures = (profile.latency.p50, profile.latency.p95, *split)
        columns = " ".join(f"{ms:8.3f}" for ms in figures)
        print(f"{Path(profile.artifact).name:32} {profile.runtime:16} {columns}")
        for note in profile.notes:
            print(f"  {note}")
    for failure in comparison.failures:
        print(f"{failure.candidate}: {failure.error}")


if __name__ == "__main__":
    main()
