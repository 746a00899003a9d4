"""Whether a camera still sees, or sends the same picture again and again."""

from dataclasses import dataclass, replace

import numpy as np

from edgecnn.preprocess import Image
from edgecnn.stream.frame import NS_PER_S, Event, Frame

_STEP = 16
"""Every so many pixels are compared before all of them are."""


@dataclass
class Stillness:
    """Counts repeated pictures. No two pictures of a living sensor are equal: there is noise.

    A picture that was repeated for ``after_s`` has the age of its first showing, since nothing
    tells that it is newer.
    """

    after_s: float
    _first: Frame | None = None
    _frozen: bool = False

    def seen(self, frame: Frame) -> tuple[Frame, Event | None]:
        """Return the frame with what is known of its age, and what has changed."""
        first, was_frozen = self._first, self._frozen
        if first is None or not _equal(first.image, frame.image):
            self._first, self._frozen = frame, False
            back = Event("moving", "the camera sends new pictures again") if was_frozen else None
            return frame, back
        self._first = replace(first, repeated=first.repeated + 1)
        held_s = (frame.captured_ns - first.captured_ns) / NS_PER_S
        self._frozen = 0 < self.after_s <= held_s
        if not self._frozen:
            return replace(frame, repeated=self._first.repeated), None
        text = f"the camera has sent the same picture for {held_s:.1f} s"
        return (
            replace(self._first, number=frame.number),
            None if was_frozen else Event("frozen", text),
        )

    @property
    def frozen(self) -> bool:
        """Whether the last picture was repeated for too long."""
        return self._frozen


def _equal(one: Image, other: Image) -> bool:
    if one.shape != other.shape:
        return False
    alike = np.array_equal(one[::_STEP, ::_STEP], other[::_STEP, ::_STEP])
    return alike and np.array_equal(one, other)
