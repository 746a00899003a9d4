"""A table of results as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Iterable

from edgecnn.stream.frame import Event
from edgecnn.stream.result import STAGES, Result, Summary
from edgecnn.stream.sinks import About, Existing
from edgecnn.stream.sinks._files import LineFile

syntax = "FILE.csv"
COLUMNS = ("frame", "captured_at", "frame_age_ms", "latency_ms", "dropped", "repeated", "model",
           "label", "score", *(f"{stage}_ms" for stage in STAGES))  # fmt: skip


def matches(text: str) -> bool:
    """By the suffix."""
    return text.endswith(".csv")


def make(text: str, existing: Existing) -> "Csv":
    """Write to a new file."""
    return Csv(text, existing)


class Csv:
    """One row for each result, with its best class."""

    newest_only = False
    essential = False

    def __init__(self, text: str, existing: Existing) -> None:
        self.name = text
        self._lines = LineFile(text, existing)

    def open(self, about: About) -> None:
        """Open the file; a new one has a header."""
        if self._lines.open():
            self._write(COLUMNS)

    def result(self, result: Result) -> None:
        """Write a row."""
        best = result.top[0]
        stages = (f"{result.stages_ms[stage]:.3f}" for stage in STAGES)
        self._write((result.frame, result.captured_at, f"{result.frame_age_ms:.3f}",
                     f"{result.latency_ms:.3f}", result.dropped, result.repeated, result.model,
                     best.label, f"{best.score:.5f}", *stages))  # fmt: skip

    def event(self, event: Event) -> None:
        """Events have no row."""

    def close(self, summary: Summary) -> None:
        """Close the file."""
        self._lines.close()

    def _write(self, cells: Iterable[object]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(cells)
        self._lines.write(line.getvalue())
