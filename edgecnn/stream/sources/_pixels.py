"""Raw pictures of cameras and pipes as RGB."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import UsageError
from edgecnn.preprocess import Image

Bytes = NDArray[np.uint8]


class BrokenPictureError(Exception):
    """A picture that cannot be decoded, or is cut off."""


def to_rgb(
    data: bytes | Bytes, pixel_format: str, width: int, height: int, row_bytes: int = 0
) -> Image:
    """Decode one picture.

    Args:
        data: as the camera gave it.
        pixel_format: one of `FORMATS`, or ``MJPG``, which tells its own size.
        row_bytes: from one line (of the first plane) to the next, where lines are padded.

    Raises:
        BrokenPictureError: it is cut off or damaged, as happens on a bad cable.
    """
    raw = np.frombuffer(data, np.uint8)
    if pixel_format == MJPG:
        return _jpeg(raw)
    shape, convert = FORMATS[pixel_format]
    padded = max(width, row_bytes // _PIXEL_BYTES.get(pixel_format, 1))
    expected = shape(padded, height)
    size = int(np.prod(expected))
    if raw.size < size:
        raise BrokenPictureError(f"{raw.size} bytes of {size}")
    picture = convert(raw[:size].reshape(expected))[:, :width]
    return np.ascontiguousarray(picture, np.uint8)


def frame_bytes(pixel_format: str, width: int, height: int) -> int:
    """Return the size of a raw picture.

    Raises:
        UsageError: the format is none of `FORMATS`, or needs sides of even length.
    """
    if pixel_format not in FORMATS:
        raise UsageError(
            f"pixel format {pixel_format!r}; allowed for raw frames: {', '.join(FORMATS)}."
        )
    if pixel_format in _EVEN and (width % 2 or height % 2):
        raise UsageError(f"{pixel_format} needs an even width and height, not {width}x{height}.")
    return int(np.prod(FORMATS[pixel_format][0](width, height)))


def _jpeg(raw: Bytes) -> Image:
    import cv2

    try:
        image = cv2.imdecode(raw, cv2.IMREAD_COLOR_RGB) if raw.size else None
    except cv2.error as error:
        raise BrokenPictureError(error.err) from error
    if image is None:
        raise BrokenPictureError("no JPEG")
    return np.asarray(image, np.uint8)


def _by(code: str) -> Callable[[Bytes], Any]:
    """Convert by one of OpenCV's codes, which is looked up when it is first needed."""

    def convert(picture: Bytes) -> Any:
        import cv2

        return cv2.cvtColor(picture, getattr(cv2, code))

    return convert


MJPG = "MJPG"
_Shape = Callable[[int, int], tuple[int, ...]]
FORMATS: dict[str, tuple[_Shape, Callable[[Bytes], Any]]] = {
    "RGB3": (lambda w, h: (h, w, 3), lambda picture: picture),
    "BGR3": (lambda w, h: (h, w, 3), _by("COLOR_BGR2RGB")),
    "GREY": (lambda w, h: (h, w), _by("COLOR_GRAY2RGB")),
    "YUYV": (lambda w, h: (h, w, 2), _by("COLOR_YUV2RGB_YUYV")),
    "UYVY": (lambda w, h: (h, w, 2), _by("COLOR_YUV2RGB_UYVY")),
    "NV12": (lambda w, h: (h * 3 // 2, w), _by("COLOR_YUV2RGB_NV12")),
    "YU12": (lambda w, h: (h * 3 // 2, w), _by("COLOR_YUV2RGB_I420")),
}
"""By the four characters that V4L2 gives them; ffmpeg's names are rgb24, bgr24, gray, yuyv422,
uyvy422, nv12, yuv420p."""
_PIXEL_BYTES = {"RGB3": 3, "BGR3": 3, "YUYV": 2, "UYVY": 2}
"""In a line of the first plane; 1 for the others."""
_EVEN = ("YUYV", "UYVY", "NV12", "YU12")
