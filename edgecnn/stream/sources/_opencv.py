"""OpenCV's reader of encoded video, as files and URLs use it."""

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecnn.preprocess import Image

_ENVIRONMENT = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_QUIET = {"OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "ERROR"}
"""What FFmpeg and OpenCV say of a broken packet is of no use to whoever watches the stream."""
_opening = threading.Lock()


def open_capture(place: str, options: Mapping[str, str], timeout_s: float) -> Any | None:
    """Open a file or URL with FFmpeg's ``options``; None where it cannot be opened.

    OpenCV takes them from the environment alone, and reads it while it opens.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import cv2

    milliseconds = round(timeout_s * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds,
              cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]  # fmt: skip
    with _opening:
        before = os.environ.get(_ENVIRONMENT)
        os.environ[_ENVIRONMENT] = "|".join(f"{key};{value}" for key, value in options.items())
        try:
            capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
        finally:
            if before is None:
                del os.environ[_ENVIRONMENT]
            else:
                os.environ[_ENVIRONMENT] = before
    return capture if capture.isOpened() else None


def rgb(picture: Any) -> Image:
    """Return OpenCV's BGR (or grey) picture as RGB."""
    import cv2

    code = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def positive(value: float) -> float | None:
    """What a capture tells of itself, where it tells anything."""
    return value if 0 < value < 1e6 else None
