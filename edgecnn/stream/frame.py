"""A picture and the moment it was taken; and what happens to a stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic_ns, time_ns
from typing import Any, Literal

from edgecnn.preprocess import Image

NS_PER_MS = 1e6
NS_PER_S = 1e9


EventKind = Literal["opened", "lost", "back", "frozen", "moving", "over", "within", "step down",
                    "step up", "sink failed", "sink lost"]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    ``image`` is RGB, uint8, height x width x 3. ``number`` counts every frame that the source had,
    also those that nobody took: what is missing between two numbers was dropped. ``captured_ns`` is
    on the clock of ``time.monotonic_ns``, which nobody sets back. ``repeated`` counts the frames
    before it that showed the very same picture.
    """

    image: Image
    number: int
    captured_ns: int
    repeated: int = 0

    @property
    def age_ms(self) -> float:
        """How long ago it was taken."""
        return (monotonic_ns() - self.captured_ns) / NS_PER_MS


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the stream, at a moment of the monotonic clock.

    ``text`` says it for people, ``details`` for programs. A source is opened, lost and back; a
    camera is frozen, and moving again; the deadline is over, and within again; a network steps down
    or up; a sink failed, or was too slow for some results (sink lost).
    """

    kind: EventKind
    text: str
    at_ns: int = field(default_factory=monotonic_ns)
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        at = utc(self.at_ns)
        return {"event": self.kind, "at": at, "text": self.text, **self.details}


def utc(then_ns: int) -> str:
    """Return when a moment of the monotonic clock was, by today's wall clock, in ISO 8601."""
    return datetime.fromtimestamp(wall_ns(then_ns) / NS_PER_S, UTC).isoformat(
        timespec="milliseconds"
    )


def wall_ns(then_ns: int) -> int:
    """Return when a moment of the monotonic clock was, in ns since 1970 by today's wall clock."""
    return time_ns() - (monotonic_ns() - then_ns)
