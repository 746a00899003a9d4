"""What a stream says of one frame, and of all of them in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgecnn.preprocess import Image
from edgecnn.stream.frame import NS_PER_MS, Frame, utc

STAGES = ("wait", "prepare", "hold", "infer", "finish")
"""From capture to preparation, preparation, from there to the network, the network, the scores."""


@dataclass(frozen=True, slots=True)
class Score:
    """A class and its softmax score, from 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a network says of a frame.

    ``frame`` is its number in the source, ``dropped`` how many were passed over since the result
    before, ``repeated`` how many frames before it showed the very same picture.
    ``frame_age_ms`` is the time from capture to this result; `STAGES` add up to it. ``latency_ms``
    is the work in it: preparation, network and scores. ``top`` are the best classes, the best
    first, ``model`` is the network in use. ``image`` is not part of the JSON object.
    """

    frame: int
    captured_ns: int
    frame_age_ms: float
    latency_ms: float
    stages_ms: Mapping[str, float]
    dropped: int
    repeated: int
    model: str
    top: tuple[Score, ...]
    image: Image = field(repr=False)

    @classmethod
    def of(
        cls,
        frame: Frame,
        moments_ns: Sequence[int],
        dropped: int,
        model: str,
        top: tuple[Score, ...],
    ) -> "Result":
        """Make one; ``moments_ns`` are those between the `STAGES`, from capture to the end."""
        pairs = zip(STAGES, moments_ns, moments_ns[1:], strict=False)
        stages = {name: (end - start) / NS_PER_MS for name, start, end in pairs}
        return cls(
            frame=frame.number,
            captured_ns=frame.captured_ns,
            frame_age_ms=(moments_ns[-1] - moments_ns[0]) / NS_PER_MS,
            latency_ms=stages["prepare"] + stages["infer"] + stages["finish"],
            stages_ms=stages,
            dropped=dropped,
            repeated=frame.repeated,
            model=model,
            top=top,
            image=frame.image,
        )

    @property
    def captured_at(self) -> str:
        """When the frame was taken, by today's wall clock, ISO 8601."""
        return utc(self.captured_ns)

    @property
    def at_ns(self) -> int:
        """When the result was there, on the monotonic clock."""
        return self.captured_ns + round(self.frame_age_ms * NS_PER_MS)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "frame": self.frame,
            "captured_at": self.captured_at,
            "frame_age_ms": round(self.frame_age_ms, 3),
            "latency_ms": round(self.latency_ms, 3),
            "stages_ms": {name: round(ms, 3) for name, ms in self.stages_ms.items()},
            "dropped": self.dropped,
            "repeated": self.repeated,
            "model": self.model,
            "top": [{"label": one.label, "score": round(one.score, 5)} for one in self.top],
        }


@dataclass(frozen=True)
class Summary:
    """A stream that ended. ``passed`` is the verdict on its budget, None without one."""

    source: str
    seconds: float
    frames: int
    dropped: int
    repeated: int
    passed: bool | None
    budget_ms: float | None
    percentile: float | None
    late: int
    models: Mapping[str, int]
    """Results by network."""
    age_ms: Mapping[str, Any]
    infer_ms: Mapping[str, Any]
    ages: tuple[tuple[float, float, int], ...]
    """A histogram of frame ages: lower and upper limit in ms, results."""
    events: Mapping[str, int]
    """How often each kind of event happened."""
    ended: str
    """Why: ``end of the source``, ``stopped``, or what went wrong."""

    @property
    def rate(self) -> float:
        """Results a second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"summary": asdict(self) | {"results_per_second": round(self.rate, 3)}}
