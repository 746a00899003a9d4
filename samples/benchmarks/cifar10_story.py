"""The course's story in one plot: five networks on CIFAR-10, accuracy against measured latency.

    python samples/benchmarks/cifar10_story.py [--epochs 20] [--seeds 1] [--work DIR]
    python samples/benchmarks/cifar10_story.py --device cuda --amp --train-only --work DIR

MobileNetV2, MobileNetV3-small, MnasNet-A1, EfficientNet-B0 and ResNet-18 for 32 x 32 pixels (the
same rows with fewer strides, so that the last map has 2 x 2 pixels), trained by one recipe for one
number of epochs, exported to w8a8, tested on the 10,000 test pictures, and measured in turns on
this machine. Everything but the measurement is kept in --work: the same command goes on after an
interruption. Trainings may also be done where a GPU is (--train-only), and the folder brought here.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from _common import machine
from _training import Folders, folders, quantized, trained

from edgecnn import families, measure
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.device import LOCAL
from edgecnn.files import replace_file
from edgecnn.report import pareto, plots
from edgecnn.training.augment import Augment
from edgecnn.training.recipe import DEVICES, Recipe
from edgecnn.training.result import Result
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
    """Top-1 in per cent with each seed, the first seed's file and its milliseconds."""

    model: str
    fp32: tuple[float, ...]
    w8a8: tuple[float, ...]
    artifact: str
    seconds: float
    p50_ms: float | None = None
    p95_ms: float | None = None

    @property
    def top1(self) -> float:
        """Of the w8a8 files, the mean over seeds."""
        return statistics.mean(self.w8a8)

    @property
    def fp32_top1(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.fp32)


def main() -> None:
    """Train, export, test, measure, draw."""
    options = _options()
    print(machine("torch", "onnxruntime", "ai-edge-litert"))
    models = options.models or MODELS
    if options.train_only:
        for model in models:
            _trained(model, options)
        return
    plots.check(options.plot)
    pictures = folders(options.data, options.work, options.test_images)
    rows = [row for model in models if (row := _row(model, options, pictures))]
    if not rows:
        sys.exit("no network could be exported")
    rows = _measured(rows, RUNTIMES[options.format])
    _print(rows, options)
    _draw(rows, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", choices=MODELS)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=RECIPE.threads)
    parser.add_argument("--device", choices=DEVICES, default=RECIPE.device)
    parser.add_argument("--amp", action="store_true", help="mixed precision, on a GPU")
    parser.add_argument("--train-only", action="store_true", help="leave the rest to another run")
    parser.add_argument("--format", choices=list(RUNTIMES), default="tflite")
    parser.add_argument("--work", type=Path, default=Path(".edgecnn-story"))
    parser.add_argument("--plot", type=Path, default=Path("cifar10-story.svg"))
    quick = parser.add_argument_group("for a quick look; not for figures")
    quick.add_argument("--limit", type=int)
    quick.add_argument("--test-images", type=int)
    return parser.parse_args()


def _trained(model: str, options: argparse.Namespace) -> list[Result]:
    """The trainings of a network, one with each seed."""
    asked = ("epochs", "threads", "device", "amp", "limit")
    recipe = replace(RECIPE, **{name: getattr(options, name) for name in asked})
    tasks = [
        Task(
            families.get(model), options.data, _folder(model, seed, options),
            replace(recipe, seed=seed), imgsz=IMGSZ, output_stride=OUTPUT_STRIDE,
        )
        for seed in range(options.seeds)
    ]  # fmt: skip
    return [trained(task, f"{model} seed {task.recipe.seed}") for task in tasks]


def _folder(model: str, seed: int, options: argparse.Namespace) -> Path:
    path: Path = options.work / model / f"seed{seed}"
    return path


def _row(model: str, options: argparse.Namespace, pictures: Folders) -> Row | None:
    results = _trained(model, options)
    outputs = [_folder(model, seed, options) for seed in range(options.seeds)]
    tested = [quantized(output, options.format, pictures) for output in outputs]
    for problem in filter(None, (one.problem for one in tested)):
        print(f"{model}: {problem}")
        return None
    return Row(
        model,
        tuple(one.top1 for one in results),
        tuple(one.top1 for one in tested if one.top1 is not None),
        tested[0].artifact,
        statistics.mean(one.epochs[-1].seconds for one in results),
    )


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


def _print(rows: list[Row], options: argparse.Namespace) -> None:
    print(f"\n{options.epochs} epochs, {options.seeds} seeds, {IMGSZ} px, w8a8, 1 thread")
    print(f"{'network':22}{'fp32':>8}{'w8a8':>8}  {'spread':16}{'ms p50':>8}{'ms p95':>8}"
          f"{'trained (min)':>15}")  # fmt: skip
    for row in sorted(rows, key=lambda row: row.p50_ms or 0.0):
        spread = f"{min(row.w8a8):.2f} to {max(row.w8a8):.2f}"
        print(f"{row.model:22}{row.fp32_top1:8.2f}{row.top1:8.2f}  {spread:16}{row.p50_ms:8.3f}"
              f"{row.p95_ms:8.3f}{row.seconds / 60:15.1f}")  # fmt: skip


def _draw(rows: list[Row], path: Path) -> None:
    points = [
        pareto.Point(
            name=row.model,
            latency_ms=row.p50_ms,
            latency_kind="measured",
            percentile=50,
            top1=row.top1,
            top1_kind="measured",
            front=not any(
                other.p50_ms <= row.p50_ms and other.top1 >= row.top1 and other != row
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
