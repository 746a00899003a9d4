"""Files that came from the desk, each under its digest, at most so many bytes of them."""

import base64
import errno
import hashlib
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgecnn.errors import UnavailableError, UsageError

LIMIT_BYTES = 1 << 30
LIMIT_VARIABLE = "EDGECNN_BOARD_CACHE_BYTES"
_KEY = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9]{1,8})?")
_PARTIAL = ".partial"
_READ_BYTES = 1 << 20
KEPT = 64


class Store:
    """A folder of files named ``SHA256.suffix``.

    The least recently used ones are removed when space is needed, never the last 64 that this
    session has asked for: what it is working on.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes or int(os.environ.get(LIMIT_VARIABLE) or LIMIT_BYTES)
        self._in_use: deque[str] = deque(maxlen=KEPT)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return those of ``keys`` that have to be sent."""
        return [key for key in keys if not self._touch(key)]

    def path(self, key: str) -> Path:
        """Return where the file ``key`` is, or will be.

        Raises:
            UsageError: ``key`` is not a SHA-256 digest with an ending.
        """
        if not _KEY.fullmatch(key):
            raise UsageError(f"{key!r} is no name in a store; allowed: SHA256.suffix.")
        return self._folder / key

    def received(self, key: str) -> int:
        """Return how many bytes of an unfinished file arrived earlier."""
        partial = self._partial(key)
        return partial.stat().st_size if partial.is_file() else 0

    def put(self, key: str, size: int, offset: int, data: str) -> int:
        """Append base64 ``data`` at ``offset`` of a file of ``size`` bytes; return its bytes here.

        The last part makes it a file of the store, if its digest is right.

        Raises:
            UnavailableError: no space, or the bytes that arrived are not those that were sent.
        """
        if offset == 0:
            self._make_room(key, size)
        chunk = base64.b64decode(data, validate=True)
        partial = self._partial(key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with partial.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(chunk)
                file.truncate()
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise self._unwritable(error, size) from error
        if offset + len(chunk) >= size:
            self._finish(key)
        return offset + len(chunk)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files that are not needed again."""
        for key in keys:
            self.path(key).unlink(missing_ok=True)

    def _finish(self, key: str) -> None:
        partial = self._partial(key)
        if _sha256(partial) != key[:64]:
            partial.unlink()
            raise UnavailableError("a file arrived damaged on the board; run the command again.")
        partial.rename(self.path(key))
        self._in_use.append(key)

    def _touch(self, key: str) -> bool:
        path = self.path(key)
        if not path.is_file():
            return False
        os.utime(path)
        self._in_use.append(key)
        return True

    def _make_room(self, key: str, size: int) -> None:
        """Remove what was used least recently until ``size`` more bytes are within the limit."""
        if size > self._limit_bytes:
            raise UnavailableError(
                f"a file of {size / 1e6:.0f} MB does not fit into the board's cache of "
                f"{self._limit_bytes / 1e6:.0f} MB; set {LIMIT_VARIABLE} there to allow more."
            )
        idle = [path for path in self._files() if path.name not in {key, *self._in_use}]
        total = sum(path.stat().st_size for path in self._files())
        for path in sorted(idle, key=lambda path: path.stat().st_mtime):
            if total + size <= self._limit_bytes and self._free_bytes() > size:
                return
            total -= path.stat().st_size
            path.unlink()

    def _files(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if path.is_file())

    def _free_bytes(self) -> int:
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    def _partial(self, key: str) -> Path:
        return self.path(key).with_name(key + _PARTIAL)

    def _unwritable(self, error: OSError, size: int) -> UnavailableError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return UnavailableError(
                f"no space left on the board for a file of {size / 1e6:.1f} MB in {self._folder}. "
                "Free some there, and run the command again; what was measured is kept here."
            )
        return UnavailableError(f"the board cannot write to {self._folder}: {error.strerror}.")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
