"""What viewers see: the newest result, shared by all, and never waited for."""

import asyncio
from collections import deque
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np

from edgecnn.stream.frame import Event
from edgecnn.stream.page.guard import without_folders
from edgecnn.stream.result import Result

EVENTS = 50
WIDEST = 960
"""Pixels; a larger picture is made smaller for the page."""
QUALITY = 80


class Hub:
    """The newest result and the last events, with a number that grows with each result.

    Viewers wait for a number above the one that they have shown: a slow one passes over results,
    and costs the others nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.newest: Result | None = None
        self.events: deque[tuple[int, dict[str, Any]]] = deque(maxlen=EVENTS)
        self.number = 0
        self._last_s = monotonic()
        self._loop = loop
        self._changed = asyncio.Condition()
        self._lock = Lock()
        self._jpeg: tuple[int, bytes] = (0, b"")

    def publish(self, result: Result) -> None:
        """Show a result; from any thread."""
        self.newest = result
        self.number += 1
        self._last_s = monotonic()
        self._wake()

    @property
    def silent_s(self) -> float:
        """Seconds since the last result, or since the beginning."""
        return monotonic() - self._last_s

    def tell(self, event: Event) -> None:
        """Show an event; from any thread."""
        row = event.to_dict()
        shown = {key: row[key] for key in ("event", "at", "text")}
        shown["text"] = without_folders(event.text)
        number = self.events[-1][0] + 1 if self.events else 1
        self.events.append((number, shown))
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._notify()))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def after(self, number: int, timeout_s: float) -> int:
        """Wait for a result with a higher number; the last one's after so long."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: self.number > number)
            except TimeoutError:
                pass
        return self.number

    def events_after(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of the last event, and those above ``number``."""
        found = [row for at, row in self.events if at > number]
        return (self.events[-1][0] if self.events else number), found

    def jpeg(self) -> bytes:
        """Return the newest picture, encoded once however many look at it."""
        with self._lock:
            number, result = self.number, self.newest
            if self._jpeg[0] != number and result is not None:
                self._jpeg = (number, _encoded(result.image))
            return self._jpeg[1]


def _encoded(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    import cv2

    height, width = image.shape[:2]
    if width > WIDEST:
        size = (WIDEST, max(1, height * WIDEST // width))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
