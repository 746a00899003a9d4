"""Does training keep the cores busy?

    python samples/benchmarks/train_throughput.py [MODEL] [--threads N] [--pictures 2048]

Pictures a second of an epoch as `edgecnn train` runs it (pictures as bytes in memory, mirrored,
moved, normalized, the schedule, the checks), and of the bare loop over the same network (finished
float tensors in memory: forward, loss, backward, step), in turns. Random pictures of 32 x 32
pixels: what they show costs nothing. Bar: 90 %, the median of the pairs' ratios.

Also the ratio of processor time, which other programs on the machine do not disturb, and how many
cores an epoch kept busy.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, process_time

import torch
from _common import machine, paired_ratio
from torch.nn import functional

from edgecnn import families, network, strides
from edgecnn.errors import EXIT_VERDICT_FAILED
from edgecnn.spec import ModelSpec
from edgecnn.training.augment import PHOTOGRAPHS
from edgecnn.training.batches import Batch, normalized
from edgecnn.training.loop import Loop
from edgecnn.training.optimizing import OPTIMIZERS, decay_groups
from edgecnn.training.recipe import Recipe, usable_cores

BAR = 0.9
IMGSZ, OUTPUT_STRIDE, CLASSES = 32, 16, 10


@dataclass(frozen=True)
class Taken:
    """Seconds of the clock and of all processors."""

    wall: float
    cpu: float


def main() -> None:
    """Measure in turns, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="mobilenet_v3_small")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    print(machine("torch"))
    torch.set_num_threads(asked.threads)
    spec = families.get(asked.model).scaled(resolution=IMGSZ)
    spec = strides.with_output_stride(spec, OUTPUT_STRIDE).with_classes(CLASSES)
    recipe = Recipe(epochs=1, threads=asked.threads, augment=PHOTOGRAPHS)
    data = _random(spec, asked.pictures)
    ways: dict[str, Callable[[], object]] = {
        "edgecnn train": _whole(spec, recipe, data),
        "bare loop": _bare(spec, recipe, data),
    }
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    for repeat in range(asked.repeats + 1):
        for name, epoch in ways.items():
            one = _timed(epoch)
            if repeat:  # the first warms up
                taken[name].append(one)
    trained = len(data) // recipe.batch * recipe.batch
    print(f"{spec.name}, {trained} pictures in batches of {recipe.batch}, {asked.threads} threads")
    for name, times in taken.items():
        rate = trained / statistics.median(t.wall for t in times)
        busy = statistics.median(t.cpu / t.wall for t in times)
        print(f"  {name:14} {rate:8.0f} pictures/s, {busy:.2f} cores busy")
    ours, bare = taken.values()
    wall = paired_ratio([t.wall for t in bare], [t.wall for t in ours])
    cpu = paired_ratio([t.cpu for t in bare], [t.cpu for t in ours])
    print(
        f"  throughput {wall:.1%} of the bare loop's (bar {BAR:.0%}); by processor time {cpu:.1%}"
    )
    sys.exit(0 if wall >= BAR else EXIT_VERDICT_FAILED)


def _random(spec: ModelSpec, count: int) -> Batch:
    random = torch.Generator().manual_seed(0)
    shape = (count, spec.resolution, spec.resolution, spec.input_channels)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    labels = torch.randint(0, CLASSES, (count,), generator=random)
    return Batch(pixels.permute(0, 3, 1, 2), labels)


def _whole(spec: ModelSpec, recipe: Recipe, data: Batch) -> Callable[[], object]:
    loop = Loop(spec, recipe, network.build(spec), data)
    return lambda: loop.epoch(1, lambda what, done, total: None)


def _bare(spec: ModelSpec, recipe: Recipe, data: Batch) -> Callable[[], object]:
    module = network.build(spec).to(memory_format=torch.channels_last)
    groups = decay_groups(module, recipe.weight_decay)
    optimizer = OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)
    inputs = normalized(data.pixels, spec).split(recipe.batch)
    answers = data.labels.split(recipe.batch)
    pairs = zip(inputs, answers, strict=True)
    batches = [(pictures, labels) for pictures, labels in pairs if len(labels) == recipe.batch]

    def epoch() -> None:
        module.train()
        for pictures, labels in batches:
            loss = functional.cross_entropy(
                module(pictures), labels, label_smoothing=recipe.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def _timed(epoch: Callable[[], object]) -> Taken:
    wall, cpu = monotonic(), process_time()
    epoch()
    return Taken(monotonic() - wall, process_time() - cpu)


if __name__ == "__main__":
    main()
