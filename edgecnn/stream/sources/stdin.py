"""Raw frames from standard input, such as those of another program's camera."""

import os
import sys
import time

from edgecnn.errors import UsageError
from edgecnn.stream.frame import Frame
from edgecnn.stream.sources import Wanted
from edgecnn.stream.sources._pixels import frame_bytes, to_rgb

syntax = "-, raw frames from standard input (with --size and --pixel-format)"
USUAL_FORMAT = "RGB3"


def matches(text: str) -> bool:
    """A dash."""
    return text == "-"


def open(text: str, wanted: Wanted) -> "Stdin":
    """Take frames of the wanted size and pixel format from standard input."""
    if wanted.size is None:
        raise UsageError("raw frames do not tell their size; pass --size WIDTHxHEIGHT.")
    return Stdin(sys.stdin.fileno(), wanted.size, wanted.pixel_format or USUAL_FORMAT, wanted.fps)


class Stdin:
    """Frames back to back, without anything between them."""

    live = False
    clock = "arrival"
    frames = None

    def __init__(
        self, descriptor: int, size: tuple[int, int], pixel_format: str, fps: float | None
    ) -> None:
        self._descriptor, self._size, self._format = descriptor, size, pixel_format
        self._bytes = frame_bytes(pixel_format, *size)
        self._number = -1
        self.fps = fps
        self.name = f"standard input, {size[0]}x{size[1]} {pixel_format}"

    def read(self) -> Frame | None:
        """Wait for a whole frame; what is left of half a one at the end is no frame."""
        data = bytearray()
        while len(data) < self._bytes:
            part = os.read(self._descriptor, self._bytes - len(data))
            if not part:
                return None
            data += part
        self._number += 1
        captured_ns = time.monotonic_ns()
        return Frame(to_rgb(bytes(data), self._format, *self._size), self._number, captured_ns)

    def close(self) -> None:
        """Standard input belongs to the process."""
