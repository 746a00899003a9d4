"""A video file, at its own pace or as fast as its frames are taken."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.errors import DataError
from edgecnn.preprocess import Image
from edgecnn.stream.frame import NS_PER_S, Frame
from edgecnn.stream.sources import Wanted

syntax = "FILE, a video"
USUAL_FPS = 25.0
"""Where a file does not tell its own."""


def matches(text: str) -> bool:
    """Whatever is no other kind."""
    return bool(text)


def open(text: str, wanted: Wanted) -> "VideoFile":
    """Open a video file."""
    path = Path(text)
    if not path.is_file():
        raise DataError(f"{text}: no such file.")
    import cv2

    # What FFmpeg says of a file that is none is of no use beside our own words.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise DataError(f"{path}: not a video that can be decoded.")
    return VideoFile(path, capture, wanted)


class VideoFile:
    """Frames of a file; in real time those that were due while nobody read are skipped."""

    live = False

    def __init__(self, path: Path, capture: Any, wanted: Wanted) -> None:
        import cv2

        self._capture, self._pace = capture, wanted.pace
        self._number = -1
        self._start_ns: int | None = None
        own = _positive(capture.get(cv2.CAP_PROP_FPS))
        count = _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = wanted.fps or own or USUAL_FPS
        self.frames = None if count is None else round(count)
        self.clock = "due" if wanted.pace else "arrival"
        width, height = (round(capture.get(prop)) for prop in
                         (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))  # fmt: skip
        self.name = f"{path.name}, {width}x{height}, {self.fps:.3g} frames/s"

    def read(self) -> Frame | None:
        """Decode the next frame, and wait until it is due."""
        if not self._grab():
            return None
        self._number += 1
        good, picture = self._capture.retrieve()
        if not good:
            return None
        image = _rgb(picture)
        due_ns = self._due_ns()
        if self._pace:
            time.sleep(max(0, due_ns - time.monotonic_ns()) / NS_PER_S)
        return Frame(image, self._number, due_ns)

    def _grab(self) -> bool:
        """Go to the frame that is due next: a frame whose successor is due as well is too late."""
        while self._capture.grab():
            period_ns = NS_PER_S / self.fps
            if not self._pace or self._start_ns is None:
                return True
            if self._start_ns + (self._number + 2) * period_ns > time.monotonic_ns():
                return True
            self._number += 1
        return False

    def _due_ns(self) -> int:
        now_ns = time.monotonic_ns()
        if not self._pace:
            return now_ns
        if self._start_ns is None:
            self._start_ns = now_ns
        return self._start_ns + round(self._number * NS_PER_S / self.fps)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _rgb(picture: Any) -> Image:
    """Return OpenCV's BGR picture as RGB."""
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _positive(value: float) -> float | None:
    """What a file tells of itself, where it tells anything."""
    return value if 0 < value < 1e9 else None
