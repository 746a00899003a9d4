"""Learning from a larger network's logits (Hinton, Vinyals and Dean, arXiv 1503.02531).

The loss is `soft_weight` times the divergence of the softened distributions, softmax(logits / T),
times T^2 (section 2: so that the gradients' size does not depend on T), and for the rest the usual
cross-entropy. The teacher sees the very pictures that the student sees, varied in the same way
(Beyer et al., arXiv 2106.05237, section 3.2: "consistent teaching").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import hub, sources
from edgecnn.errors import SourceError, UsageError
from edgecnn.sources import Source


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network in eval mode, and how pictures become its input.

    `mean` and `std` are of pixels from 0 to 255, one for each channel.
    """

    name: str
    sha256: str
    module: nn.Module
    imgsz: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to(self, device: torch.device) -> Teacher:
        """The same on a device."""
        return replace(self, module=self.module.to(device))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (N, classes) of uint8 (N, C, H, W), resized to what the teacher takes."""
        values = pixels.float()
        if values.shape[-1] != self.imgsz:
            size = (self.imgsz, self.imgsz)
            values = functional.interpolate(values, size, mode="bilinear", antialias=True)
        mean, std = (
            torch.tensor(numbers, device=pixels.device).view(1, -1, 1, 1)
            for numbers in (self.mean, self.std)
        )
        with torch.no_grad():
            logits: Tensor = self.module((values - mean) / std)
        return logits


def teacher(text: str, classes: tuple[str, ...], channels: int) -> Teacher:
    """The teacher that `text` names: a model with its trained weights, or a checkpoint of training.

    Raises UsageError where it does not know these classes or takes other pictures, and as
    `sources.resolve`.
    """
    source = _source(text)
    if source.num_classes != len(classes) or source.labels not in ((), classes):
        raise UsageError(
            f"the teacher {text} knows {source.num_classes} classes, the data has {len(classes)}: "
            "a teacher must have learnt the very classes of the student. Train one first: edgecnn "
            "train MODEL --data ..., and pass its best.pt."
        )
    if source.module is None or source.imgsz is None or not source.mean or not source.std:
        raise SourceError(f"the teacher {text} does not say how its input is made.")
    if len(source.mean) != channels:
        raise UsageError(
            f"the teacher {text} takes pictures of {len(source.mean)} channels, the student of "
            f"{channels}."
        )
    module = source.module.eval().requires_grad_(False)
    digest = source.provenance.sha256
    return Teacher(source.name, digest, module, source.imgsz, source.mean, source.std)


def _source(text: str) -> Source:
    path = Path(text)
    if path.suffix not in hub.SUFFIXES:
        return sources.resolve(text)
    found = sources.from_training(path)
    if found is None:
        raise UsageError(
            f"the teacher {path} does not say what network its weights are of; pass a best.pt of "
            "`edgecnn train`, or a model (`edgecnn models`)."
        )
    return found


def distilled(
    logits: Tensor, labels_loss: Tensor, taught: Tensor, temperature: float, soft_weight: float
) -> Tensor:
    """The loss of a student whose teacher says `taught`; both are logits (N, classes)."""
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, 1),
        functional.log_softmax(taught / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return soft_weight * temperature**2 * soft + (1 - soft_weight) * labels_loss
