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
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from edgecnn import documents
from edgecnn.accuracy import Interval, wilson
from edgecnn.errors import DivergedError as DivergedError
from edgecnn.network import build
from edgecnn.spec import ModelSpec
from edgecnn.train_data import Pictures, split
from edgecnn.training.augment import varied as varied
from edgecnn.training.batches import Batch, normalized, right, tensors, torch_as
from edgecnn.training.optimizing import OPTIMIZERS, decay_groups, warmup_cosine
from edgecnn.training.recipe import refuse_unsound, require_known

SCHEMA = 1


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
        require_known("optimizer", self.optimizer, tuple(OPTIMIZERS))
        refuse_unsound(
            self,
            epochs=self.epochs >= 1,
            batch=self.batch >= 2,  # batch normalization needs more than one value
            learning_rate=0 < self.learning_rate < math.inf,
            weight_decay=0 <= self.weight_decay < math.inf,
            warmup=0 <= self.warmup < 1,
            label_smoothing=0 <= self.label_smoothing < 1,
            shift=self.shift >= 0,
            held_out=self.held_out >= 1,
            limit=self.limit is None or self.limit >= 1,
            threads=self.threads >= 1,
        )

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
        return documents.load(path, SCHEMA, _from_dict, "Train again.")


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
    with torch_as(recipe.seed, recipe.threads):
        # The layout of the pictures; a third faster on a processor than torch's own.
        network = build(spec).to(memory_format=torch.channels_last)
        run = _Run(spec, recipe, network, tensors(spec, pictures, train))
        tested = tensors(spec, pictures, test)
        epochs = []
        started = time.monotonic()
        for number in range(1, recipe.epochs + 1):
            loss = run.epoch()
            correct = right(network, tested, spec)
            seconds = round(time.monotonic() - started, 3)
            epochs.append(Epoch(number, loss, 100 * correct / len(test), seconds))
            watch(epochs[-1])
    trained = Trained(
        model=spec.name,
        top1=epochs[-1].top1,
        top1_ci95=wilson(correct, len(test)),
        held_out=len(test),
        trained_on=len(train),
        epochs=tuple(epochs),
        recipe=recipe,
        data_digest=pictures.digest,
        torch_version=torch.__version__,
    )
    return network.eval(), trained


class _Run:
    """A training under way: the network, its optimizer and where the schedule is."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, network: nn.Module, data: Batch) -> None:
        self.spec, self.recipe, self.network, self.data = spec, recipe, network, data
        self.random = torch.Generator().manual_seed(recipe.seed)
        # The last pictures of an epoch that do not fill a batch are left out, unless there is
        # no full one: a batch of one picture cannot be normalized.
        self.batch = min(recipe.batch, len(data))
        self.steps = len(data) // self.batch
        groups = decay_groups(network, recipe.weight_decay)
        self.optimizer = OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)
        self.schedule = LambdaLR(self.optimizer, self._factor)

    def _factor(self, step: int) -> float:
        return warmup_cosine(step, self.recipe.epochs * self.steps, self.recipe.warmup)

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

    def _step(self, batch: Batch) -> float:
        moved = varied(batch.pixels, self.recipe, self.random)
        logits = self.network(normalized(moved, self.spec))
        loss = functional.cross_entropy(
            logits, batch.labels, label_smoothing=self.recipe.label_smoothing
        )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())
