"""A text file that grows line by line."""

import os
import sys
from pathlib import Path
from typing import TextIO

from edgecnn.files import refuse_existing
from edgecnn.stream.sinks import Existing

STDOUT = "-"


class LineFile:
    """Each line is written at once, so that what was said is there when the power fails."""

    def __init__(self, text: str, existing: Existing) -> None:
        """Refuse a file that exists, where that is wanted; nothing is opened yet.

        Raises:
            UsageError: it exists and may not be touched.
        """
        self._path = None if text == STDOUT else Path(text)
        self._append = existing == "append"
        self._file: TextIO | None = None
        if self._path is not None:
            refuse_existing(self._path, force=existing != "refuse")

    def open(self) -> bool:
        """Open it; return whether it is new. Raises OSError."""
        if self._path is None:
            self._file = sys.stdout
            return True
        file = self._path.open("a" if self._append else "w", encoding="utf-8", newline="")
        self._file = file
        return file.tell() == 0

    def write(self, line: str) -> None:
        """Write a line. Raises OSError where the disk is full or nobody reads the pipe."""
        if self._file is not None:
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Close it; standard output belongs to the process."""
        file, self._file = self._file, None
        if file is not None and self._path is not None:
            os.fsync(file.fileno())
            file.close()
