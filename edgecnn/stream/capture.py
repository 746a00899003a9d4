"""Reading a source in a thread of its own, and coming back to it when it is lost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import uniform
from threading import Event as Flag
from threading import Thread

from edgecnn.errors import EdgecnnError, UnavailableError, UsageError
from edgecnn.stream.frame import NS_PER_S, Event, Frame
from edgecnn.stream.slot import Slot
from edgecnn.stream.sources import Source, SourceLostError
from edgecnn.stream.still import Stillness

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Before a lost source is tried again; doubled each time, and a little random, so that cameras
that were lost together do not all come back at once."""
_SMOOTH = 0.1
"""Share of the newest interval in the mean that gives the frame rate."""

Say = Callable[[Event], None]


@dataclass
class Rate:
    """Frames a second, as they come."""

    _last_ns: int | None = None
    _period_ns: float | None = None

    def add(self, captured_ns: int) -> None:
        """Count a frame."""
        if self._last_ns is not None:
            period_ns = captured_ns - self._last_ns
            mean_ns = self._period_ns
            self._period_ns = period_ns if mean_ns is None else (
                mean_ns + _SMOOTH * (period_ns - mean_ns)
            )  # fmt: skip
        self._last_ns = captured_ns

    @property
    def fps(self) -> float | None:
        """None until two frames came."""
        return NS_PER_S / self._period_ns if self._period_ns else None


class Capture:
    """A source that is read until it ends or is stopped; its frames lie in ``slot``."""

    def __init__(
        self, opens: Callable[[], Source], say: Say, *, lossless: bool, frozen_after_s: float
    ) -> None:
        """Open the source for the first time, so that the caller hears what is wrong with it.

        Args:
            opens: gives the source, also again after it was lost.

        Raises:
            UsageError: ``lossless`` of a live source, whose frames would wait and grow old.
            EdgecnnError: see `edgecnn.stream.sources.Kind.open`.
        """
        self.slot: Slot[Frame] = Slot(lossless=lossless)
        self.source: Source = opens()
        if lossless and self.source.live:
            self.source.close()
            raise UsageError(
                f"{self.source.name} does not wait: --every-frame is for files and standard input."
            )
        self.error: EdgecnnError | None = None
        self.rate = Rate()
        self.connected = True
        self.still = Stillness(frozen_after_s if self.source.live else 0.0)
        self._opens, self._say = opens, say
        self._next = 0
        self._stop = Flag()
        self._thread = Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        about = {"clock": self.source.clock, "fps": self.source.fps}
        self._say(Event("opened", self.source.name, details=about))
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the reading; a camera that hangs is not waited for any longer."""
        self._stop.set()
        self.slot.close()
        if self._thread.ident is None:
            self.source.close()
        else:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._read_until_lost():
                self._come_back()
        except EdgecnnError as error:
            self.error = error
        finally:
            self.source.close()
            self.slot.close()

    def _read_until_lost(self) -> bool:
        """Hand over frames; return whether the source was lost, and not at its end."""
        first, source = self._next, self.source
        while not self._stop.is_set():
            try:
                frame = source.read()
            except SourceLostError as error:
                self.connected = False
                self._say(Event("lost", str(error)))
                return True
            if frame is None or not self._hand_over(replace(frame, number=first + frame.number)):
                return False
        return False

    def _hand_over(self, frame: Frame) -> bool:
        self._next = frame.number + 1
        self.rate.add(frame.captured_ns)
        if self.source.live:
            frame, happened = self.still.seen(frame)
            if happened is not None:
                self._say(happened)
        return self.slot.put(frame)

    def _come_back(self) -> None:
        """Open the source again, waiting longer each time."""
        wait_s = FIRST_WAIT_S
        self.source.close()
        while not self._stop.wait(wait_s * uniform(0.8, 1.2)):  # noqa: S311 (no secrets)
            try:
                self.source = self._opens()
            except UnavailableError:
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            self.connected = True
            self._say(Event("back", self.source.name))
            return
