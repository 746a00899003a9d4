"""Pictures for the end of a search: to calibrate with, and to test with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn import train_data
from edgecnn.accuracy import Evaluation
from edgecnn.errors import DataError
from edgecnn.picture_sets import written
from edgecnn.search.accuracy import Proxy


@dataclass(frozen=True)
class Exam:
    """A folder with one subfolder for each class, and what it holds, in words."""

    folder: Path
    digest: str
    told: str

    def key(self, limit: int | None) -> str:
        """A text that differs for other pictures."""
        return hashlib.sha256(f"{self.digest}:{limit}".encode()).hexdigest()[:12]


def trained_on(proxy: Proxy, count: int) -> list[int]:
    """`count` of the pictures that were trained on, evenly spread over the classes."""
    train, _ = _split(proxy)
    return [int(train[i * len(train) // count]) for i in range(min(count, len(train)))]


def exam(proxy: Proxy) -> Exam:
    """The test part of the data; where it has none, what was held out of training.

    The search chose by the pictures held out, so the best networks look a little too good there.
    """
    try:
        test = train_data.load(proxy.data, "test")
    except DataError:
        pictures, (_, held_out) = proxy.pictures, _split(proxy)
        where = written(proxy.work, pictures, [int(i) for i in held_out], "held-out")
        told = "pictures held out of training, by which the search chose"
        return Exam(where, f"{pictures.digest}-{proxy.recipe.digest}", told)
    if test.classes != proxy.pictures.classes:
        raise DataError(
            f"{proxy.data}: the test pictures are of the classes {', '.join(test.classes)}; those "
            f"trained on are {', '.join(proxy.pictures.classes)}."
        )
    where = written(proxy.work, test, range(len(test.labels)), "test")
    return Exam(where, test.digest, "the test pictures of the data")


def _split(proxy: Proxy) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    recipe = proxy.recipe
    return train_data.split(proxy.pictures.labels, recipe.held_out, recipe.limit, recipe.seed)


def remembered(path: Path, find: Callable[[], Evaluation]) -> Evaluation:
    """The evaluation saved at `path`, made where there is none that can be read."""
    if path.is_file():
        try:
            return Evaluation.load(path)
        except DataError:
            path.unlink()  # damaged since, or of another version
    found = find()
    found.save(path)
    return found
