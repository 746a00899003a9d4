"""A source that does what a test says, and a network that takes as long as it says."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_onnx

from edgecnn.artifact import Artifact
from edgecnn.stream.frame import Frame
from edgecnn.stream.sources import SourceLostError, Wanted

LABELS = tuple(f"class {number}" for number in range(tiny_onnx.CLASSES))
HEIGHT, WIDTH = 36, 64


def model(folder: Path, name: str = "tiny", **given: Any) -> Artifact:
    """A tiny network with labels."""
    return tiny_onnx.artifact(folder / f"{name}.onnx", labels=LABELS, **given)


def picture(number: int) -> Any:
    """Noise, other for each number, as a sensor has it."""
    return np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@dataclass
class Camera:
    """A live source. ``script`` yields pictures, exceptions to raise, or None for the end."""

    script: Iterator[Any]
    fps: float = 100.0
    live: bool = True
    name: str = "scripted"
    frames: int | None = None
    clock: str = "capture"
    closed: int = 0
    _number: int = -1

    def read(self) -> Frame | None:
        item = next(self.script, None)
        if isinstance(item, Exception):
            raise item
        if item is None:
            return None
        self._number += 1
        time.sleep(1 / self.fps)
        return Frame(item, self._number, time.monotonic_ns())

    def close(self) -> None:
        self.closed += 1


@dataclass
class Cameras:
    """What opening a source gives, one after another: a camera, or an exception."""

    waiting: list[Any]
    opened: list[Any] = field(default_factory=list)

    def __call__(self, text: str, wanted: Wanted) -> Any:
        found = self.waiting.pop(0)
        self.opened.append(found)
        if isinstance(found, Exception):
            raise found
        return found


def plug(monkeypatch: pytest.MonkeyPatch, *waiting: Any) -> Cameras:
    """Let streams open these, whatever source they name."""
    cameras = Cameras(list(waiting))
    monkeypatch.setattr("edgecnn.stream.loop.open_source", cameras)
    monkeypatch.setattr("edgecnn.stream.capture.FIRST_WAIT_S", 0.02)
    return cameras


def pictures(count: int, start: int = 0) -> Iterator[Any]:
    """So many different pictures."""
    return (picture(number) for number in range(start, start + count))


def forever() -> Iterator[Any]:
    """Pictures without an end."""
    number = 0
    while True:
        yield picture(number % 500)
        number += 1


LOST = SourceLostError("unplugged")


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[str], float]) -> None:
    """Let each network take so much longer, by its name."""
    from edgecnn.stream.classifier import Classifier

    run = Classifier.run

    def slow(self: Classifier, prepared: Any) -> Any:
        time.sleep(seconds(self.name))
        return run(self, prepared)

    monkeypatch.setattr(Classifier, "run", slow)


def costing(monkeypatch: pytest.MonkeyPatch, **costs_ms: float) -> None:
    """Let networks have these costs when they are opened, in place of measured ones."""
    from edgecnn.stream import classifier

    run = classifier.Classifier.open.__func__  # type: ignore[attr-defined]

    def opened(kind: Any, *arguments: Any) -> Any:
        found = run(kind, *arguments)
        return replace(found, cost_ms=costs_ms[found.name])

    monkeypatch.setattr(classifier.Classifier, "open", classmethod(opened))
