"""What the benchmarks share: whole processes in turns, the machine, the photographs."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgecnn.environment import Environment

ROOT = Path(__file__).resolve().parents[2]
EDGECNN = [sys.executable, "-m", "edgecnn"]


def photographs() -> Path:
    """The folder of photographs; set EDGECNN_DATA where it lies elsewhere."""
    folder = Path(os.environ.get("EDGECNN_DATA", ROOT.parent / "shared" / "data"))
    sample = folder / "imagenet-sample"
    if not sample.is_dir():
        sys.exit(f"no photographs at {sample}; set EDGECNN_DATA to the folder that holds them")
    return sample


def video() -> Path:
    """A clip of 640 x 360 pixels; set EDGECNN_DATA where it lies elsewhere."""
    folder = Path(os.environ.get("EDGECNN_DATA", ROOT.parent / "shared" / "data"))
    clip = folder / "video" / "bottle-detection.mp4"
    if not clip.is_file():
        sys.exit(f"no video at {clip}; set EDGECNN_DATA to the folder that holds them")
    return clip


def machine(*packages: str) -> str:
    """One line: processor, cores, versions, date."""
    environment = Environment.now(packages)
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    date = datetime.now(UTC).date().isoformat()
    return (
        f"{environment.cpu_model}, {environment.usable_cores} cores, Python {environment.python}, "
        f"{versions}, {date}"
    )


def run(command: Sequence[str | Path]) -> tuple[float, str]:
    """Run a command to its end; seconds of the whole process, and its stdout."""
    started = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        said = done.stdout + done.stderr
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{said}")
    return seconds, done.stdout


def in_turns(
    commands: Mapping[str, Callable[[int], object]], repeats: int
) -> dict[str, list[float]]:
    """Call every function once per repeat, A B A B; seconds of each call."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats):
        for name, call in commands.items():
            started = time.monotonic()
            call(repeat)
            seconds[name].append(time.monotonic() - started)
            print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    return seconds


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median of the ratios of the pairs."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
