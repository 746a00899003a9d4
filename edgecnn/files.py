"""Writing files so that a reader never sees half of one, and keeping other writers away."""

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgecnn.errors import EdgecnnError, UsageError

_DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)


class DiskError(EdgecnnError):
    """A file could not be written: no space, no permission."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when the block succeeds.

    The temporary file has the ending of ``path``, for writers that look at it. It is removed when
    the block fails.

    Raises:
        DiskError: the folder cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".edgecnn-", dir=path.parent))
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror}).") from error
    try:
        temporary = folder / path.name
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _DISK_ERRNOS:
            raise
        raise DiskError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step.

    Raises:
        DiskError: the file cannot be written.
    """
    with writing(path) as temporary:
        temporary.write_bytes(data)


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to write over a file.

    Raises:
        UsageError: ``path`` exists and ``force`` is not set.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} exists; pass --force to write over it, or --output elsewhere.")


def claim(path: Path, taken: str) -> IO[str]:
    """Lock a file, made where it is not there; the kernel frees it when it is closed, or this
    process ends in any way.

    Raises:
        UsageError: another process holds it; ``taken`` is the message.
        DiskError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror}).") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(taken) from None
    return file
