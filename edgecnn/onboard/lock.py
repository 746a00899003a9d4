"""One session at a time measures on a board; who it is can be read by the others.

The lock is a kernel lock on a file, so that it is gone the moment its holder is, however it ended.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.errors import RefusedError

VARIABLE = "EDGECNN_BOARD_LOCK"
FOLDERS = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - shared by all users on purpose
HOLDER_BYTES = 4096
TAKEOVER_S = 5.0


def path() -> Path:
    """Return the file that all users of this board lock."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    writable = (folder for folder in FOLDERS if os.access(folder, os.W_OK))
    return next(writable, FOLDERS[-1]) / "edgecnn-board.lock"


def claim(file: Path, holder: Mapping[str, Any]) -> int:
    """Take the lock, and return its descriptor, which holds it until it is closed.

    ``holder`` says who: ``user``, ``host``, ``since``, ``what``, and ``token``. A runner that the
    same token left behind (its connection broke) is ended first.

    Raises:
        RefusedError: somebody else has it; the message says who.
    """
    descriptor = _open(file)
    if not _locked(descriptor):
        present = _read(descriptor)
        if present.get("token") != holder["token"] or not _end(present, descriptor):
            os.close(descriptor)
            raise RefusedError(
                f"the board is in use by {present.get('user', 'somebody')} at "
                f"{present.get('host', 'an unknown host')} since {present.get('since', '?')} "
                f"({present.get('what', '?')}). Wait until it is free, or use another board."
            )
    _write(descriptor, {**holder, "pid": os.getpid()})
    return descriptor


def _open(file: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        # Without O_CREAT first: kernels refuse to "create" what another user owns in /tmp.
        return os.open(file, flags)
    except FileNotFoundError:
        descriptor = os.open(file, flags | os.O_CREAT, 0o666)
        os.fchmod(descriptor, 0o666)
        return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(holder: Mapping[str, Any], descriptor: int) -> bool:
    """End a runner of our own that lost its desk; return whether its lock came free."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(int(holder["pid"]), number)
        except ProcessLookupError:
            # It ended by itself in the meantime.
            return _locked(descriptor)
        deadline = time.monotonic() + TAKEOVER_S
        while time.monotonic() < deadline:
            if _locked(descriptor):
                return True
            time.sleep(0.05)
    return False


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, HOLDER_BYTES, 0))
    except ValueError:
        # The holder has not written it yet, or had no space to: the lock itself counts.
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, holder: Mapping[str, Any]) -> None:
    text = json.dumps(holder).encode()[:HOLDER_BYTES]
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
