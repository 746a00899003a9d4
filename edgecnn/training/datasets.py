"""What is trained on and tested with: the parts of a data set, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn import train_data
from edgecnn.errors import DataError, UsageError
from edgecnn.picture_sets import find
from edgecnn.train_data import Pictures, split
from edgecnn.training.recipe import Recipe

SHOWN = 3


@dataclass(frozen=True, eq=False)
class Data:
    """The training part, the test part if there is one, and which pictures of the first do what.

    `trained` and `held_out` are indices of pictures of `train`; `held_out` is empty where the
    recipe keeps none apart.
    """

    train: Pictures
    test: Pictures | None
    trained: NDArray[np.int64]
    held_out: NDArray[np.int64]


def load(text: str, recipe: Recipe) -> Data:
    """Read the data set and divide its training part as the recipe says.

    Raises DataError as `find` and `train_data.load`, and where the classes of the two parts differ;
    UsageError where nothing would be left to test with.
    """
    path = find(text)
    train = train_data.load(path)
    test = train_data.load(path, "test") if train_data.has_part(path, "test") else None
    if test is not None:
        _require_same_classes(path, train, test)
    if recipe.held_out:
        chosen = split(train.labels, recipe.held_out, recipe.limit, recipe.seed)
        return Data(train, test, *chosen)
    if test is None:
        raise UsageError(
            f"{path} has no test part, so some of its pictures must be kept apart to test with: "
            "pass --held-out above 0."
        )
    if recipe.limit is None:
        return Data(train, test, np.arange(len(train.labels)), np.arange(0))
    limited, _ = split(train.labels, 1, recipe.limit, recipe.seed)
    return Data(train, test, limited, np.arange(0))


def _require_same_classes(path: Path, train: Pictures, test: Pictures) -> None:
    if train.classes == test.classes:
        return
    parts = {"train": set(train.classes), "test": set(test.classes)}
    only = [
        f"only in {part}: {', '.join(sorted(names)[:SHOWN])}"
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for part, other in (("train", "test"), ("test", "train"))
        if (names := parts[part] - parts[other])
    ]
    raise DataError(
        f"{path}: the classes of the train and the test part differ ({'; '.join(only)}). Both need "
        "the same class folders."
    )
