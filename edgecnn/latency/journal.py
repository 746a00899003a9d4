"""Samples in a file, each written when it is measured: an interruption loses none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from edgecnn.errors import DataError, UsageError
from edgecnn.files import DiskError
from edgecnn.host import Closing
from edgecnn.latency.sample import Sample

SCHEMA = 1
MAX_BYTES = 256 * 2**20


class Journal(Closing):
    """A file of lines: first what is measured, then a sample each."""

    def __init__(self, path: Path, subject: Mapping[str, Any]) -> None:
        """Open a journal, or go on with one of the same `subject`.

        Raises:
            UsageError: the file holds samples of another subject.
            DataError: it is no journal, or damaged other than by an interruption.
            DiskError: it cannot be written.
        """
        self.path = path
        self.samples: list[Sample] = []
        head = {"schema": SCHEMA, **subject}
        kept = self._read(head) if path.exists() else b""
        try:
            self._file: IO[bytes] = path.open("r+b" if kept else "wb")
            self._file.truncate(len(kept))
            self._file.seek(len(kept))
        except OSError as error:
            raise DiskError(f"{path} cannot be written: {error.strerror}.") from error
        if not kept:
            self._append(head)

    def add(self, sample: Sample) -> None:
        """Keep a sample.

        Raises:
            DiskError: it cannot be written.
        """
        self._append(sample.to_dict())
        self.samples.append(sample)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file: what it holds is kept elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _read(self, head: Mapping[str, Any]) -> bytes:
        """Return the whole lines; what an interruption left of one more is dropped."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise ValueError(f"larger than {MAX_BYTES} bytes")
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            lines = whole.splitlines()
            found = json.loads(lines[0]) if lines else head
            if not isinstance(found, dict):
                raise ValueError("it does not say what it is of")
            self.samples = [Sample.from_dict(json.loads(line)) for line in lines[1:]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path} is no journal of a calibration ({error}). Remove it to begin anew."
            ) from error
        changed = [name for name in head if found.get(name) != head[name]]
        if changed:
            differs = "; ".join(f"{n}: {found.get(n)!r} there, {head[n]!r} now" for n in changed)
            raise UsageError(
                f"{self.path} holds samples of another calibration ({differs}). Choose another "
                "output, or remove that file to begin anew."
            )
        return whole

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise DiskError(f"{self.path} cannot be written: {error.strerror}.") from error
