"""Small pictures inside a drawing: arrays as embedded PNG, in rows, with a scale beside them."""

import base64
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import DataError
from edgecnn.report import chart
from edgecnn.report.markup import Markup, join, tag

Pixels = NDArray[np.uint8]
"""uint8, height x width (gray) or height x width x 3 (RGB)."""
Floats = NDArray[np.float64]


def picture(pixels: Pixels, x: float, y: float, side: float, tip: str = "") -> Markup:
    """Return a square picture; pixels are shown as squares, not smoothed."""
    placed = tag(
        "image",
        x=x,
        y=y,
        width=side,
        height=side,
        href=f"data:image/png;base64,{base64.b64encode(_png(_enlarged(pixels, side))).decode()}",
        image_rendering="optimizeSpeed",
        preserveAspectRatio="none",
    )
    frame = tag("rect", x=x, y=y, width=side, height=side, class_="frame")
    return chart.mark(tip, placed, frame) if tip else join([placed, frame])


def _enlarged(pixels: Pixels, side: float) -> Pixels:
    """Repeat pixels, so that no viewer smooths what is much smaller than it is drawn."""
    times = int(2 * side) // max(pixels.shape[:2])
    return pixels.repeat(times, axis=0).repeat(times, axis=1) if times > 1 else pixels


def _png(pixels: Pixels) -> bytes:
    import cv2

    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered))
    if not done:
        raise DataError(f"a picture of {pixels.shape} cannot be encoded.")
    return encoded.tobytes()


def signed(values: Floats) -> Pixels:
    """Values about 0 as gray: 0 is middle gray, the largest magnitude white or black.

    (height, width), or (channels, height, width) with 3 channels as red, green and blue.
    """
    largest = float(np.abs(values).max()) or 1.0
    levels = np.rint(127.5 + 127.5 * values / largest)
    return _arranged(levels)


def unsigned(values: Floats, largest: float | None = None) -> Pixels:
    """Values from 0 up as gray: 0 is black, the largest white."""
    top = float(values.max()) if largest is None else largest
    return _arranged(np.rint(255 * values / (top or 1.0)))


def stretched(values: Floats, share: float = 0.01) -> Pixels:
    """Values as gray from black to white, but for the few at both ends."""
    low, high = np.quantile(values, [share, 1 - share])
    return _arranged(np.rint(255 * (values - low) / ((high - low) or 1.0)))


def _arranged(levels: Floats) -> Pixels:
    whole = np.clip(levels, 0, 255).astype(np.uint8)
    return whole.transpose(1, 2, 0) if whole.ndim == 3 else whole


def grid(
    tiles: Sequence[Pixels],
    place: Callable[[int], tuple[float, float]],
    side: float,
    tips: Sequence[str],
) -> Markup:
    """Return pictures at their places, in their order."""
    return join(
        picture(pixels, *place(index), side, tip)
        for index, (pixels, tip) in enumerate(zip(tiles, tips, strict=True))
    )


def rows_of(count: int, columns: int) -> int:
    """How many rows so many tiles take."""
    return -(-count // columns)
