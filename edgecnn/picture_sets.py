"""Data sets by name, and data sets as folders of picture files.

Commands that read photographs take a folder with a subfolder for each class. A zip file, MNIST's
own files and the named data sets are written out as such a folder, part by part, once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgecnn import train_data
from edgecnn.errors import DataError
from edgecnn.files import replace_file
from edgecnn.train_data import Pictures

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
COMPLETE = ".complete"


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


def as_folder(text: str, part: str, work: Path, count: int | None = None) -> Path:
    """A folder with class folders: what was given, or a part of a data set written out in `work`.

    `part` is "train" or "test", of which `count` pictures evenly spread are enough. Raises as
    `find` and `train_data.load`, and DiskError.
    """
    place = find(text) if text in NAMED else Path(text)
    if place.is_dir() and not train_data.is_idx(place, part):
        return place
    pictures = train_data.load(place, part)
    total = len(pictures.labels)
    taken = total if count is None else min(count, total)
    return written(work, pictures, [index * total // taken for index in range(taken)], part)


def written(work: Path, pictures: Pictures, chosen: Sequence[int], purpose: str) -> Path:
    """The chosen pictures as PNG files below their class's folder, written where they are not."""
    digest = hashlib.sha256(f"{pictures.digest}:{list(chosen)}".encode()).hexdigest()[:12]
    where = work / "pictures" / f"{purpose}-{digest}"
    if (where / COMPLETE).exists():
        return where
    for index in chosen:
        name = pictures.classes[int(pictures.labels[index])]
        replace_file(where / name / f"{index:06}.png", _png(pictures, index))
    replace_file(where / COMPLETE, b"")
    return where


def _png(pictures: Pictures, index: int) -> bytes:
    # RGB here, BGR in OpenCV. PNG keeps every pixel.
    done, data = cv2.imencode(".png", np.ascontiguousarray(pictures.image(index)[:, :, ::-1]))
    if not done:
        raise DataError(f"{pictures.where}: picture {index} cannot be written as PNG.")
    return bytes(data)
