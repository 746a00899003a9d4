"""What is trained on and tested with: named data sets, folders and archives, and their parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn import train_data
from edgecnn.errors import DataError, UsageError
from edgecnn.train_data import Pictures, split
from edgecnn.training.recipe import Recipe

ENVIRONMENT = "EDGECNN_DATA"
BESIDE = Path("..") / "shared" / "data"
NAMED = {
    "mnist": (
        "mnist",
        "the four files train-images-idx3-ubyte.gz, ... of yann.lecun.com/exdb/mnist, in a folder "
        "mnist",
    ),
    "cifar10": (
        "cifar10.zip",
        "the pictures of cs.toronto.edu/~kriz/cifar.html as train/<class>/*.png and "
        "test/<class>/*.png, in cifar10.zip",
    ),
}
"""File or folder of each named data set, and where its content is from."""
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


def find(text: str) -> Path:
    """The place of `mnist` or `cifar10`, else the path that was given.

    A named data set is looked for in $EDGECNN_DATA, or in ../shared/data where that is not set; an
    existing path of that name goes first. Raises DataError saying where it was looked for.
    """
    given = Path(text)
    if given.exists():
        return given
    if text not in NAMED:
        known = ", ".join(NAMED)
        raise DataError(f"{text}: no such folder or zip file, and no known data set ({known}).")
    name, content = NAMED[text]
    root = Path(os.environ.get(ENVIRONMENT, BESIDE))
    found = root / name
    if not found.exists():
        raise DataError(
            f"data set {text} is not at {found.absolute()} (${ENVIRONMENT}, else {BESIDE}). Put "
            f"there {content}, or pass --data a folder."
        )
    return found


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
