"""A camera of the Linux kernel: /dev/video0 and so on."""

import errno
import select
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream.frame import NS_PER_S, Frame
from edgecnn.stream.sources import SourceLostError, Wanted
from edgecnn.stream.sources._pixels import FORMATS, MJPG, BrokenPictureError, to_rgb

syntax = "N or /dev/videoN, a camera"
FOLDER = "/dev"
USUAL_FPS = 30.0
USUAL_SIZE = (640, 480)
_BUFFERS = 3
"""One that the camera fills, one that waits, one that is read."""


@dataclass(frozen=True)
class Mode:
    """What a camera can give: a pixel format at a size, up to so many frames a second."""

    pixel_format: str
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.pixel_format} {self.fps:g} frames/s"


def matches(text: str) -> bool:
    """A number, or a path of a video device."""
    return text.isdecimal() or text.startswith(f"{FOLDER}/video")


def open(text: str, wanted: Wanted) -> "Camera":
    """Open a camera in the mode that suits best."""
    try:
        from linuxpy.video import device as v4l2
    except ImportError as error:
        raise UnavailableError(
            "cameras need linuxpy, which is not installed: pip install 'edgecnn[camera]'"
        ) from error
    path = Path(f"{FOLDER}/video{text}" if text.isdecimal() else text)
    device = v4l2.Device(str(path))
    try:
        device.open()
        return Camera(path, device, v4l2, wanted)
    except (OSError, v4l2.V4L2Error) as error:
        device.close()
        raise UnavailableError(_why(path, error)) from error


def negotiate(modes: Sequence[Mode], wanted: Wanted) -> Mode:
    """Choose a mode: large enough, then fast enough, then cheap to decode.

    Large enough is at least the wanted size, or without one at least what the network needs along
    the shorter side; the smallest of those, since what is larger is scaled down again.

    Raises:
        UsageError: there is no mode of the wanted pixel format, or none that can be decoded.
    """
    known = [mode for mode in modes if mode.pixel_format in (MJPG, *FORMATS)]
    asked = wanted.pixel_format
    usable = [mode for mode in known if asked in (None, mode.pixel_format)]
    if not usable:
        found = ", ".join(sorted({mode.pixel_format for mode in modes})) or "none"
        allowed = asked or ", ".join((MJPG, *FORMATS))
        raise UsageError(f"the camera gives the pixel formats {found}; allowed: {allowed}.")
    fps = wanted.fps or USUAL_FPS

    def rank(mode: Mode) -> tuple[float, ...]:
        short = _missing(mode, wanted)
        slow = max(0.0, fps - mode.fps)
        return short, slow, mode.width * mode.height, mode.pixel_format == MJPG, -mode.fps

    return min(usable, key=rank)


def _missing(mode: Mode, wanted: Wanted) -> float:
    """By how many pixels a mode is too small."""
    if wanted.size is None:
        return max(0.0, wanted.needed - min(mode.width, mode.height))
    return sum(max(0.0, need - has) for need, has in
               zip(wanted.size, (mode.width, mode.height), strict=True))  # fmt: skip


class Camera:
    """A streaming camera; its frames carry the driver's time and number."""

    live = True
    frames = None

    def __init__(self, path: Path, device: Any, v4l2: Any, wanted: Wanted) -> None:
        self._path, self._device, self._timeout_s = path, device, wanted.timeout_s
        self._errors = (OSError, v4l2.V4L2Error)
        mode = negotiate(tuple(_modes(device, wanted)), wanted)
        self._capture = v4l2.VideoCapture(device, size=_BUFFERS)
        self._capture.set_format(mode.width, mode.height, mode.pixel_format)
        with suppress(OSError):
            # Some drivers have one rate only and refuse to be asked.
            self._capture.set_fps(wanted.fps or min(mode.fps, USUAL_FPS))
        given = self._capture.get_format()
        self._shape = given.width, given.height, given.bytes_per_line
        self._format = mode.pixel_format
        self._monotonic = v4l2.BufferFlag.TIMESTAMP_MONOTONIC
        self.clock = "capture"
        self.fps = _told_fps(self._capture) or mode.fps
        self._capture.open()
        card = device.info.card
        self.name = f"{card} ({path}), {given.width}x{given.height} {self._format}"

    def read(self) -> Frame | None:
        """Wait for a picture; one that is damaged is passed over."""
        while True:
            found = self._grab()
            captured_ns = self._captured_ns(found)
            try:
                image = to_rgb(bytes(found), self._format, *self._shape)
            except BrokenPictureError:
                continue
            return Frame(image, found.frame_nb, captured_ns)

    def _grab(self) -> Any:
        try:
            ready, _, _ = select.select([self._device.fileno()], [], [], self._timeout_s)
            if not ready:
                raise SourceLostError(
                    f"{self._path}: no picture for {self._timeout_s:g} s; the camera hangs."
                )
            return self._capture.buffer.raw_read()
        except self._errors as error:
            raise SourceLostError(f"{self._path}: {_why(self._path, error)}") from error

    def _captured_ns(self, found: Any) -> int:
        """The driver's time where it is of the monotonic clock, else that of arrival."""
        now_ns = time.monotonic_ns()
        if self._monotonic not in found.flags:
            self.clock = "arrival"
            return now_ns
        return min(now_ns, int(found.timestamp * NS_PER_S))

    def close(self) -> None:
        """Stop and close the camera; one that was unplugged has nothing to stop."""
        with suppress(*self._errors):
            self._capture.close()
        with suppress(OSError):
            self._device.close()


def _modes(device: Any, wanted: Wanted) -> Iterable[Mode]:
    """Yield what the camera lists; where it takes any size, the wanted one within its limits."""
    for found in device.info.frame_types:
        fps = float(max(found.min_fps, found.max_fps)) or USUAL_FPS
        yield Mode(found.pixel_format.human_str(), found.width, found.height, fps)
    for found in device.info.frame_sizes():
        if hasattr(found.info, "min_width"):
            width, height = wanted.size or USUAL_SIZE
            limits = found.info
            yield Mode(
                found.pixel_format.human_str(),
                min(max(width, limits.min_width), limits.max_width),
                min(max(height, limits.min_height), limits.max_height),
                USUAL_FPS,
            )


def _told_fps(capture: Any) -> float | None:
    with suppress(OSError):
        return float(capture.get_fps()) or None
    return None


def _why(path: Path, error: Exception) -> str:
    """What went wrong and what to do."""
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        here = ", ".join(sorted(map(str, Path(FOLDER).glob("video*")))) or "none"
        return f"{path}: no camera; here are: {here}. Check the cable, or wait for it to start."
    if code in (errno.EACCES, errno.EPERM):
        return f"{path}: no permission; add the user to the group video (usermod -aG video USER)."
    if code == errno.EBUSY:
        return f"{path}: another program uses it."
    return f"{path}: {error}"
