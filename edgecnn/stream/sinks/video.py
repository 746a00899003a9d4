"""The pictures with their labels, as a video file."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import UnavailableError
from edgecnn.files import refuse_existing
from edgecnn.stream.annotate import annotated
from edgecnn.stream.frame import Event
from edgecnn.stream.result import Result, Summary
from edgecnn.stream.sinks import About, Existing

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
syntax = f"FILE{', FILE'.join(CODECS)}, an annotated video"
USUAL_FPS = 10.0
KEEP_FREE_BYTES = 64 << 20
"""A full disk harms whatever else runs on the board; and a video that hits it cannot be ended."""
_LOOK_EVERY = 30
"""Frames between two looks at the free space."""


def matches(text: str) -> bool:
    """By the suffix."""
    return Path(text).suffix.lower() in CODECS


def make(text: str, existing: Existing) -> "Video":
    """Write to a new file; nothing can be appended to a video."""
    path = Path(text)
    refuse_existing(path, force=existing == "replace")
    return Video(path)


class Video:
    """Written at the source's rate where that is known; frames without a result are repeated, so
    that it runs as fast as what it shows."""

    newest_only = False
    essential = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._size: tuple[int, int] | None = None
        self._fps, self._count = USUAL_FPS, 0
        self._first = 0
        self._writer: Any = None

    def open(self, about: About) -> None:
        """See that there is a place for it; the size is the first picture's."""
        self._fps = about.fps or USUAL_FPS
        self._refuse_full()

    def result(self, result: Result) -> None:
        """Write the picture as often as it was on show until the next."""
        picture = annotated(result)
        if self._writer is None:
            self._begin(picture, result)
        for _ in range(max(1, result.frame - self._first + 1 - self._count)):
            if self._count % _LOOK_EVERY == 0:
                self._refuse_full()
            self._writer.write(self._fitted(picture))
            self._count += 1

    def event(self, event: Event) -> None:
        """Events are not shown."""

    def close(self, summary: Summary) -> None:
        """End the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()

    def _begin(self, picture: NDArray[np.uint8], result: Result) -> None:
        import cv2

        height, width = picture.shape[:2]
        self._size, self._first = (width, height), result.frame
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._path), code, self._fps, self._size)
        if not self._writer.isOpened():
            raise UnavailableError(f"{self._path}: no video can be written there.")

    def _fitted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A video has one size; a source may change its own."""
        import cv2

        if self._size is None or picture.shape[1::-1] == self._size:
            return picture
        return np.asarray(cv2.resize(picture, self._size), np.uint8)

    def _refuse_full(self) -> None:
        folder = self._path.absolute().parent
        free = shutil.disk_usage(folder).free
        if free < KEEP_FREE_BYTES:
            raise UnavailableError(
                f"the disk is full: {free / 1e6:.0f} MB are left in {folder}, at least "
                f"{KEEP_FREE_BYTES / 1e6:.0f} MB are kept free."
            )
