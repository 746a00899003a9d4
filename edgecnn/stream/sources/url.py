"""A stream of the network: RTSP, HTTP, TCP, UDP, RTMP, SRT, as far as FFmpeg reads them.

PyAV is FFmpeg's libraries in Python. Frames are read as they come, whoever takes them, so that none
grows old in a buffer.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from edgecnn.errors import UnavailableError
from edgecnn.stream.frame import Frame
from edgecnn.stream.sources import SourceLostError, Wanted

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtmp", "srt")
syntax = f"URL ({', '.join(SCHEMES)})"

_LOW_DELAY = {"fflags": "nobuffer", "flags": "low_delay"}
_RTSP = {"rtsp_transport": "tcp"}
"""Over UDP a lost packet damages pictures until the next key frame."""


def matches(text: str) -> bool:
    """A URL of a scheme that FFmpeg reads."""
    return urlsplit(text).scheme in SCHEMES and "://" in text


def open(text: str, wanted: Wanted) -> "Url":
    """Connect, and find the video in what comes."""
    try:
        import av
    except ImportError as error:
        raise UnavailableError(
            "streams of the network need PyAV, which is not installed: "
            "pip install 'edgecnn[stream]'"
        ) from error
    av.logging.set_level(av.logging.PANIC)
    options = _LOW_DELAY | (_RTSP if urlsplit(text).scheme.startswith("rtsp") else {})
    name, limit_s = without_secrets(text), wanted.timeout_s
    try:
        container = av.open(text, options=options, timeout=(limit_s, limit_s))
    except (av.FFmpegError, OSError) as error:
        raise UnavailableError(
            f"{name}: no answer within {limit_s:g} s, or no video. Check the address, user and "
            "password, and that the server runs."
        ) from error
    if not container.streams.video:
        container.close()
        raise UnavailableError(f"{name}: it has no video.")
    return Url(name, container, limit_s)


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Url:
    """Frames of a stream; ``captured_ns`` is when the last packet of a frame had arrived."""

    live = True
    clock = "arrival"
    frames = None

    def __init__(self, name: str, container: Any, timeout_s: float) -> None:
        import av

        self._errors: tuple[type[Exception], ...] = (av.FFmpegError, OSError)
        self._damaged = av.error.InvalidDataError
        self._container, self._timeout_s = container, timeout_s
        self._stream = container.streams.video[0]
        # Threads that decode several frames at once hold each of them back.
        self._stream.thread_type = "SLICE"
        self._decoded = self._decode()
        self._number = -1
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        self.name = name

    def read(self) -> Frame | None:
        """Wait for the next frame and decode it."""
        try:
            frame = next(self._decoded, None)
        except self._errors as error:
            raise SourceLostError(self._gone) from error
        if frame is None:
            raise SourceLostError(self._gone)
        return frame

    @property
    def _gone(self) -> str:
        return f"{self.name}: the stream ended, or nothing came for {self._timeout_s:g} s."

    def _decode(self) -> Iterator[Frame]:
        """Yield frames; a packet that is damaged is passed over."""
        for packet in self._container.demux(self._stream):
            captured_ns = time.monotonic_ns()
            with suppress(self._damaged):
                for picture in packet.decode():
                    self._number += 1
                    image = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
                    yield Frame(image, self._number, captured_ns)

    def close(self) -> None:
        """Hang up."""
        with suppress(*self._errors):
            self._container.close()
