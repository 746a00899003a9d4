"""What is kept of a training: the best weights, and the last with all that it needs to go on.

Both are plain: tensors, numbers and texts, read with `weights_only=True`. Both are checkpoints like
any other, to be passed as --weights, and say what network and classes they are of. Each is written
in one step, so that a killed process leaves the one before.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgecnn import weights
from edgecnn.errors import UsageError, WeightsError
from edgecnn.files import replace_file
from edgecnn.training.result import Epoch
from edgecnn.weights import ORIGIN, RANGES, Origin

BEST, LAST = "best.pt", "last.pt"
_TRAINING = "training"


@dataclass(frozen=True)
class Progress:
    """How far a training is: its epochs so far, and the number of the best one."""

    epochs: tuple[Epoch, ...] = ()
    best: int = 0

    def with_epoch(self, epoch: Epoch, is_choice: bool) -> Progress:
        """One epoch more. It is the best if it is better than those before, or (`is_choice` False:
        nothing may be chosen by these figures) because it is the last."""
        known = next((e.top1 for e in self.epochs if e.number == self.best), -1.0)
        is_best = not is_choice or epoch.top1 > known
        return Progress((*self.epochs, epoch), epoch.number if is_best else self.best)


@dataclass(frozen=True)
class Saved:
    """What `save` wrote: `identity` says of what training it is, `state` is the loop's."""

    identity: Mapping[str, str]
    progress: Progress
    state: dict[str, Any]


def save_weights(
    path: Path, network: nn.Module, origin: Origin, ranges: Mapping[str, Tensor] | None = None
) -> None:
    """Write the weights, and the ranges of 8-bit rounding that belong to them. Raises DiskError."""
    content = {ORIGIN: origin.to_dict(), "state_dict": _plain(network)}
    _write(path, content if ranges is None else content | {RANGES: dict(ranges)})


def save(
    path: Path,
    network: nn.Module,
    origin: Origin,
    saved: Saved,
    ranges: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights and all that the training needs to go on. Raises DiskError."""
    training = {
        "identity": dict(saved.identity),
        "epochs": [epoch.to_dict() for epoch in saved.progress.epochs],
        "best": saved.progress.best,
        "state": saved.state,
    }
    content = {ORIGIN: origin.to_dict(), "state_dict": _plain(network), _TRAINING: training}
    _write(path, content if ranges is None else content | {RANGES: dict(ranges)})


def _plain(network: nn.Module) -> dict[str, Tensor]:
    """The weights where every machine has memory: a tensor of a GPU is read on one alone."""
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}


def _write(path: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, buffer.getvalue())


def load(path: Path) -> Saved:
    """Read what `save` wrote, without the weights. Raises WeightsError where it is not that."""
    found = weights.read_plain(path)
    try:
        training = found[_TRAINING]  # type: ignore[index]
        epochs = tuple(Epoch(**epoch) for epoch in training["epochs"])
        progress = Progress(epochs, int(training["best"]))
        return Saved(dict(training["identity"]), progress, dict(training["state"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path} is not a training that could go on ({error!r}). Pass another --output, or "
            "--force to start anew."
        ) from error


def require_same(path: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise UsageError naming what differs between a training that was begun and one asked for."""
    if saved == wanted:
        return
    names = sorted({*saved, *wanted})
    differing = [
        f"{name} {saved.get(name, 'not known')} there, {wanted.get(name, 'not known')} here"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
    raise UsageError(
        f"{path} is of another training: {'; '.join(differing)}. Pass the same options to go on "
        "with it, another --output, or --force to start anew."
    )
