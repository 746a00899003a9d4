"""JSON lines: an object for each frame, each event, and one for the end."""

import json
from typing import Any

from edgecnn.stream.frame import Event
from edgecnn.stream.result import Result, Summary
from edgecnn.stream.sinks import About, Existing
from edgecnn.stream.sinks._files import STDOUT, LineFile

syntax = "FILE.jsonl, or - for JSON lines on standard output"


def matches(text: str) -> bool:
    """By the suffix, or the dash."""
    return text == STDOUT or text.endswith((".jsonl", ".ndjson"))


def make(text: str, existing: Existing) -> "JsonLines":
    """Write to a new file or to standard output."""
    return JsonLines(text, existing)


class JsonLines:
    """Objects have the key ``frame``, ``event`` or ``summary``."""

    newest_only = False

    def __init__(self, text: str, existing: Existing) -> None:
        self.name = "standard output" if text == STDOUT else text
        # Where its reader has gone, as `head` does, there is nothing left to do.
        self.essential = text == STDOUT
        self._lines = LineFile(text, existing)

    def open(self, about: About) -> None:
        """Open the file."""
        self._lines.open()

    def result(self, result: Result) -> None:
        """Write a line."""
        self._write(result.to_dict())

    def event(self, event: Event) -> None:
        """Write a line."""
        self._write(event.to_dict())

    def close(self, summary: Summary) -> None:
        """Write the last line and close."""
        self._write(summary.to_dict())
        self._lines.close()

    def _write(self, row: dict[str, Any]) -> None:
        self._lines.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
