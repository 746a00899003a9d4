"""The table of LeCun et al. (1998) on MNIST, trained here, and what int8 costs.

    python samples/benchmarks/mnist_table.py [--models MODEL ...] [--seeds 3] [--work DIR]

Trains each network on all 60,000 pictures with every seed, by a recipe chosen beforehand, for a
fixed number of epochs; nothing is chosen by the test pictures. Prints the error on the 10,000 test
pictures beside the published one, mean and spread over seeds, and the error of the w8a8 files
beside their fp32 originals. Bars: the mean at or below the published error, int8 at most 0.1 points
more (mean).

Everything is kept in --work: the same command goes on after an interruption. --epochs and --limit
are for a quick look.

Published: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to
document recognition", Proc. IEEE 86(11), 1998, section III and figure 9. Their figure for one layer
is of deslanted digits (12.0 % without), those of MLPs with one hidden layer are with distorted
digits added.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from _common import machine
from _training import Folders, Tested, folders, quantized, trained

from edgecnn import families
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.training.augment import Augment
from edgecnn.training.recipe import Recipe
from edgecnn.training.run import Task

MOST_DROP = 0.1
FORMATS = ("onnx", "tflite")
PLAIN = Recipe(
    epochs=20,
    batch=128,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    label_smoothing=0.0,
    augment=Augment(),
    held_out=0,
)
DISTORTED = replace(PLAIN, augment=Augment(shift=1, rotate=8.0, zoom=0.08))


@dataclass(frozen=True)
class Entry:
    """A network, its published error in per cent, and how it is trained here."""

    model: str
    layers: str
    error: float
    recipe: Recipe


TABLE = (
    Entry("perceptron", "784-10", 8.4, replace(PLAIN, weight_decay=0.0)),
    Entry("mlp_300", "784-300-10", 3.6, PLAIN),
    Entry("mlp_1000", "784-1000-10", 3.8, PLAIN),
    Entry("mlp_300_100", "784-300-100-10", 3.05, PLAIN),
    Entry("mlp_1000_150", "784-1000-150-10", 2.95, PLAIN),
    Entry("lenet1", "LeNet-1", 1.7, replace(PLAIN, learning_rate=5e-3, epochs=30)),
    Entry("lenet4", "LeNet-4", 1.1, replace(DISTORTED, epochs=30)),
    Entry("lenet5", "LeNet-5", 0.95, replace(DISTORTED, epochs=30)),
)


@dataclass(frozen=True)
class Row:
    """What became of an entry: errors in per cent with each seed, and the int8 files."""

    entry: Entry
    errors: tuple[float, ...]
    files: dict[str, tuple[Tested, ...]]

    @property
    def error(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.errors)

    def drop(self, format_name: str) -> float | None:
        """Points of accuracy that int8 loses, the mean over seeds; None where a file is missing."""
        drops = [tested.drop for tested in self.files[format_name]]
        known = [drop for drop in drops if drop is not None]
        return statistics.mean(known) if len(known) == len(drops) else None

    @property
    def passed(self) -> bool:
        """Whether both bars are met."""
        drops = [self.drop(name) for name in self.files]
        kept = all(drop is not None and drop <= MOST_DROP + 1e-9 for drop in drops)
        return self.error <= self.entry.error and kept


def main() -> None:
    """Train, export, test, print."""
    options = _options()
    print(machine("torch", "onnxruntime", "ai-edge-litert"))
    chosen = [entry for entry in TABLE if not options.models or entry.model in options.models]
    pictures = folders(options.data, options.work, options.test_images)
    rows = []
    for entry in chosen:
        rows.append(_row(entry, options, pictures))
        _print(rows, options.seeds)
    sys.exit(0 if all(row.passed for row in rows) else EXIT_VERDICT_FAILED)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", choices=[entry.model for entry in TABLE])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", type=Path, default=Path(".edgecnn-mnist"))
    quick = parser.add_argument_group("for a quick look; not for figures")
    quick.add_argument("--epochs", type=int)
    quick.add_argument("--limit", type=int)
    quick.add_argument("--test-images", type=int)
    return parser.parse_args()


def _row(entry: Entry, options: argparse.Namespace, pictures: Folders) -> Row:
    given = {"epochs": options.epochs, "limit": options.limit, "threads": options.threads}
    recipe = replace(entry.recipe, **{k: v for k, v in given.items() if v is not None})
    errors, files = [], {name: [] for name in FORMATS}
    for seed in range(options.seeds):
        output = options.work / entry.model / f"seed{seed}"
        task = Task(families.get(entry.model), options.data, output, replace(recipe, seed=seed))
        errors.append(100 - trained(task, f"{entry.model} seed {seed}").top1)
        for name in FORMATS:
            files[name].append(quantized(output, name, pictures))
    return Row(entry, tuple(errors), {name: tuple(found) for name, found in files.items()})


def _print(rows: Sequence[Row], seeds: int) -> None:
    heads = " ".join(f"{f'int8 {name}':>14}" for name in FORMATS)
    print(f"\n{'network':24}{'published':>10}{'ours':>8}{'spread':>16} {heads}   ({seeds} seeds)")
    for row in rows:
        spread = f"{min(row.errors):.2f} to {max(row.errors):.2f}"
        drops = " ".join(f"{_points(row, name):>14}" for name in FORMATS)
        verdict = "passed" if row.passed else "failed"
        print(f"{row.entry.layers:24}{row.entry.error:10.2f}{row.error:8.2f}{spread:>16} {drops}"
              f"   {verdict}")  # fmt: skip
        for found in (tested for files in row.files.values() for tested in files):
            if found.problem is not None:
                print(f"  {found.artifact}: {found.problem}")
    print("errors in per cent; int8: points of error more than fp32, the mean", flush=True)


def _points(row: Row, format_name: str) -> str:
    drop = row.drop(format_name)
    return "no file" if drop is None else f"{drop:+.3f}"


if __name__ == "__main__":
    main()
