"""Training: a network, a set of pictures and a recipe in, a trained network and its accuracy out.

`fit` trains, `proxy` asks only for the accuracy and remembers it. The proxy of a search is a short
training whose ranking of networks stands for that of a long one (MnasNet, arXiv 1807.11626,
section 5: 5 epochs each).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from edgecnn import documents
from edgecnn.accuracy import Interval, wilson
from edgecnn.errors import EdgecnnError, UsageError
from edgecnn.network import build
from edgecnn.spec import ModelSpec
from edgecnn.train_data import Pictures, split

SCHEMA = 1
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr),
}
TEST_BATCH = 256


class DivergedError(EdgecnnError):
    """The loss became infinite or no number."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the same recipe, pictures and network give the same weights.

    The learning rate rises linearly over the first `warmup` share of all steps, then falls to 0
    along a cosine (Loshchilov and Hutter, arXiv 1608.03983, eq. 5, without restarts). Weight decay
    leaves biases and normalization alone. Each picture is mirrored with a chance of one half
    (`mirror`) and moved by up to `shift` pixels, zeros coming in. `held_out` pictures are tested
    with, at most a fifth; of the others at most `limit` are trained on. `threads` of torch are part
    of the recipe: sums in another order give other weights.

    Raises UsageError on a value without sense.
    """

    epochs: int = 5
    batch: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup: float = 0.1
    label_smoothing: float = 0.1
    mirror: bool = True
    shift: int = 4
    held_out: int = 5000
    limit: int | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise UsageError(f"unknown optimizer {self.optimizer!r}; allowed: {known}.")
        sound = {
            "epochs": self.epochs >= 1,
            "batch": self.batch >= 2,  # batch normalization needs more than one value
            "learning_rate": 0 < self.learning_rate < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "warmup": 0 <= self.warmup < 1,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "shift": self.shift >= 0,
            "held_out": self.held_out >= 1,
            "limit": self.limit is None or self.limit >= 1,
            "threads": self.threads >= 1,
        }
        wrong = next((name for name, good in sound.items() if not good), None)
        if wrong is not None:
            raise UsageError(f"{wrong} of the recipe is {getattr(self, wrong)!r}, out of range.")

    @property
    def digest(self) -> str:
        """A short text that is the same for equal recipes alone."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch (from 1): mean training loss, top-1 in percent on held-out
    pictures, seconds since the start."""

    number: int
    loss: float
    top1: float
    seconds: float


Watch = Callable[[Epoch], None]
"""Called after each epoch; what it raises ends the training."""


@dataclass(frozen=True)
class Trained:
    """A measured accuracy: top-1 in percent on `held_out` pictures that were not trained on.

    Of the last epoch, not of the best one, which would flatter it. `top1_ci95` is Wilson's
    interval: it says how well these pictures tell the accuracy, not how another seed would differ.
    """

    model: str
    top1: float
    top1_ci95: Interval
    held_out: int
    trained_on: int
    epochs: tuple[Epoch, ...]
    recipe: Recipe
    data_digest: str
    torch_version: str

    def save(self, path: Path) -> None:
        """Write the JSON document in one step. Raises DiskError."""
        documents.save(path, asdict(self) | {"schema": SCHEMA})

    @classmethod
    def load(cls, path: Path) -> Trained:
        """Read what `save` wrote. Raises DataError where it is damaged or of another schema."""
        return documents.load(path, SCHEMA, _from_dict)


def _from_dict(data: dict[str, Any]) -> Trained:
    values = {field.name: data[field.name] for field in fields(Trained)}
    values["recipe"] = Recipe(**data["recipe"])
    values["epochs"] = tuple(Epoch(**epoch) for epoch in data["epochs"])
    values["top1_ci95"] = tuple(data["top1_ci95"])
    return Trained(**values)


def _unwatched(epoch: Epoch) -> None:
    return


def proxy(
    spec: ModelSpec, pictures: Pictures, recipe: Recipe, work: Path, watch: Watch = _unwatched
) -> Trained:
    """The accuracy of a network after `recipe`, from `work` where it was trained before.

    Networks are the same where rows, resolution and conventions are, whatever their names. `watch`
    is not called for one that is known. Raises as `fit`, and DiskError.
    """
    path = work / "trained" / f"{key(spec, pictures, recipe)}.json"
    if path.exists():
        return replace(Trained.load(path), model=spec.name)
    _, trained = fit(spec, pictures, recipe, watch)
    trained.save(path)
    return trained


def key(spec: ModelSpec, pictures: Pictures, recipe: Recipe) -> str:
    """A text that is the same for equal rows, conventions, pictures and recipe alone."""
    nameless = replace(pictures.adapted(spec), name="-", family="-")
    text = "\n".join((str(nameless), pictures.digest, recipe.digest))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fit(
    spec: ModelSpec, pictures: Pictures, recipe: Recipe, watch: Watch = _unwatched
) -> tuple[nn.Module, Trained]:
    """Train a network from scratch on the processor; it comes back in eval mode.

    The number of classes is that of the pictures (`Pictures.adapted`).

    Raises DivergedError where the loss is no finite number, SpecError where the resolution is too
    small for the network, DataError where a picture cannot be decoded.
    """
    spec = pictures.adapted(spec)
    train, test = split(pictures.labels, recipe.held_out, recipe.limit, recipe.seed)
    with _torch(recipe):
        # The layout of the pictures; a third faster on a processor than torch's own.
        network = build(spec).to(memory_format=torch.channels_last)
        run = _Run(spec, recipe, network, _tensors(spec, pictures, train))
        tested = _tensors(spec, pictures, test)
        epochs = []
        started = time.monotonic()
        for number in range(1, recipe.epochs + 1):
            loss = run.epoch()
            right = _right(network, tested, spec)
            seconds = round(time.monotonic() - started, 3)
            epochs.append(Epoch(number, loss, 100 * right / len(test), seconds))
            watch(epochs[-1])
    trained = Trained(
        model=spec.name,
        top1=epochs[-1].top1,
        top1_ci95=wilson(right, len(test)),
        held_out=len(test),
        trained_on=len(train),
        epochs=tuple(epochs),
        recipe=recipe,
        data_digest=pictures.digest,
        torch_version=torch.__version__,
    )
    return network.eval(), trained


@contextmanager
def _torch(recipe: Recipe) -> Iterator[None]:
    """The recipe's seed and threads while the block runs; the caller's own come back after it."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Batch:
    """Pixels, uint8 (N, 3, H, W), and classes (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> _Batch:
        return _Batch(self.pixels[index], self.labels[index])


def _tensors(spec: ModelSpec, pictures: Pictures, chosen: NDArray[np.int64]) -> _Batch:
    pixels = torch.from_numpy(pictures.squares(spec)[chosen]).permute(0, 3, 1, 2)
    return _Batch(pixels, torch.from_numpy(pictures.labels[chosen]))


class _Run:
    """A training under way: the network, its optimizer and where the schedule is."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, network: nn.Module, data: _Batch) -> None:
        self.spec, self.recipe, self.network, self.data = spec, recipe, network, data
        self.random = torch.Generator().manual_seed(recipe.seed)
        # The last pictures of an epoch that do not fill a batch are left out, unless there is
        # no full one: a batch of one picture cannot be normalized.
        self.batch = min(recipe.batch, len(data))
        self.steps = len(data) // self.batch
        decayed = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)
        self.schedule = LambdaLR(self.optimizer, self._factor)

    def _factor(self, step: int) -> float:
        total = self.recipe.epochs * self.steps
        rising = self.recipe.warmup * total
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, total - rising)))

    def epoch(self) -> float:
        """Train once on all pictures, in another order each time; the mean loss."""
        self.network.train()
        order = torch.randperm(len(self.data), generator=self.random)
        losses = [
            self._step(self.data[order[k * self.batch : (k + 1) * self.batch]])
            for k in range(self.steps)
        ]
        mean = sum(losses) / len(losses)
        if not math.isfinite(mean):
            raise DivergedError(
                f"{self.spec.name}: the loss is {mean:g}. Take a lower learning rate than "
                f"{self.recipe.learning_rate:g}."
            )
        return mean

    def _step(self, batch: _Batch) -> float:
        moved = varied(batch.pixels, self.recipe, self.random)
        logits = self.network(_normalized(moved, self.spec))
        loss = functional.cross_entropy(
            logits, batch.labels, label_smoothing=self.recipe.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())


def varied(pixels: Tensor, recipe: Recipe, random: torch.Generator) -> Tensor:
    """Mirror and move each picture of (N, C, H, W) by itself, as the recipe says.

    All at once, and from a generator of its own: torchvision's transforms go picture by picture
    and draw from the global one.
    """
    count, size = len(pixels), pixels.shape[-1]
    if recipe.mirror:
        chosen = torch.rand(count, generator=random) < 0.5
        pixels = torch.where(chosen[:, None, None, None], pixels.flip(3), pixels)
    if recipe.shift == 0:
        return pixels
    padded = functional.pad(pixels, (recipe.shift,) * 4)
    starts = torch.randint(0, 2 * recipe.shift + 1, (2, count, 1), generator=random)
    rows, columns = starts + torch.arange(size)
    return padded[
        torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]
    ].permute(0, 3, 1, 2)


def _normalized(pixels: Tensor, spec: ModelSpec) -> Tensor:
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (spec.conventions.mean, spec.conventions.std)
    )
    return (pixels.float() - mean) / std


def _right(network: nn.Module, data: _Batch, spec: ModelSpec) -> int:
    """How many pictures of `data` the network classifies right."""
    network.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(data), TEST_BATCH):
            batch = data[start : start + TEST_BATCH]
            best = network(_normalized(batch.pixels, spec)).argmax(1)
            right += int((best == batch.labels).sum())
    return right
