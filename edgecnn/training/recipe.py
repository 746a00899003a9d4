"""How a network is trained, as a value."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.train_data import Pictures
from edgecnn.training.augment import Augment, usual
from edgecnn.training.optimizing import OPTIMIZERS

DEVICES = ("cpu", "cuda")
QUANTIZATIONS = ("w8a8",)


def usable_cores() -> int:
    """How many processors this process may use: its share, where torchrun started several."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@dataclass(frozen=True)
class Recipe:
    """The same recipe, pictures, network and first weights give the same weights on one machine.

    The learning rate rises over the first `warmup` share of all steps and falls along a cosine
    (`optimizing`). `held_out` pictures of the training part, at most a fifth, choose the best
    epoch; with 0 all are trained on and the last epoch is taken. Of the others at most `limit` are
    trained on. `batch` is of all processes together. `threads` are part of the recipe: sums in
    another order give other weights. `amp` computes in mixed precision, on a GPU alone.

    `augment` is None where the pictures decide (`suited_to`).

    `temperature` and `soft_weight` are for a teacher (`distill`), `quantize` is for training under
    the rounding of w8a8 (`quantize_aware`).

    Raises UsageError on a value without sense.
    """

    epochs: int = 30
    batch: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup: float = 0.1
    label_smoothing: float = 0.1
    augment: Augment | None = None
    held_out: int = 5000
    limit: int | None = None
    seed: int = 0
    threads: int = field(default_factory=usable_cores)
    device: str = "cpu"
    amp: bool = False
    temperature: float = 4.0
    soft_weight: float = 0.9
    quantize: str | None = None

    def __post_init__(self) -> None:
        require_known("optimizer", self.optimizer, tuple(OPTIMIZERS))
        require_known("device", self.device, DEVICES)
        if self.quantize is not None:
            require_known("quantization", self.quantize, QUANTIZATIONS)
        refuse_unsound(
            self,
            epochs=self.epochs >= 1,
            batch=self.batch >= 2,  # batch normalization needs more than one value
            learning_rate=0 < self.learning_rate < math.inf,
            weight_decay=0 <= self.weight_decay < math.inf,
            warmup=0 <= self.warmup < 1,
            label_smoothing=0 <= self.label_smoothing < 1,
            held_out=self.held_out >= 0,
            limit=self.limit is None or self.limit >= 1,
            seed=self.seed >= 0,
            threads=self.threads >= 1,
            temperature=0 < self.temperature < math.inf,
            soft_weight=0 <= self.soft_weight <= 1,
        )
        if self.amp and self.device != "cuda":
            raise UsageError("mixed precision (--amp) needs --device cuda; a CPU gains nothing.")
        if self.amp and self.quantize is not None:
            raise UsageError("--quantize computes in float32; leave --amp out.")

    def suited_to(self, pictures: Pictures) -> Recipe:
        """The recipe with the usual augmentation of these pictures, where it says none itself."""
        return self if self.augment is not None else replace(self, augment=usual(pictures))

    def to_dict(self) -> dict[str, Any]:
        """The fields, with the augmentation as its text."""
        return asdict(self) | {"augment": None if self.augment is None else str(self.augment)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """What `to_dict` made. Raises UsageError, TypeError."""
        text = data["augment"]
        return cls(**data | {"augment": None if text is None else Augment.parse(text)})


def refuse_unsound(recipe: object, **sound: bool) -> None:
    """Raise UsageError naming the first field that is not sound."""
    wrong = next((name for name, good in sound.items() if not good), None)
    if wrong is not None:
        raise UsageError(f"{wrong} of the recipe is {getattr(recipe, wrong)!r}, out of range.")


def require_known(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UsageError where a name is none of those that are known."""
    if value not in known:
        raise UsageError(f"unknown {what} {value!r}; allowed: {', '.join(known)}.")


def require_device(recipe: Recipe) -> None:
    """Raise UnavailableError where the recipe's device is not here."""
    import torch

    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "--device cuda: PyTorch finds no GPU here. Leave it out to train on the processor, or "
            "install a driver and a build of PyTorch for it (pytorch.org/get-started)."
        )
