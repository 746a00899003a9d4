"""A small training, for tests: three colours, a network of 2,000 weights, seconds for an epoch."""

from dataclasses import replace
from pathlib import Path

import tiny_pictures

from edgecnn.training.augment import Augment
from edgecnn.training.recipe import Recipe
from edgecnn.training.run import SILENT, Callbacks, Task, run

RECIPE = Recipe(
    epochs=3, batch=8, held_out=6, threads=1, learning_rate=0.1, augment=Augment(True, 1)
)
TRAIN, TEST = 12, 5
"""Pictures of each class in the two parts."""


def write(folder: Path) -> Path:
    """Write the two parts into a folder."""
    tiny_pictures.write(folder / "train", TRAIN)
    tiny_pictures.write(folder / "test", TEST)
    return folder


def task(data: Path, output: Path, **changes: object) -> Task:
    """The training; `changes` are of the recipe where it has them, else of the task."""
    names = set(RECIPE.to_dict())
    recipe = replace(RECIPE, **{k: v for k, v in changes.items() if k in names})  # type: ignore[arg-type]
    others = {k: v for k, v in changes.items() if k not in names}
    return replace(Task(tiny_pictures.SPEC, str(data), output, recipe), **others)  # type: ignore[arg-type]


def trained(data: Path, output: Path, callbacks: Callbacks = SILENT, **changes: object):  # type: ignore[no-untyped-def]
    """Run it; the result."""
    found = run(task(data, output, **changes), callbacks)
    assert found is not None
    return found
