"""Making inputs of frames in a thread of its own, while the network runs.

Not of all frames: just before the network will be free, the newest one is taken, so that its result
is as young as can be, and no processor time goes into inputs that nobody uses.
"""

from dataclasses import dataclass
from time import monotonic_ns, sleep
from typing import Any

from numpy.typing import NDArray

from edgecnn.stream.classifier import Classifier
from edgecnn.stream.frame import NS_PER_S, Frame
from edgecnn.stream.slot import Slot
from edgecnn.stream.stage import Stage

_EARLY_SPREADS, _EARLY_NS = 2.0, 500_000
"""The network is expected to be free so much sooner than it mostly is: in mean deviations of its
time, and at least. An input that is ready too early grows old; one that is late costs as much."""
_SMOOTH = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The input made of a frame for a classifier, and when that began and ended."""

    frame: Frame
    classifier: Classifier
    array: NDArray[Any]
    began_ns: int
    ended_ns: int

    @classmethod
    def of(cls, frame: Frame, classifier: Classifier) -> "Prepared":
        """Make it now."""
        began_ns = monotonic_ns()
        array = classifier.prepare(frame.image)
        return cls(frame, classifier, array, began_ns, monotonic_ns())


class Preparation(Stage[Prepared]):
    """Takes frames from one slot, leaves inputs in another."""

    def __init__(self, frames: Slot[Frame], classifier: Classifier, *, every_frame: bool) -> None:
        super().__init__("preparation")
        self._classifier = classifier
        self._frames, self._every_frame = frames, every_frame
        self._run_ns = self._spread_ns = self._prepare_ns = 0.0

    def ran(self, run_ns: int) -> None:
        """Learn how long the network takes."""
        if self._run_ns:
            self._spread_ns = _mean(self._spread_ns, abs(run_ns - self._run_ns))
        self._run_ns = _mean(self._run_ns, run_ns)

    def restart(self, classifier: Classifier) -> None:
        """Make inputs for another network from now on."""
        self._classifier = classifier
        self._run_ns = self._spread_ns = 0.0

    def work(self) -> None:
        """Make inputs until there are no more frames."""
        while self.slot.wait_empty():
            self._wait_for_the_right_moment()
            frame = self._frames.take()
            if frame is None:
                return
            prepared = Prepared.of(frame, self._classifier)
            self._prepare_ns = _mean(self._prepare_ns, prepared.ended_ns - prepared.began_ns)
            self.slot.put(prepared)

    def _wait_for_the_right_moment(self) -> None:
        """The network has just begun to run: be ready when it ends."""
        if not self._every_frame:
            early_ns = self._prepare_ns + _EARLY_SPREADS * self._spread_ns + _EARLY_NS
            sleep(max(0.0, self._run_ns - early_ns) / NS_PER_S)


def _mean(mean: float, new: float) -> float:
    """A mean that follows the last few values; 0 is none yet."""
    return mean + _SMOOTH * (new - mean) if mean else new
