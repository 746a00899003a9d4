"""From a photograph to a model's input, and from its output to labels.

This is the only implementation: export, evaluation, profiling and the stream all use it, so a
model sees on the board what it saw at the desk. Resizing is antialiased (the filter widens with
the scale), as PIL and torchvision do it; OpenCV's own bicubic and bilinear filters are not, which
costs accuracy when photographs shrink.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.contract import InputContract, TensorSpec
from edgecnn.errors import DataError, UsageError

Image = NDArray[np.uint8]
"""An RGB picture, uint8, height x width x 3."""

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
MAX_PIXELS = 200_000_000
GOLDEN_RECIPE = "triangles-v1"

_LUMA = np.array([19595, 38470, 7471], np.uint32)
"""0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) in 65536ths, as PIL converts to mode L. Whole numbers
give the same on every processor, and a picture that is gray keeps its values."""

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_WEIGHT_ONE = 2.0**15
_HALF_UP = 2.0**-16
"""Half a step of the weights, added before rounding: no value then lies half way between two whole
numbers, where processors differ. It rounds up, as PIL does."""
_BAND_OUTPUTS = 16
"""An output needs few inputs: a product of narrow bands is many times less work than one of whole
matrices, and still one of matrices."""
_buffers = threading.local()
_SAFE_SHRINK = 3.0
"""Scale at which an exact filter still decides; larger ones are first box-filtered down to it."""


def read_image(path: Path) -> Image:
    """Decode a picture, turned upright as its EXIF data says.

    Returns:
        uint8 array, height x width x 3, RGB.

    Raises:
        DataError: the file cannot be read, is no picture, or is truncated.
    """
    import cv2

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise DataError(f"{path}: the JPEG is truncated.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error as error:
        raise DataError(f"{path}: cannot be decoded ({error.err}).") from error
    if image is None:
        raise DataError(f"{path}: not a picture that can be decoded.")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DataError(f"{path}: larger than {MAX_PIXELS} pixels.")
    return np.asarray(image, np.uint8)


def resize_and_crop(image: Image, imgsz: int, crop_pct: float, interpolation: str) -> Image:
    """Resize the shorter side to ``imgsz / crop_pct`` and cut out the centre square.

    Only the pixels that the square needs are computed.

    Args:
        image: uint8, height x width x 3.
        interpolation: ``bicubic``, ``bilinear`` (both antialiased), ``area`` or ``nearest``.

    Returns:
        uint8 array, imgsz x imgsz x 3.
    """
    height, width = image.shape[:2]
    shorter = int(imgsz / crop_pct)
    if height <= width:
        target = (shorter, max(shorter, int(shorter * width / height)))
    else:
        target = (max(shorter, int(shorter * height / width)), shorter)
    if (height, width) == (imgsz, imgsz) and crop_pct == 1.0:
        return image
    if interpolation in _FILTERS:
        return _resize_window(image, target, imgsz, interpolation)
    import cv2

    flag = cv2.INTER_AREA if interpolation == "area" else cv2.INTER_NEAREST_EXACT
    resized = cv2.resize(image, (target[1], target[0]), interpolation=flag)
    top, left = (_crop_offset(size, imgsz) for size in target)
    return np.asarray(resized[top : top + imgsz, left : left + imgsz], np.uint8)


def prepare(image: Image, contract: InputContract, spec: TensorSpec) -> NDArray[Any]:
    """Make the model's input from a photograph.

    Args:
        image: uint8, height x width x 3, RGB, any size.
        contract: how the input is to be made.
        spec: the input tensor; where it is quantized, its scale and zero point are applied.

    Returns:
        array of ``spec.shape`` and ``spec.dtype``.
    """
    pixels = resize_and_crop(image, contract.imgsz, contract.crop_pct, contract.interpolation)
    return from_pixels(pixels, contract, spec)


def from_pixels(pixels: Image, contract: InputContract, spec: TensorSpec) -> NDArray[Any]:
    """Make the model's input from a picture that already has the input's size.

    Args:
        pixels: uint8, imgsz x imgsz x 3, RGB.

    Returns:
        array of ``spec.shape`` and ``spec.dtype``.
    """
    pixels = gray(pixels) if contract.color == "gray" else pixels
    if contract.dtype == "uint8":
        return _arrange(pixels, contract.layout)
    table = _normalized(contract.mean, contract.std)
    return quantize(_looked_up(pixels, table, contract.layout), spec)


def quantize(real: NDArray[np.float32], spec: TensorSpec) -> NDArray[Any]:
    """Turn float32 values into what an input tensor stores (unchanged where that is float32)."""
    if spec.scale is None:
        return real.astype(spec.dtype, copy=False)
    limits = np.iinfo(spec.dtype)
    stored = np.rint(real / np.float32(spec.scale)) + (spec.zero_point or 0)
    quantized: NDArray[Any] = stored.clip(limits.min, limits.max).astype(spec.dtype)
    return quantized


def dequantize(stored: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    """Turn what an output tensor stores into float32 values of the same shape."""
    if spec.scale is None:
        return stored.astype(np.float32, copy=False)
    return (stored.astype(np.float32) - np.float32(spec.zero_point or 0)) * np.float32(spec.scale)


def top_k(logits: NDArray[np.float32], labels: Sequence[str], k: int) -> list[tuple[str, float]]:
    """Return the ``k`` best classes of one image as (label, softmax score), best first.

    Args:
        logits: any shape with one value per class. A class without a label shows its index.
    """
    flat = logits.reshape(-1).astype(np.float64)
    scores = softmax(flat)
    best = np.argsort(-flat, kind="stable")[:k]
    return [(labels[i] if labels else str(i), float(scores[i])) for i in best]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return scores that add up to 1, of the same shape and type as the logits of one image."""
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def golden_image(recipe: str, imgsz: int) -> Image:
    """Make the synthetic picture of a golden sample, bit for bit the same on every machine.

    It is computed in integers: three triangle waves of different direction, bent by a quadratic
    term, so that every stage of a network sees edges and gradients.

    Returns:
        uint8 array, imgsz x imgsz x 3.

    Raises:
        UsageError: the recipe is not known to this version.
    """
    if recipe != GOLDEN_RECIPE:
        raise UsageError(f"unknown golden recipe {recipe!r}; allowed: {GOLDEN_RECIPE}.")
    y, x = np.mgrid[0:imgsz, 0:imgsz].astype(np.int64)
    channels = []
    for c in range(3):
        ramp = (x * (5 + 3 * c) + y * (11 - 4 * c) + (x * x + y * y) * (c + 1) // imgsz) * 256
        phase = ramp // imgsz % 512
        channels.append(np.where(phase < 256, phase, 511 - phase))
    return np.stack(channels, axis=-1).astype(np.uint8)


def gray(pixels: Image) -> Image:
    """The luma of each pixel, uint8, height x width x 1."""
    sums = pixels.astype(np.uint32) @ _LUMA
    return np.asarray((sums + 0x8000) >> 16, np.uint8)[..., np.newaxis]


@lru_cache(maxsize=16)
def _normalized(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """What each of the 256 values of a pixel becomes, float32, shape (channels, 256)."""
    reciprocal = np.float32(1.0) / np.asarray(std, np.float32)
    pixels = np.arange(256, dtype=np.float32)[:, np.newaxis]
    return np.ascontiguousarray(((pixels - np.asarray(mean, np.float32)) * reciprocal).T)


def _looked_up(pixels: Image, table: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    import cv2

    height, width, channels = pixels.shape
    if layout == "NHWC":
        # OpenCV drops a last axis of one.
        found = cv2.LUT(pixels, table.T[np.newaxis])
        return np.asarray(found, np.float32).reshape(1, height, width, channels)
    found = np.empty((1, channels, height, width), np.float32)
    for channel in range(channels):
        one = np.ascontiguousarray(pixels[..., channel])
        cv2.LUT(one, table[channel][np.newaxis], dst=found[0, channel])
    return found


def _arrange(pixels: NDArray[Any], layout: str) -> NDArray[Any]:
    ordered = pixels.transpose(2, 0, 1) if layout == "NCHW" else pixels
    return np.ascontiguousarray(ordered[np.newaxis])


def _crop_offset(size: int, imgsz: int) -> int:
    return round((size - imgsz) / 2.0)


def _resize_window(image: Image, target: tuple[int, int], imgsz: int, interpolation: str) -> Image:
    """Compute the centre square of ``image`` resized to ``target`` (height, width)."""
    import cv2

    image = _shrink(image, target)
    vertical = _filter_bands(image.shape[0], target[0], imgsz, interpolation)
    horizontal = _filter_bands(image.shape[1], target[1], imgsz, interpolation)
    rows = slice(vertical[0].first, vertical[-1].last)
    columns = slice(horizontal[0].first, horizontal[-1].last)
    # Across first and rounded in between, as PIL does it.
    part = image[rows, columns]
    turned = cv2.transpose(part, _scratch("turned", (*part.shape[1::-1], 3), np.uint8))
    across = _filtered(turned, horizontal, columns.start)
    return _filtered(cv2.transpose(across), vertical, rows.start)


def _shrink(image: Image, target: tuple[int, int]) -> Image:
    """Box-filter a very large photograph by a whole factor, leaving the last steps exact."""
    factor = int(min(image.shape[0] / target[0], image.shape[1] / target[1]) / _SAFE_SHRINK)
    if factor < 2:
        return image
    import cv2

    size = (image.shape[1] // factor, image.shape[0] // factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class _Band:
    """Weights of ``_BAND_OUTPUTS`` neighbouring outputs over inputs ``first`` to ``last``."""

    first: int
    last: int
    weights: NDArray[np.float32]


def _filtered(image: NDArray[np.uint8], bands: tuple[_Band, ...], offset: int) -> Image:
    """Filter along the first axis of a (length, other, 3) array whose first row is ``offset``."""
    import cv2

    length, other, channels = image.shape
    lines = _scratch("lines", (length, other * channels), np.float32)
    np.copyto(lines, image.reshape(lines.shape))
    outputs = sum(len(band.weights) for band in bands)
    values = _scratch("values", (outputs, other * channels), np.float32)
    for band, place in _with_places(bands):
        np.matmul(band.weights, lines[band.first - offset : band.last - offset], out=values[place])
    # In one pass what rint, clip and astype do in three.
    rounded = cv2.add(values, _HALF_UP, dtype=cv2.CV_8U)
    return np.asarray(rounded, np.uint8).reshape(len(values), other, channels)


def _scratch(name: str, shape: tuple[int, ...], kind: type[Any]) -> NDArray[Any]:
    """Memory of this thread for a step between.

    Taken anew for each frame, it would be given back to the system and cleared each time, which
    takes longer than the arithmetic (600 page faults, 1 ms).
    """
    size = int(np.prod(shape))
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, kind)
        setattr(_buffers, name, buffer)
    found: NDArray[Any] = buffer[:size].reshape(shape)
    return found


def _with_places(bands: tuple[_Band, ...]) -> Iterator[tuple[_Band, slice]]:
    start = 0
    for band in bands:
        yield band, slice(start, start + len(band.weights))
        start += len(band.weights)


@lru_cache(maxsize=64)
def _filter_bands(size: int, target: int, imgsz: int, interpolation: str) -> tuple[_Band, ...]:
    """Weights of the central ``imgsz`` of ``target`` outputs over ``size`` inputs."""
    kernel, radius = _FILTERS[interpolation]
    scale = size / target
    stretch = max(scale, 1.0)
    outputs = np.arange(imgsz) + _crop_offset(target, imgsz)
    centres = (outputs[:, np.newaxis] + 0.5) * scale
    distance = np.abs(np.arange(size)[np.newaxis] + 0.5 - centres) / stretch
    weights = np.where(distance < radius, kernel(distance), 0.0)
    weights = _exact(weights / weights.sum(axis=1, keepdims=True))
    starts = range(0, imgsz, _BAND_OUTPUTS)
    return tuple(_band(weights[start : start + _BAND_OUTPUTS]) for start in starts)


def _exact(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round weights to multiples of 2^-15, keeping each row's sum at 1.

    A sum of at most 255 times such weights is a multiple of 2^-15 below 2^9 and fits float32's 24
    bits: it is exact in any order, and a photograph is the same input on every processor.
    """
    rounded = np.rint(weights * _WEIGHT_ONE)
    largest = rounded.argmax(axis=1)
    rounded[np.arange(len(rounded)), largest] += _WEIGHT_ONE - rounded.sum(axis=1)
    return rounded / _WEIGHT_ONE


def _band(weights: NDArray[np.float64]) -> _Band:
    used = np.flatnonzero(weights.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1
    return _Band(first, last, np.ascontiguousarray(weights[:, first:last], np.float32))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5, for x >= 0 (IEEE TASSP 29(6), 1981, eq. 15)."""
    inner = (1.5 * x - 2.5) * x * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, inner, outer)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 - x


_Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_FILTERS: dict[str, tuple[_Kernel, float]] = {
    "bicubic": (_cubic, 2.0),
    "bilinear": (_triangle, 1.0),
}
