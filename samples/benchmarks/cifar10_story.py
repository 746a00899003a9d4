"""The course's story in one plot: five networks on CIFAR-10, accuracy against measured latency.

    python samples/benchmarks/cifar10_story.py [--epochs 20] [--work DIR] [--plot story.svg]

MobileNetV2, MobileNetV3-small, MnasNet-A1, EfficientNet-B0 and ResNet-18 for 32 x 32 pixels (the
same rows with fewer strides, so that the last map has 2 x 2 pixels), trained by one recipe for one
number of epochs, exported to w8a8, tested on the 10,000 test pictures, and measured in turns on
this machine. Everything but the measurement is kept in --work: the same command goes on after an
interruption.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from _common import machine
from _training import folders, quantized, trained

from edgecnn import families, measure
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.device import LOCAL
from edgecnn.files import replace_file
from edgecnn.report import pareto, plots
from edgecnn.training.augment import Augment
from edgecnn.training.recipe import Recipe
from edgecnn.training.run import Task

MODELS = ("mobilenet_v2", "mobilenet_v3_small", "mnasnet_a1", "efficientnet_b0", "resnet18")
IMGSZ, OUTPUT_STRIDE = 32, 16
RECIPE = Recipe(
    epochs=20,
    batch=128,
    learning_rate=0.1,
    weight_decay=5e-4,
    augment=Augment(mirror=True, shift=4, cutout=8),
    held_out=0,
)
RUNTIMES = {"tflite": "litert", "onnx": "ort"}


@dataclass(frozen=True)
class Row:
    """A network's file; top-1 in per cent, milliseconds."""

    model: str
    fp32_top1: float
    top1: float
    artifact: str
    seconds: float
    p50_ms: float | None = None
    p95_ms: float | None = None


def main() -> None:
    """Train, export, test, measure, draw."""
    options = _options()
    print(machine("torch", "onnxruntime", "ai-edge-litert"))
    plots.check(options.plot)
    pictures = folders(options.data, options.work, options.test_images)
    given = {"epochs": options.epochs, "limit": options.limit, "threads": options.threads}
    recipe = replace(RECIPE, **{k: v for k, v in given.items() if v is not None})
    rows = []
    for model in options.models or MODELS:
        output = options.work / model
        task = Task(
            families.get(model), options.data, output, recipe,
            imgsz=IMGSZ, output_stride=OUTPUT_STRIDE,
        )  # fmt: skip
        result = trained(task, model)
        tested = quantized(output, options.format, pictures)
        if tested.top1 is None:
            print(f"{model}: {tested.problem}")
            continue
        seconds = result.epochs[-1].seconds
        rows.append(Row(model, result.top1, tested.top1, tested.artifact, seconds))
    if not rows:
        sys.exit("no network could be exported")
    rows = _measured(rows, RUNTIMES[options.format])
    _print(rows, recipe)
    _draw(rows, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", choices=MODELS)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--format", choices=list(RUNTIMES), default="tflite")
    parser.add_argument("--work", type=Path, default=Path(".edgecnn-story"))
    parser.add_argument("--plot", type=Path, default=Path("cifar10-story.svg"))
    quick = parser.add_argument_group("for a quick look; not for figures")
    quick.add_argument("--limit", type=int)
    quick.add_argument("--test-images", type=int)
    return parser.parse_args()


def _measured(rows: list[Row], runtime: str) -> list[Row]:
    candidates = [Candidate(Artifact.load(Path(row.artifact)), runtime, LOCAL, 1) for row in rows]
    comparison = measure.interleave(candidates, Plan(stages=False, energy_s=None))
    for failure in comparison.failures:
        print(f"{failure.candidate.artifact.path}: {failure.error}")
    found = {profile.artifact: profile.latency for profile in comparison.profiles}
    return [
        replace(row, p50_ms=found[row.artifact].p50, p95_ms=found[row.artifact].p95)
        for row in rows
        if row.artifact in found
    ]


def _print(rows: list[Row], recipe: Recipe) -> None:
    print(f"\n{recipe.epochs} epochs, {IMGSZ} px, w8a8, 1 thread")
    print(f"{'network':22}{'fp32':>8}{'w8a8':>8}{'ms p50':>9}{'ms p95':>9}{'trained (min)':>15}")
    for row in sorted(rows, key=lambda row: row.p50_ms or 0.0):
        print(f"{row.model:22}{row.fp32_top1:8.2f}{row.top1:8.2f}{row.p50_ms:9.3f}"
              f"{row.p95_ms:9.3f}{row.seconds / 60:15.1f}")  # fmt: skip


def _draw(rows: list[Row], path: Path) -> None:
    points = [
        pareto.Point(
            name=row.model,
            latency_ms=row.p95_ms,
            latency_kind="measured",
            top1=row.top1,
            top1_kind="measured",
            front=not any(
                other.p95_ms <= row.p95_ms and other.top1 >= row.top1 and other != row
                for other in rows
            ),
            details=(f"fp32 {row.fp32_top1:.2f} %",),
        )
        for row in rows
    ]
    picture = plots.svg(pareto.pareto(points, None))
    replace_file(path, plots.png(picture) if path.suffix == ".png" else picture.encode())
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
