"""Does a file compute on an emulated aarch64 board what it computes on the desk?

    edgecnn device setup emulated:rpi4 --offline
    python samples/benchmarks/arm_equality.py --work FOLDER [--device emulated:rpi5 ...]

The smallest model of each family (or each --model) in ONNX and TFLite, fp32 and w8a8: the golden
sample and some photographs run on both sides, on the format's own runtime. Weights are the
published ones where they are installed, else random. Bars, on the largest difference of a logit:

- fp32: 1e-4 of the standard deviation of the image's logits;
- w8a8: in ONNX one step, in TFLite none. Both give float32 logits, for the last layer's result is
  not quantized; a step is a 255th of their span, that of an int8 result. "None" is taken more
  strictly, as no other integer anywhere: 1e-5 of the standard deviation, which only the last
  float32 operations may use up.

TFLite rounds the last layer's input when it runs, with a step of each picture's own. Where values
lie on exactly half of that, a Cortex-A76 (rpi5) may round otherwise than x86, Cortex-A72 and A53:
up to 0.5 steps of the logits, though every integer before it is the same. That misses the bar.

The golden sample is computed from integers, so that it tells of the network alone; the photographs
are decoded and resized on each side.

Exports stay in --work, and are made again only with other exporters or photographs. Ends with 4
where a bar is missed, or a file could not be made or opened.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from _common import EDGECNN, machine, photographs
from numpy.typing import NDArray

import edgecnn.export
from edgecnn import devices, families, images, weights
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL, Device
from edgecnn.errors import EdgecnnError, VerdictError, WeightsError
from edgecnn.host import Host
from edgecnn.hosted import Hosted
from edgecnn.workload import from_spec

RUNTIME = {"onnx": "ort", "tflite": "litert"}
CONVERTERS = ("torch", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "litert-torch")
MORE = ("mobilenet_v3_small_minimalistic", "mnasnet_small")
"""Small models that differ in more than their width from the smallest one of their family."""
STEPS = 255
TIMEOUT_S = 600.0

FP32 = ("1e-4 std", "of_std", 1e-4)
BARS = {
    ("onnx", "fp32"): FP32,
    ("tflite", "fp32"): FP32,
    ("onnx", "w8a8"): ("1 step", "steps", 1.0),
    ("tflite", "w8a8"): ("0 steps", "of_std", 1e-5),
}
"""In words, which field of :class:`Difference`, and the most that is allowed."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of a logit: as a share of their standard deviation, and in steps."""

    of_std: float
    steps: float

    @classmethod
    def between(cls, largest: float, logits: Sequence[float]) -> "Difference":
        """Relate a difference to the desk's logits of one image."""
        return cls(float(largest / np.std(logits)), float(largest * STEPS / np.ptp(logits)))


@dataclass(frozen=True)
class Case:
    """A file to make and compare."""

    model: str
    format: str
    precision: str


@dataclass(frozen=True)
class Row:
    """A file on a board against the desk; ``problem`` where it could not be made or compared."""

    case: Case
    device: str
    passed: bool = False
    problem: str = ""
    golden: Difference | None = None
    photographs: Difference | None = None
    images: int = 0
    same_top1: int = 0


def main() -> None:
    options = arguments()
    data = photographs()
    found: dict[str, Any] = {"machine": machine(*CONVERTERS), "boards": {}, "files": {}, "rows": []}
    print(found["machine"])
    print(f"{'model':34}{'file':14}{'board':16}{'golden/std':>11}{'photos/std':>11}{'steps':>9}"
          f"{'top-1':>7}  bar")  # fmt: skip
    try:
        for model in options.model:
            compare_model(model, options, data, found)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))
    except EdgecnnError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    missed = sum(not row["passed"] for row in found["rows"])
    print(f"{len(found['rows'])} comparisons, {missed} missed their bar")
    sys.exit(VerdictError.exit_code if missed else 0)


def compare_model(
    model: str, options: argparse.Namespace, data: Path, found: dict[str, Any]
) -> None:
    """Make the files of a model, and compare them on each board."""
    chosen = images.calibration_subset(images.list_images(data), options.images)
    cases = [Case(model, *key) for key in BARS]
    files = {case: exported(case, options.work, data) for case in cases}
    for device in options.device:
        # The board is held only as long as it computes: others may want it meanwhile.
        with devices.connect(device, "arm_equality") as board:
            found["boards"][str(device)] = facts(board)
            for case, file in files.items():
                row = compare(case, file, device, board, chosen)
                print(line(row), flush=True)
                found["rows"].append(asdict(row))
    found["files"] |= {file.path.name: about(file) for file in files.values()
                       if isinstance(file, Artifact)}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("arm-equality"), help="the folder of the exports"
    )
    parser.add_argument("--device", action="append", type=devices.parse)
    parser.add_argument("--model", action="append", help="by default one or two of each family")
    parser.add_argument("--images", type=int, default=3, help="photographs for each file")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.device = options.device or [devices.parse("emulated:rpi4")]
    options.model = options.model or smallest_models()
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def smallest_models() -> list[str]:
    """The model of each mobile family with the fewest multiply-adds, and MORE."""
    zoo = families.mobile()
    smallest = [
        min((spec for spec in zoo if spec.family == family), key=lambda s: from_spec(s).macs).name
        for family in dict.fromkeys(spec.family for spec in zoo)
    ]
    return [*smallest, *(name for name in MORE if name not in smallest)]


def exported(case: Case, folder: Path, data: Path) -> Artifact | str:
    """Export, unless that was done before; or the reason why it cannot be done."""
    options = ["--format", case.format, "--precision", case.precision,
               "--weights", weights_of(case.model)]  # fmt: skip
    key = hashlib.sha256(json.dumps([*options, *versions(), digest(data)]).encode()).hexdigest()
    file = folder / f"{case.model}-{case.precision}-{key[:8]}.{case.format}"
    if not file.exists():
        command = [*EDGECNN, "export", case.model, *options, "--data", data, "--output", file]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        # Random weights may fail the comparison with the original; what is asked here is whether
        # the file, such as it is, means the same everywhere.
        if done.returncode not in (0, VerdictError.exit_code):
            return f"not exported: {done.stderr.strip().splitlines()[-1]}"
    return Artifact.load(file)


@cache
def versions() -> tuple[str, ...]:
    """What decides a file's content besides the model: the exporters' text, and the converters."""
    ours = sorted(Path(edgecnn.export.__file__).parent.glob("*.py"))
    text = hashlib.sha256(b"".join(path.read_bytes() for path in ours)).hexdigest()
    return (text, *(f"{name} {metadata.version(name)}" for name in CONVERTERS))


@cache
def digest(data: Path) -> str:
    return images.images_sha256(images.list_images(data))


@cache
def weights_of(model: str) -> str:
    """``auto`` where the published weights are on this machine, else ``random``."""
    try:
        weights.find(families.get(model), download=False)
    except WeightsError:
        return "random"
    return "auto"


def compare(
    case: Case, file: Artifact | str, device: Device, board: Host, chosen: Sequence[Path]
) -> Row:
    """Run the golden sample and the photographs on both sides."""
    if isinstance(file, str):
        return Row(case, str(device), problem=file)
    try:
        with devices.connect(LOCAL) as desk:
            _, ours = outputs(file, LOCAL, desk, chosen)
        off, theirs = outputs(file, device, board, chosen)
    except EdgecnnError as error:
        return Row(case, str(device), problem=str(error))
    golden = Difference.between(off, file.required_contract().golden.expected)
    each = [Difference.between(np.abs(a - b).max(), a) for a, b in zip(ours, theirs, strict=True)]
    worst = Difference(max(one.of_std for one in each), max(one.steps for one in each))
    _, measure, limit = BARS[case.format, case.precision]
    return Row(
        case,
        str(device),
        passed=all(getattr(difference, measure) <= limit for difference in (golden, worst)),
        golden=golden,
        photographs=worst,
        images=len(each),
        same_top1=int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()),
    )


def outputs(
    artifact: Artifact, device: Device, host: Host, chosen: Sequence[Path]
) -> tuple[float, NDArray[np.float64]]:
    """How far the golden sample is off, and the logits of the photographs."""
    process = Hosted(host, artifact, RUNTIME[artifact.format], device, threads=1)
    try:
        golden = process.ask("golden", TIMEOUT_S)["golden"]
        paths = [process.staged(path) for path in chosen]
        logits = [process.ask("logits", TIMEOUT_S, paths=[path])["logits"][0] for path in paths]
    finally:
        process.close()
    return golden["max_abs"], np.asarray(logits)


def facts(board: Host) -> dict[str, Any]:
    """What the board says that it is."""
    told = board.machine()
    return {name: told[name] for name in ("model", "arch", "isa", "python", "libc")}


def about(artifact: Artifact) -> dict[str, str]:
    contract = artifact.required_contract()
    return {"sha256": artifact.sha256, "weights": contract.weights}


def line(row: Row) -> str:
    case = row.case
    start = f"{case.model:34}{case.format + ' ' + case.precision:14}{row.device:16}"
    if row.golden is None or row.photographs is None:
        return f"{start}{row.problem}"
    steps = max(row.golden.steps, row.photographs.steps)
    bar, *_ = BARS[case.format, case.precision]
    return (
        f"{start}{row.golden.of_std:11.1e}{row.photographs.of_std:11.1e}"
        f"{'' if case.precision == 'fp32' else f'{steps:.1g}':>9}"
        f"{f'{row.same_top1}/{row.images}':>7}  {bar} {'passed' if row.passed else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
