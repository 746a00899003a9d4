"""Labelled pictures to train on: a folder, a zip file of one, or MNIST's idx files.

    DIR/<class>/*.jpg                      one part
    DIR/train/<class>/*.jpg, DIR/test/...  two parts; `val` is another word for `test`
    FILE.zip                               the same inside a zip file
    DIR/train-images-idx3-ubyte[.gz], ...  MNIST as its authors publish it (yann.lecun.com)

Pictures come through the one preprocessing implementation (`preprocess.py`), so a network is
trained on what it will be given later.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import DataError
from edgecnn.images import list_images
from edgecnn.preprocess import IMAGE_SUFFIXES, Image, gray, read_image, resize_and_crop
from edgecnn.spec import ModelSpec

DECODERS = 2
PARTS = {"train": ("train",), "test": ("test", "val")}
IDX_PREFIX = {"train": "train", "test": "t10k"}
IDX_BYTES = 0x08
DIGITS = "0123456789"


class _File(Protocol):
    """A file in a folder or in a zip file."""

    def read_bytes(self) -> bytes: ...


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures with their classes, decoded when asked for.

    `labels` holds the class of each picture, an index into `classes`. `image(i)` is a picture as
    uint8, height x width x 3. `digest` is the SHA-256 of names and contents: equal for a folder
    and a zip file of it.
    """

    where: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    digest: str
    image: Callable[[int], Image]

    def squares(self, spec: ModelSpec) -> NDArray[np.uint8]:
        """All pictures as `spec` takes them: (N, resolution, resolution, C). Kept for reuse.

        Raises DataError naming the picture that cannot be decoded.
        """
        c = spec.conventions
        return _squares(self, spec.resolution, c.crop_pct, c.interpolation, spec.input_channels)

    def adapted(self, spec: ModelSpec) -> ModelSpec:
        """`spec` with these classes; small pictures are taken whole (`crop_pct` 1).

        Small is no larger than the resolution: cropping would first enlarge them.
        """
        spec = spec.with_classes(len(self.classes))
        if self._shorter_side > spec.resolution:
            return spec
        return spec.with_conventions(replace(spec.conventions, crop_pct=1.0))

    @cached_property
    def are_digits(self) -> bool:
        """Whether these are gray pictures of digits, which mean something else when mirrored.

        The classes are named by single digits, and the first picture is gray: so it is with MNIST's
        files, in whatever form, and with all that others publish in MNIST's form.
        """
        first = self.image(0)
        return {*self.classes} <= {*DIGITS} and bool((first == first[:, :, :1]).all())

    @cached_property
    def _shorter_side(self) -> int:
        height, width = self.image(0).shape[:2]
        return int(min(height, width))


@lru_cache(maxsize=2)
def _squares(
    pictures: Pictures, resolution: int, crop_pct: float, interpolation: str, channels: int
) -> NDArray[np.uint8]:
    def square(index: int) -> Image:
        pixels = resize_and_crop(pictures.image(index), resolution, crop_pct, interpolation)
        return pixels if channels == pixels.shape[2] else gray(pixels)

    found = np.empty((len(pictures.labels), resolution, resolution, channels), np.uint8)
    with ThreadPoolExecutor(DECODERS) as pool:
        for index, pixels in enumerate(pool.map(square, range(len(found)))):
            found[index] = pixels
    return found


def load(path: Path | str, part: str = "train") -> Pictures:
    """The pictures of a folder, zip file or MNIST folder; `part` is "train" or "test".

    Every file is read once for the digest; decoding waits.

    Raises DataError: nothing there, a broken file, no such part, or fewer than two classes.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        return _from_names(*_zip_files(path), path, part)
    if path.is_file():
        raise DataError(f"{path}: neither a folder nor a readable zip file.")
    if _idx_file(path, part, "images") is not None:
        return _from_idx(path, part)
    files = list_images(path)
    return _from_names([f.relative_to(path).as_posix() for f in files], files, path, part)


def is_idx(path: Path, part: str) -> bool:
    """Whether a folder holds MNIST's files of a part."""
    return any(_idx_file(path, part, kind) is not None for kind in ("images", "labels"))


def has_part(path: Path | str, part: str) -> bool:
    """Whether there is anything of a part, "train" or "test", in its own folder or files.

    Raises DataError where the zip file holds no images.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        return any(_below(name, part) for name in _zip_files(path)[0])
    return is_idx(path, part) or any((path / word).is_dir() for word in PARTS[part])


def _zip_files(path: Path) -> tuple[list[str], list[_File]]:
    archive = zipfile.ZipFile(path)
    names = sorted(
        name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    )
    if not names:
        raise DataError(f"{path}: no images in it ({', '.join(IMAGE_SUFFIXES)}).")
    root = zipfile.Path(archive)
    return names, [root / name for name in names]


def _from_names(names: Sequence[str], files: Sequence[_File], path: Path, part: str) -> Pictures:
    """The part's pictures: the first folder below the part's own is the class."""
    listed = [
        (parts, file)
        for name, file in zip(names, files, strict=True)
        if (parts := _below(name, part)) is not None
    ]
    if not listed and part == "train":  # not divided into parts
        listed = [(name.split("/"), file) for name, file in zip(names, files, strict=True)]
    labelled = [(parts, file) for parts, file in listed if len(parts) > 1]
    if not labelled:
        raise DataError(
            f"{path}: no {part} pictures in class folders; expected <class>/*.jpg, or "
            f"{part}/<class>/*.jpg."
        )
    classes = tuple(sorted({parts[0] for parts, _ in labelled}))
    labels = np.array([classes.index(parts[0]) for parts, _ in labelled], np.int64)
    kept = [file for _, file in labelled]
    contents = ("/".join(parts).encode() + _read(file) for parts, file in labelled)
    return _checked(Pictures(str(path), classes, labels, _digest(contents), _decoder(kept)))


def _below(name: str, part: str) -> list[str] | None:
    first, *rest = name.split("/")
    return rest if first in PARTS[part] and rest else None


def _decoder(files: Sequence[_File]) -> Callable[[int], Image]:
    def image(index: int) -> Image:
        try:
            # What stands in a zip file is no `Path`, but can be read like one.
            return read_image(cast(Path, files[index]))
        except (zipfile.BadZipFile, zlib.error) as error:
            raise _broken(files[index], error) from error

    return image


def _read(file: _File) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _broken(file, error) from error


def _broken(file: _File, error: Exception) -> DataError:
    return DataError(f"{file}: cannot be read ({error}). Fetch or unpack the data again.")


def _from_idx(path: Path, part: str) -> Pictures:
    files = [_idx_file(path, part, kind) for kind in ("images", "labels")]
    if None in files:
        raise DataError(f"{path}: the {part} labels of the idx files are missing.")
    images, labels = (read_idx(file) for file in files if file is not None)
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels):
        raise DataError(
            f"{path}: images of shape {images.shape} and labels of shape {labels.shape}; expected "
            "(N, height, width) and (N,)."
        )
    classes = tuple(str(index) for index in range(int(labels.max()) + 1))
    digest = _digest([images.tobytes(), labels.tobytes()])

    def image(index: int) -> Image:
        return np.repeat(images[index, :, :, np.newaxis], 3, axis=2)

    return _checked(Pictures(str(path), classes, labels.astype(np.int64), digest, image))


def _idx_file(path: Path, part: str, kind: str) -> Path | None:
    dimensions = 3 if kind == "images" else 1
    stem = f"{IDX_PREFIX[part]}-{kind}-idx{dimensions}-ubyte"
    return next((f for f in (path / stem, path / f"{stem}.gz") if f.is_file()), None)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file of bytes, gzipped where its name ends in .gz.

    Two zero bytes, the type, the number of dimensions, their sizes as big-endian 32-bit numbers,
    then the data (yann.lecun.com/exdb/mnist, "THE IDX FILE FORMAT").

    Raises DataError where it is not one, or is cut off.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, error) from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != IDX_BYTES:
        raise DataError(f"{path}: not an idx file of bytes (it starts with {data[:4].hex()}).")
    start = 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    expected = start + math.prod(shape)
    if not shape or len(data) != expected:
        raise DataError(f"{path}: {len(data)} bytes, its header {shape} says {expected}.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _digest(contents: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def _checked(pictures: Pictures) -> Pictures:
    counts = Counter(pictures.labels.tolist())
    if len(counts) < 2:
        only = pictures.classes[next(iter(counts))]
        raise DataError(
            f"{pictures.where}: all {len(pictures.labels)} pictures are of one class, {only!r}. "
            "Training needs two or more, one subfolder each."
        )
    few = next((index for index, count in counts.items() if count < 2), None)
    if few is not None:
        raise DataError(
            f"{pictures.where}: class {pictures.classes[few]!r} has one picture; at least two are "
            "needed, one to train on and one to test with."
        )
    return pictures


def split(
    labels: NDArray[np.int64], held_out: int, limit: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and indices to test with, drawn from each class by its share.

    About `held_out` pictures are kept apart, at least one of each class and at most a fifth of
    all; of the others about `limit` are used, at least one of each class.
    """
    random = np.random.default_rng(seed)
    apart = min(held_out, len(labels) // 5) / len(labels)
    share = 1.0 if limit is None else min(1.0, limit / (len(labels) * (1 - apart)))
    train, test = [], []
    for index in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == index))
        tested = min(len(members) - 1, max(1, round(apart * len(members))))
        trained = max(1, round(share * (len(members) - tested)))
        test.append(members[:tested])
        train.append(members[tested : tested + trained])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))
