"""A stream of the network: RTSP, HTTP, TCP, UDP, RTMP, SRT, as far as FFmpeg reads them.

Frames are read as they come, whoever takes them, so that none grows old in a buffer.
"""

import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from edgecnn.errors import UnavailableError
from edgecnn.stream.frame import Frame
from edgecnn.stream.sources import SourceLostError, Wanted
from edgecnn.stream.sources._opencv import open_capture, positive, rgb

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtmp", "srt")
syntax = f"URL ({', '.join(SCHEMES)})"

_LOW_DELAY = {"fflags": "nobuffer", "flags": "low_delay"}
_RTSP = {"rtsp_transport": "tcp"}
"""Over UDP a lost packet damages pictures until the next key frame."""


def matches(text: str) -> bool:
    """A URL of a scheme that FFmpeg reads."""
    return urlsplit(text).scheme in SCHEMES and "://" in text


def open(text: str, wanted: Wanted) -> "Url":
    """Connect, and decode the first frame."""
    options = _LOW_DELAY | (_RTSP if urlsplit(text).scheme.startswith("rtsp") else {})
    capture = open_capture(text, options, wanted.timeout_s)
    if capture is None:
        raise UnavailableError(
            f"{without_secrets(text)}: no answer within {wanted.timeout_s:g} s, or no video. Check "
            "the address, user and password, and that the server runs."
        )
    return Url(without_secrets(text), capture, wanted)


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Url:
    """Frames of a stream; ``captured_ns`` is when a frame had arrived and was being decoded."""

    live = True
    clock = "arrival"
    frames = None

    def __init__(self, name: str, capture: Any, wanted: Wanted) -> None:
        import cv2

        self._capture, self._timeout_s = capture, wanted.timeout_s
        self._number = -1
        self.fps = positive(capture.get(cv2.CAP_PROP_FPS))
        self.name = name

    def read(self) -> Frame | None:
        """Wait for the next frame and decode it."""
        if not self._capture.grab():
            raise SourceLostError(
                f"{self.name}: the stream ended, or nothing came for {self._timeout_s:g} s."
            )
        captured_ns = time.monotonic_ns()
        good, picture = self._capture.retrieve()
        if not good:
            raise SourceLostError(f"{self.name}: a frame could not be decoded.")
        self._number += 1
        return Frame(rgb(picture), self._number, captured_ns)

    def close(self) -> None:
        """Hang up."""
        self._capture.release()
