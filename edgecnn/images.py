"""Folders of photographs: which images they hold, and which class each one belongs to."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgecnn.errors import DataError
from edgecnn.preprocess import IMAGE_SUFFIXES

IMAGENET_CLASSES = 1000
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class LabelledImage:
    """A photograph and the index of its class; ``class_index`` is None where nobody says."""

    path: Path
    class_index: int | None


def list_images(folder: Path | str) -> tuple[Path, ...]:
    """Return the image files below ``folder``, sorted by their path relative to it.

    The order does not depend on the machine or on where the folder lies. Hidden files and folders
    are left out.

    Raises:
        DataError: there is no such folder, or it holds no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Pass --data a folder of images.")
    found = [
        relative
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        for relative in [path.relative_to(folder)]
        if not any(part.startswith(".") for part in relative.parts)
    ]
    if not found:
        raise DataError(
            f"{folder}: no images in it or below it ({', '.join(IMAGE_SUFFIXES)}). "
            "Pass --data a folder of images, for accuracy one with a subfolder for each class."
        )
    return tuple(folder / relative for relative in sorted(found, key=Path.as_posix))


def calibration_subset(paths: Sequence[Path], count: int) -> tuple[Path, ...]:
    """Choose ``count`` images evenly spread over ``paths``, or all where there are no more.

    The choice depends on the order and number of ``paths`` alone, so that export and evaluation,
    given the same listing (:func:`list_images`), agree on which images were used to calibrate.
    """
    if count >= len(paths):
        return tuple(paths)
    return tuple(paths[i * len(paths) // count] for i in range(count))


def images_sha256(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the SHA-256 digests of the files' bytes, in their order."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def labelled(
    paths: Sequence[Path],
    folder: Path | str,
    *,
    classes: int,
    labels: Sequence[str] = (),
    labels_file: Path | None = None,
) -> tuple[LabelledImage, ...]:
    """Give each image of ``folder`` the index of the class that its first subfolder names.

    A subfolder names its class by one of, in this order: a line of ``labels_file`` that is the
    name or starts with it and a space (the line's number from 0 is the class); the class index in
    digits; one of ``labels``; for 1000 classes, an ImageNet WordNet id (``n01440764``) in the usual
    order of the 1000 classes.
    Images that lie in ``folder`` itself have no class.

    Raises:
        DataError: a subfolder's name is none of these, or its class is not below ``classes``.
    """
    names = {_class_folder(path, Path(folder)) for path in paths} - {None}
    known = _known_names(sorted(n for n in names if n), classes, labels, labels_file)
    return tuple(
        LabelledImage(path, known[name] if name else None)
        for path in paths
        for name in [_class_folder(path, Path(folder))]
    )


def _class_folder(path: Path, folder: Path) -> str | None:
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else None


def _known_names(
    folders: Sequence[str], classes: int, labels: Sequence[str], labels_file: Path | None
) -> dict[str, int]:
    """Find the one naming that covers every folder; namings are never mixed."""
    if labels_file is not None:
        namings = [_names_of_lines(read_lines(labels_file))]
    else:
        namings = [
            {name: int(name) for name in folders if name.isdecimal()},
            _unique(labels),
            imagenet_wnids() if classes == IMAGENET_CLASSES else {},
        ]
    for naming in namings:
        if all(name in naming for name in folders):
            _check_range(folders, naming, classes)
            return naming
    nearest = max(namings, key=lambda naming: sum(name in naming for name in folders))
    unknown = [name for name in folders if name not in nearest]
    raise DataError(
        f"{len(unknown)} of {len(folders)} class folders are not known, e.g. "
        f"{', '.join(map(repr, unknown[:3]))}. Name the folders by class index, by the model's "
        "labels or (1000 classes) by ImageNet id, or pass --labels FILE with one line per class, "
        "in the order of the classes, that starts with the folder's name."
    )


def _check_range(folders: Sequence[str], naming: dict[str, int], classes: int) -> None:
    beyond = [name for name in folders if naming[name] >= classes]
    if beyond:
        raise DataError(
            f"class folder {beyond[0]!r} is class {naming[beyond[0]]}, but the model has {classes} "
            f"classes (0 to {classes - 1}). Pass the --labels FILE that belongs to the model."
        )


def _unique(labels: Sequence[str]) -> dict[str, int]:
    """Leave out names that two classes share (ImageNet has two cranes): they decide nothing."""
    counts = Counter(labels)
    return {label: index for index, label in enumerate(labels) if counts[label] == 1}


def _names_of_lines(lines: Sequence[str]) -> dict[str, int]:
    """A line names its class whole and by its first word."""
    by_first_word = {line.split(maxsplit=1)[0]: index for index, line in enumerate(lines)}
    return by_first_word | {line: index for index, line in enumerate(lines)}


def read_lines(path: Path) -> tuple[str, ...]:
    """Read a labels file: one class per line, in the order of the classes.

    Raises:
        DataError: the file cannot be read as UTF-8 text, or a line is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable labels file ({error}).") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{path}: line {number} is empty; each line is one class.")
    return tuple(line.strip() for line in lines)


def display_labels(path: Path) -> tuple[str, ...]:
    """Read a labels file for display: a WordNet id that starts a line is left out."""
    split = (line.partition(" ") for line in read_lines(path))
    return tuple(rest if rest and _WNID.fullmatch(first) else first + sep + rest
                 for first, sep, rest in split)  # fmt: skip


def _imagenet_file() -> Path:
    return Path(str(resources.files("edgecnn") / "data" / "imagenet_classes.txt"))


def imagenet_wnids() -> dict[str, int]:
    """Return the class index of each WordNet id of ImageNet's 1000 classes."""
    return {line.split()[0]: index for index, line in enumerate(read_lines(_imagenet_file()))}


def imagenet_labels() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes in their order."""
    return display_labels(_imagenet_file())
