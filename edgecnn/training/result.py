"""What a training was and gave, as a JSON document."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

import edgecnn
from edgecnn import documents
from edgecnn.accuracy import Interval
from edgecnn.training.recipe import Recipe

SCHEMA = 1
FILE = "run.json"


@dataclass(frozen=True)
class Epoch:
    """An epoch (from 1): mean training loss, top-1 in per cent, seconds since the start.

    `top1` is on the pictures that were held out; of the test part where none were. Seconds count
    work alone, not the time between an interruption and going on.
    """

    number: int
    loss: float
    top1: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """A finished training. Accuracies in per cent, `top1` of `best_epoch`'s weights.

    `tested_on` says on which pictures: the test part's, which nothing was chosen by, or, where
    there is none, those held out, by which the epoch was chosen. `top1_w8a8` is of the network
    under simulated 8-bit rounding, None where it was not trained for that. `weights`, `teacher` and
    `data` are what was passed, with digests. `passed` is None where no accuracy was asked for.
    """

    model: str
    spec: str
    recipe: Recipe
    classes: tuple[str, ...]
    data: str
    data_sha256: str
    trained_on: int
    held_out: int
    tested: int
    tested_on: str
    epochs: tuple[Epoch, ...]
    best_epoch: int
    top1: float
    top1_ci95: Interval
    top1_w8a8: float | None
    weights: str
    teacher: str | None
    processes: int
    checkpoint: str
    versions: dict[str, str]
    passed: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self) | {"recipe": self.recipe.to_dict(), "schema": SCHEMA}

    def save(self, path: Path) -> None:
        """Write the JSON document in one step. Raises DiskError."""
        documents.save(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote. Raises DataError where it is damaged or of another schema."""
        return documents.load(path, SCHEMA, _from_dict, "Train again.")


def _from_dict(data: dict[str, Any]) -> Result:
    values = {f.name: data[f.name] for f in fields(Result)}
    values["recipe"] = Recipe.from_dict(data["recipe"])
    values["epochs"] = tuple(Epoch(**epoch) for epoch in data["epochs"])
    values["classes"] = tuple(data["classes"])
    values["top1_ci95"] = tuple(data["top1_ci95"])
    return Result(**values)


def versions() -> dict[str, str]:
    """The versions of all that a training computes with."""
    return {
        "python": platform.python_version(),
        "edgecnn": edgecnn.__version__,
        "torch": str(torch.__version__),
    }
