"""A sink in a thread of its own, with little room in front of it."""

import math
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

from edgecnn.errors import EdgecnnError
from edgecnn.stream.frame import Event
from edgecnn.stream.result import Result, Summary
from edgecnn.stream.sinks import Sink

ROOM = 256
"""Results that wait for a sink which is slow for a moment."""
CLOSE_TIMEOUT_S = 5.0


class Outlet:
    """Hands results and events to a sink; what does not fit is dropped and counted.

    With ``lossless``, whoever has a result waits for room in the place of that.
    """

    def __init__(self, sink: Sink, say: Callable[[Event], None], *, lossless: bool) -> None:
        self.sink, self.failed, self.lost = sink, False, 0
        self._say, self._lossless = say, lossless and not sink.newest_only
        self._changed = Condition()
        self._results: deque[Result] = deque(maxlen=1 if sink.newest_only else ROOM)
        self._events: deque[Event] = deque(maxlen=ROOM)
        self._closing = False
        self._thread = Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def result(self, result: Result) -> None:
        """Leave a result."""
        with self._changed:
            if self.failed:
                return
            if self._lossless:
                self._changed.wait_for(lambda: self.failed or not self._full)
            is_lost = self._full and not self.sink.newest_only
            self.lost += is_lost
            self._results.append(result)
            self._changed.notify_all()
        if is_lost and math.log10(self.lost).is_integer():
            # At 1, 10, 100, ...: a slow sink is told, and not with every result.
            self._say(
                Event("sink lost", f"{self.sink.name} is too slow; results lost: {self.lost}")
            )

    def event(self, event: Event) -> None:
        """Leave an event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def _full(self) -> bool:
        return len(self._results) == self._results.maxlen

    def close(self, summary: Summary) -> None:
        """Let the sink take what waits, and end it; one that hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            self._fail(f"did not end within {CLOSE_TIMEOUT_S:g} s")
            return
        try:
            self.sink.close(summary)
        except (OSError, EdgecnnError) as error:
            self._fail(str(error))

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                if isinstance(item, Event):
                    self.sink.event(item)
                else:
                    self.sink.result(item)
            except (OSError, EdgecnnError) as error:
                self._fail(str(error))
                return

    def _next(self) -> Result | Event | None:
        """Wait for what comes next, events first; None in the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._results or self._closing)
            waiting: deque[Event] | deque[Result] = self._events or self._results
            item = waiting.popleft() if waiting else None
            self._changed.notify_all()
            return item

    def _fail(self, why: str) -> None:
        with self._changed:
            already, self.failed = self.failed, True
            self._changed.notify_all()
        if not already:
            self._say(Event("sink failed", f"{self.sink.name}: {why}"))
