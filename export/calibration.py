"""Photographs for an export: they calibrate activation ranges, and they prove parity."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.contract import InputContract, TensorSpec
from edgecnn.errors import DataError, UsageError
from edgecnn.images import calibration_subset, images_sha256, list_images
from edgecnn.preprocess import (
    GOLDEN_RECIPE,
    Image,
    from_pixels,
    golden_image,
    read_image,
    resize_and_crop,
)

MIN_IMAGES = 16
"""Fewer photographs do not show an activation's range: see the advice on representative data in
TensorFlow's guide to post-training quantization ("around 100 to 500")."""

DEFAULT_IMAGES = 100
_NOISE_SIZE = 256
_MIN_CORRELATION = 0.3
"""Neighbouring pixels of photographs correlate above 0.8, those of noise not at all."""

_PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
                "motorcycle_left.png", "rocket.jpg")  # fmt: skip
_DECODERS = 2


@dataclass(frozen=True)
class ImageSet:
    """Pictures cut to a model's input: uint8 arrays of imgsz x imgsz x 3.

    ``origin`` says what they are, to be read behind their number.
    ``chosen`` files were taken from the folder, ``sha256`` is the digest of their bytes, and
    ``skipped`` names those among them that could not be decoded.
    """

    origin: str
    pixels: tuple[Image, ...]
    chosen: int = 0
    sha256: str = ""
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int) -> "ImageSet":
        """Return ``count`` of the pictures, evenly spread, or all where there are no more."""
        kept = tuple(self.pixels[i * len(self) // count] for i in range(min(count, len(self))))
        return self if count >= len(self) else ImageSet(self.origin, kept)


def load(folder: Path, count: int, contract: InputContract, *, force: bool) -> ImageSet:
    """Decode ``count`` images of ``folder``, evenly spread over it, and cut them to the input.

    Raises:
        DataError: the folder holds no images, or (unless ``force``) fewer than ``MIN_IMAGES`` that
            can be decoded, or pictures of noise.
    """
    chosen = calibration_subset(list_images(folder), count)
    with ThreadPoolExecutor(_DECODERS) as pool:
        results = list(pool.map(lambda path: _decode(path, contract), chosen))
    decoded = [result for result in results if isinstance(result, _Decoded)]
    skipped = tuple(str(result) for result in results if isinstance(result, DataError))
    if not force:
        _check_representative(folder, decoded, skipped)
    if not decoded:
        raise DataError(f"{folder}: none of its images can be decoded, e.g. {skipped[0]}")
    return ImageSet(
        origin="images of the calibration folder",
        pixels=tuple(result.pixels for result in decoded),
        chosen=len(chosen),
        sha256=images_sha256(chosen),
        skipped=skipped,
    )


def photographs(contract: InputContract, count: int) -> ImageSet | None:
    """Cut ``count`` pictures from scikit-image's photographs: whole ones first, then quarters.

    Returns:
        None where the package is not installed.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "data"
    files = [folder / name for name in _PHOTOGRAPHS if (folder / name).is_file()]
    parts = [_parts(read_image(file)) for file in files]
    ordered = [part for round_ in zip(*parts, strict=True) for part in round_][:count]
    if not ordered:
        return None
    origin = f"cut-outs of {len(files)} scikit-image photographs"
    return ImageSet(origin, tuple(_cut(part, contract) for part in ordered))


def golden(contract: InputContract) -> ImageSet:
    """Return the one synthetic picture that any machine can make."""
    return ImageSet("synthetic picture", (golden_image(GOLDEN_RECIPE, contract.imgsz),))


def model_inputs(images: ImageSet, contract: InputContract) -> Iterator[NDArray[Any]]:
    """Yield each picture as the input of ``contract``: shape, layout and dtype (float32, uint8)."""
    spec = TensorSpec(contract.name, contract.shape, contract.dtype, contract.layout)
    return (from_pixels(pixels, contract, spec) for pixels in images.pixels)


@dataclass(frozen=True)
class _Decoded:
    pixels: Image
    correlation: float


def _decode(path: Path, contract: InputContract) -> "_Decoded | DataError":
    try:
        image = read_image(path)
    except DataError as error:
        return error
    return _Decoded(_cut(image, contract), _neighbour_correlation(image))


def _cut(image: Image, contract: InputContract) -> Image:
    return resize_and_crop(image, contract.imgsz, contract.crop_pct, contract.interpolation)


def _parts(image: Image) -> tuple[Image, ...]:
    """Return a picture whole and its four quarters."""
    y, x = image.shape[0] // 2, image.shape[1] // 2
    return image, image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:]


def _neighbour_correlation(image: Image) -> float:
    """Return the correlation of horizontally adjacent pixels; 0 for a picture of one colour."""
    grey = image[:_NOISE_SIZE, :_NOISE_SIZE].mean(axis=2, dtype=np.float32)
    left, right = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    if left.size < 2 or left.std() == 0.0 or right.std() == 0.0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def _check_representative(folder: Path, decoded: list[_Decoded], skipped: tuple[str, ...]) -> None:
    if len(decoded) < MIN_IMAGES:
        unreadable = f" ({len(skipped)} could not be decoded)" if skipped else ""
        raise DataError(
            f"{folder}: {len(decoded)} images{unreadable}; calibration needs at least {MIN_IMAGES} "
            "photographs like those that the model will see. Pass a larger folder, or "
            "--force-calibration to go on with these."
        )
    typical = float(np.median([image.correlation for image in decoded]))
    if typical < _MIN_CORRELATION:
        raise DataError(
            f"{folder}: these images look like noise (neighbouring pixels correlate by "
            f"{typical:.2f}, those of photographs by more than 0.8); ranges measured on them are "
            "wrong. Pass photographs, or --force-calibration to go on with these."
        )


def required_images(images: ImageSet | None) -> ImageSet:
    """Return ``images``.

    Raises:
        UsageError: there are none.
    """
    if images is None:
        raise UsageError(
            "w8a8 measures activation ranges on photographs: pass --data FOLDER with at least "
            f"{MIN_IMAGES} images like those that the model will see (about {DEFAULT_IMAGES} are "
            "used), or choose --precision w8a32, which needs none."
        )
    return images
