"""A folder of images, one frame each."""

import time
from pathlib import Path

from edgecnn import images
from edgecnn.preprocess import read_image
from edgecnn.stream.frame import NS_PER_S, Frame
from edgecnn.stream.sources import Wanted

syntax = "FOLDER of images"
USUAL_FPS = 1.0


def matches(text: str) -> bool:
    """An existing folder."""
    return bool(text) and Path(text).is_dir()


def open(text: str, wanted: Wanted) -> "Folder":
    """List the images; with a pace, one a second or as many as wanted."""
    return Folder(Path(text), wanted)


class Folder:
    """The images in the order of their paths. One that cannot be decoded ends the stream."""

    live = False

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._paths = images.list_images(folder)
        self._pace, self._number = wanted.pace, -1
        self._start_ns = time.monotonic_ns()
        self.fps = wanted.fps or USUAL_FPS
        self.frames = len(self._paths)
        self.clock = "due" if wanted.pace else "arrival"
        self.name = f"{folder.name}, {self.frames} images"

    def read(self) -> Frame | None:
        """Decode the next image, and wait until it is due."""
        self._number += 1
        if self._number >= self.frames:
            return None
        image = read_image(self._paths[self._number])
        if not self._pace:
            return Frame(image, self._number, time.monotonic_ns())
        due_ns = self._start_ns + round(self._number * NS_PER_S / self.fps)
        late_ns = time.monotonic_ns() - due_ns
        if late_ns > 0:
            # Nothing was taken yet: the pictures that follow are due later by as much.
            self._start_ns += late_ns
            due_ns += late_ns
        time.sleep(max(0, -late_ns) / NS_PER_S)
        return Frame(image, self._number, due_ns)

    def close(self) -> None:
        """Nothing is open."""
