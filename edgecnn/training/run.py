"""A whole training: the same command begins it, goes on with it, and tells what came of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from edgecnn import files, weights
from edgecnn.accuracy import wilson
from edgecnn.errors import UsageError
from edgecnn.spec import ModelSpec
from edgecnn.training import checkpoint, curves, datasets, events, quantize_aware, result, start
from edgecnn.training.batches import Batch, normalized, right, tensors, torch_as
from edgecnn.training.checkpoint import BEST, LAST, Progress, Saved
from edgecnn.training.datasets import Data
from edgecnn.training.distill import Teacher, teacher
from edgecnn.training.distributed import Peers, connected
from edgecnn.training.loop import Loop, Report
from edgecnn.training.recipe import Recipe, require_device
from edgecnn.training.result import FILE, Epoch, Result
from edgecnn.weights import Origin

CALIBRATION_BATCHES = 16
"""Batches of training pictures that give the first ranges of 8-bit rounding."""
LOCK = ".lock"
HELD_OUT = "pictures held out of training, by which the epoch was chosen"
TEST = "the test part"


@dataclass(frozen=True)
class Task:
    """What to train.

    `base` is a model of the zoo; `data` a folder, a zip file, `mnist` or `cifar10`; `weights` is
    `random`, `auto` or a checkpoint; `teacher` a model or a checkpoint. `force` starts anew where
    the folder `output` holds a training. `min_top1` in per cent decides `Result.passed`.
    """

    base: ModelSpec
    data: str
    output: Path
    recipe: Recipe
    imgsz: int | None = None
    output_stride: int | None = None
    weights: str = "random"
    teacher: str | None = None
    min_top1: float | None = None
    force: bool = False


@dataclass(frozen=True)
class Callbacks:
    """Who is told: `step` of each step, `epoch` after each epoch, `note` of what is not usual."""

    step: Report = lambda what, done, total: None
    epoch: Callable[[Epoch], None] = lambda epoch: None
    note: Callable[[str], None] = lambda text: None


SILENT = Callbacks()


def run(task: Task, callbacks: Callbacks = SILENT) -> Result | None:
    """Train, or go on where the same training was interrupted, and test.

    Of several processes (torchrun) the first writes and returns the result, the others None.

    Raises UsageError, DataError, WeightsError, SpecError where the task cannot be done, UsageError
    too where another process trains into the same folder, UnavailableError without its device,
    DivergedError where the loss is no number (the last good checkpoint stays), DiskError.
    """
    require_device(task.recipe)
    with connected(task.recipe.device) as peers:
        callbacks = callbacks if peers.is_first else SILENT
        callbacks.step("reading pictures", 0, 0)
        with torch_as(task.recipe.seed, task.recipe.threads):
            training = _Training(task, peers, callbacks)
            with _claimed(task.output) if peers.is_first else nullcontext():
                training.train()
                found = training.finish() if peers.is_first else None
        peers.wait()
        return found


def _claimed(output: Path) -> IO[str]:
    return files.claim(
        output / LOCK,
        f"another process is training into {output}. Wait until it ends, or pass another --output.",
    )


class _Training:
    """A training that has been set up, to begin or to go on from what was kept of it."""

    def __init__(self, task: Task, peers: Peers, callbacks: Callbacks) -> None:
        self.peers, self.callbacks = peers, callbacks
        recipe = task.recipe
        if recipe.quantize is not None and task.weights == "random":
            raise UsageError(
                "--quantize tunes a trained network further: train it first, then pass its best.pt "
                "as --weights (and a learning rate of about a hundredth)."
            )
        self.data = datasets.load(task.data, recipe)
        pictures = self.data.train
        recipe = recipe.suited_to(pictures)
        self.task = task = replace(task, recipe=recipe)
        callbacks.note(f"augmentation: {recipe.augment}")
        self.spec = start.adapted(task.base, pictures, task.weights, task.imgsz, task.output_stride)
        self.origin = Origin(self.spec, pictures.classes, recipe.quantize)
        network, self.provenance = start.first(
            self.spec, task.base, pictures, task.weights, recipe.seed
        )
        taught = _teacher(task, self.data, self.spec)
        self.teacher_name = None if taught is None else f"{taught.name} {taught.sha256[:12]}"
        self.network = network
        self.view = None if recipe.quantize is None else quantize_aware.view(network)
        trained = tensors(self.spec, pictures, self.data.trained)
        self.loop = Loop(self.spec, recipe, network, trained, peers, taught, self.view)
        self.judged = self._judging()
        self.progress = Progress()

    def train(self) -> None:
        """All epochs that are left; what is worth keeping is kept after each."""
        self.progress = self._resumed() or self._begun()
        begun = time.monotonic()
        before = self.progress.epochs[-1].seconds if self.progress.epochs else 0.0
        for number in range(len(self.progress.epochs) + 1, self.task.recipe.epochs + 1):
            loss = self.loop.epoch(number, self.callbacks.step)
            top1 = 100 * self.loop.right(self.judged) / len(self.judged)
            seconds = round(before + time.monotonic() - begun, 3)
            epoch = Epoch(number, loss, top1, seconds)
            self.progress = self.progress.with_epoch(epoch, bool(len(self.data.held_out)))
            if self.peers.is_first:
                self._keep()
            self.callbacks.epoch(epoch)

    def finish(self) -> Result:
        """Test the best weights on what nothing was chosen by, where there is that."""
        best = weights.read_checkpoint(self._path(BEST))
        weights.load_into(self.network, best)
        tested = self.judged
        if self.data.test is not None and len(self.data.held_out):
            every = torch.arange(len(self.data.test.labels)).numpy()
            tested = tensors(self.spec, self.data.test, every)
        self.callbacks.step("testing", 0, 0)
        on_device = tested.to(self.loop.device)
        correct = right(self.network, on_device, self.spec)
        rounded = None
        if self.view is not None:
            quantize_aware.restore_ranges(self.view, best.ranges)
            rounded = 100 * right(self.view, on_device, self.spec) / len(tested)
        found = self._result(tested, correct, rounded)
        self._draw()
        found.save(self._path(FILE))
        return found

    def _result(self, tested: Batch, correct: int, rounded: float | None) -> Result:
        task, data = self.task, self.data
        top1 = 100 * correct / len(tested)
        judged = top1 if rounded is None else rounded
        return Result(
            model=self.spec.name,
            spec=str(self.spec),
            recipe=task.recipe,
            classes=data.train.classes,
            data=data.train.where,
            data_sha256=data.train.digest,
            trained_on=len(data.trained),
            held_out=len(data.held_out),
            tested=len(tested),
            tested_on=HELD_OUT if data.test is None else TEST,
            epochs=self.progress.epochs,
            best_epoch=self.progress.best,
            top1=top1,
            top1_ci95=wilson(correct, len(tested)),
            top1_w8a8=rounded,
            weights=str(self.provenance),
            teacher=self.teacher_name,
            processes=self.peers.count,
            checkpoint=str(self._path(BEST)),
            versions=result.versions(),
            passed=None if task.min_top1 is None else judged >= task.min_top1,
        )

    def _judging(self) -> Batch:
        """The pictures that judge each epoch: those held out, else the test part."""
        data = self.data
        if len(data.held_out):
            return tensors(self.spec, data.train, data.held_out)
        if data.test is None:
            raise UsageError(f"{data.train.where} has nothing to test with.")
        return tensors(self.spec, data.test, torch.arange(len(data.test.labels)).numpy())

    def _identity(self) -> dict[str, str]:
        """All that decides what comes out; a training goes on where all of it is the same."""
        recipe = {name: str(value) for name, value in self.task.recipe.to_dict().items()}
        model = hashlib.sha256(str(self.spec).encode()).hexdigest()[:12]
        return {
            "model": f"{self.spec.name} {model}",
            "data": self.data.train.digest[:12],
            "weights": self.provenance.sha256[:12] or str(self.provenance),
            "teacher": str(self.teacher_name),
            "processes": str(self.peers.count),
            **recipe,
        }

    def _resumed(self) -> Progress | None:
        path = self._path(LAST)
        if self.task.force or not path.exists():
            return None
        saved = checkpoint.load(path)
        checkpoint.require_same(path, saved.identity, self._identity())
        state = weights.read_checkpoint(path)
        weights.load_into(self.network, state)
        self.network.load_state_dict(dict(state.tensors))  # normalization's counters too
        self.loop.restore(saved.state)
        if self.view is not None:
            quantize_aware.restore_ranges(self.view, state.ranges)
        done = len(saved.progress.epochs)
        self.callbacks.note(f"going on after epoch {done} of {self.task.recipe.epochs} ({path})")
        return saved.progress

    def _begun(self) -> Progress:
        """Nothing was done yet; the ranges of 8-bit rounding need some pictures first."""
        if self.view is not None:
            quantize_aware.calibrate(self.view, self._calibration())
        return Progress()

    def _calibration(self) -> Iterator[Tensor]:
        size = self.task.recipe.batch
        count = min(CALIBRATION_BATCHES, -(-len(self.loop.data) // size))
        for index in range(count):
            batch = self.loop.data[index * size : (index + 1) * size]
            yield normalized(batch.pixels, self.spec)

    def _keep(self) -> None:
        """The best first: where the process is killed in between, the epoch is done once more."""
        ranges = None if self.view is None else quantize_aware.ranges(self.view)
        if self.progress.best == self.progress.epochs[-1].number:
            checkpoint.save_weights(self._path(BEST), self.network, self.origin, ranges)
        saved = Saved(self._identity(), self.progress, self.loop.state())
        checkpoint.save(self._path(LAST), self.network, self.origin, saved, ranges)
        self._draw(told=False)

    def _draw(self, told: bool = True) -> None:
        epochs = self.progress.epochs
        problems = (
            curves.write(self.task.output, epochs, self.progress.best),
            events.write(self.task.output, epochs),
        )
        for problem in problems:
            if problem is not None and told:
                self.callbacks.note(problem)

    def _path(self, name: str) -> Path:
        return self.task.output / name


def _teacher(task: Task, data: Data, spec: ModelSpec) -> Teacher | None:
    if task.teacher is None:
        return None
    return teacher(task.teacher, data.train.classes, spec.input_channels)
