"""The loop: epochs over pictures in memory, on one device, in one process or several.

Every epoch draws from generators of its own, whose seeds follow from the recipe's seed, the epoch's
number and the process. So the state of a training after an epoch is its weights, its optimizer and
the epoch's number, and a training that was interrupted repeats what it would have done, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn.errors import DivergedError, UsageError
from edgecnn.spec import ModelSpec
from edgecnn.training.augment import augmented
from edgecnn.training.batches import Batch, normalized, right
from edgecnn.training.distill import Teacher, distilled
from edgecnn.training.distributed import ALONE, Peers
from edgecnn.training.optimizing import OPTIMIZERS, decay_groups, warmup_cosine
from edgecnn.training.recipe import Recipe

CHECK_EVERY = 50
"""Steps between two looks at the loss: on a GPU each look waits for all work to be done."""
_GLOBAL, _ORDER, _AUGMENT = range(3)

Report = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def seed_of(seed: int, epoch: int, purpose: int, rank: int = 0) -> int:
    """A seed for one purpose in one epoch of one process, unrelated to all others."""
    words = np.random.SeedSequence([seed, epoch, purpose, rank]).generate_state(1, np.uint64)
    return int(words[0] >> 1)  # torch takes 63 bits and a sign


class Loop:
    """A training under way.

    `view` is what is trained through, where it is not the network itself: a module with the same
    parameters (`quantize_aware`). Raises UsageError where a batch cannot be shared evenly, or the
    recipe leaves the augmentation to pictures (`Recipe.suited_to`).
    """

    def __init__(
        self,
        spec: ModelSpec,
        recipe: Recipe,
        network: nn.Module,
        data: Batch,
        peers: Peers = ALONE,
        teacher: Teacher | None = None,
        view: nn.Module | None = None,
    ) -> None:
        if recipe.augment is None:
            raise UsageError("the recipe says no augmentation; Recipe.suited_to(pictures) does.")
        self.spec, self.recipe, self.network, self.peers = spec, recipe, network, peers
        self.augment = recipe.augment
        self.device = peers.device(recipe.device)
        self.teacher = None if teacher is None else teacher.to(self.device)
        # The layout of the pictures; a third faster on a processor than torch's own.
        network.to(self.device).to(memory_format=torch.channels_last)
        self.view = (view or network).to(self.device)
        self.data = data.to(self.device)
        # The last pictures of an epoch that do not fill a batch are left out, unless there is
        # no full one: a batch of one picture cannot be normalized.
        self.batch = _shared_batch(recipe.batch, len(data), peers.count)
        self.steps = len(data) // self.batch
        groups = decay_groups(network, recipe.weight_decay)
        self.optimizer = OPTIMIZERS[recipe.optimizer](groups, lr=recipe.learning_rate)
        self.scaler = torch.amp.GradScaler("cuda", enabled=recipe.amp)
        self.forward = peers.together(self.view)

    def epoch(self, number: int, report: Report) -> float:
        """Train once on all pictures; the mean loss. `number` counts from 1.

        Raises DivergedError where the loss is no finite number.
        """
        seed, rank = self.recipe.seed, self.peers.rank
        torch.manual_seed(seed_of(seed, number, _GLOBAL, rank))  # dropout
        order = torch.randperm(len(self.data), generator=_generator(seed, number, _ORDER))
        random = _generator(seed, number, _AUGMENT, rank)
        self.view.train()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        mean = math.nan
        for step in range(self.steps):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            self._set_rate((number - 1) * self.steps + step)
            total += self._step(self.data[self.peers.share(chosen)], random)
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == self.steps:
                mean = self._checked(total, step + 1, number)
            report(f"epoch {number} of {self.recipe.epochs}", step + 1, self.steps)
        self.peers.align(self.view)
        self._require_finite_weights(number)
        return mean

    def right(self, data: Batch) -> int:
        """How many pictures are classified right, each process looking at its share of them."""
        share = self.peers.share(torch.arange(len(data)))
        found = right(self.view, data[share].to(self.device), self.spec) if len(share) else 0
        return int(self.peers.sum(found, self.device))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; the weights are loaded by the caller."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _set_rate(self, step: int) -> None:
        factor = warmup_cosine(step, self.recipe.epochs * self.steps, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor

    def _step(self, batch: Batch, random: torch.Generator) -> Tensor:
        pixels = augmented(batch.pixels, self.augment, random)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, enabled=self.recipe.amp):
            logits = self.forward(normalized(pixels, self.spec))
            loss = self._loss(logits, batch.labels, pixels)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _loss(self, logits: Tensor, labels: Tensor, pixels: Tensor) -> Tensor:
        recipe = self.recipe
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if self.teacher is None:
            return loss
        return distilled(logits, loss, self.teacher(pixels), recipe.temperature, recipe.soft_weight)

    def _checked(self, total: Tensor, steps: int, epoch: int) -> float:
        mean = self.peers.sum(float(total), self.device) / (steps * self.peers.count)
        if not math.isfinite(mean):
            raise self._diverged(f"the loss is {mean:g}", epoch)
        return mean

    def _require_finite_weights(self, epoch: int) -> None:
        """The last step of an epoch can spoil the weights before any loss shows it."""
        if not all(bool(tensor.isfinite().all()) for tensor in self.network.state_dict().values()):
            raise self._diverged("a weight is no finite number", epoch)

    def _diverged(self, what: str, epoch: int) -> DivergedError:
        return DivergedError(
            f"{self.spec.name}: {what} in epoch {epoch}. Take a lower learning rate than "
            f"{self.recipe.learning_rate:g}, or a longer warmup. What was kept of earlier epochs "
            "is as it was."
        )


def _generator(seed: int, epoch: int, purpose: int, rank: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, epoch, purpose, rank))


def _shared_batch(batch: int, pictures: int, processes: int) -> int:
    """The size of a batch of all processes, each of which gets as many pictures."""
    if batch % processes:
        raise UsageError(
            f"a batch of {batch} cannot be shared evenly by {processes} processes; pass a --batch "
            f"that is a multiple of {processes}."
        )
    found = min(batch, pictures // processes * processes)
    if found < 2 * processes:
        raise UsageError(
            f"{pictures} pictures in batches of {batch} are too few for {processes} processes: "
            "each needs two or more at once."
        )
    return found
