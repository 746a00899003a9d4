"""Processes that the runner forks: measuring workers, and the installer.

They are forked and not executed: a child starts in milliseconds on a slow board, and works under
QEMU's user emulation, where the kernel could not execute a program of another processor.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

Serve = Callable[[BinaryIO, BinaryIO], None]
"""Reads requests from one stream and writes answers to the other, until the first one ends."""

LAST_LINES = 8
MAX_DESCRIPTORS = 4096
_PR_SET_PDEATHSIG = 1


class Child:
    """A forked process that serves one end of a socket; its standard error is kept in memory."""

    def __init__(self, serve: Serve) -> None:
        ours, theirs = socket.socketpair()
        self._errors = os.memfd_create("stderr")
        self.pid = os.fork()
        if self.pid == 0:
            _become(serve, theirs, self._errors)
        theirs.close()
        self.socket = ours
        self.waiting: deque[int] = deque()
        self._buffer = bytearray()

    def send(self, line: bytes) -> None:
        """Pass a request on. A child that is gone takes none: `lines` tells of its end."""
        with contextlib.suppress(BrokenPipeError):
            self.socket.sendall(line)

    def lines(self) -> list[bytes] | None:
        """Return the complete lines that have arrived; None when the child is gone."""
        try:
            chunk = self.socket.recv(1 << 16)
        except ConnectionResetError:
            # It died with a request unread.
            return None
        if not chunk:
            return None
        self._buffer += chunk
        *complete, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        return complete

    def end(self, grace_s: float = 0.0) -> str:
        """Kill the child unless it ends within ``grace_s`` seconds; say how it ended."""
        deadline = time.monotonic() + grace_s
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while not pid and time.monotonic() < deadline:
            time.sleep(0.01)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        self.socket.close()
        size = os.fstat(self._errors).st_size
        words = os.pread(self._errors, size, 0).decode(errors="replace").strip().splitlines()
        os.close(self._errors)
        return _how(status) + "".join(f"\n  {line}" for line in words[-LAST_LINES:])


def _how(status: int) -> str:
    if os.WIFEXITED(status):
        return f"exit code {os.WEXITSTATUS(status)}"
    name = signal.Signals(os.WTERMSIG(status)).name
    return f"signal {name}" + (", perhaps out of memory" if name == "SIGKILL" else "")


def _become(serve: Serve, theirs: socket.socket, errors: int) -> None:
    """Turn this forked process into the child; never returns."""
    code = 1
    try:
        _die_with_parent()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for source, target in ((nowhere, 0), (errors, 1), (errors, 2)):
            os.dup2(source, target)
        channel = os.dup2(theirs.fileno(), 3)
        os.closerange(4, MAX_DESCRIPTORS)
        with os.fdopen(channel, "rb") as requests, os.fdopen(os.dup(channel), "wb") as answers:
            serve(requests, answers)
        code = 0
    except BrokenPipeError:
        # The runner is gone: there is nobody to tell.
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the runner's own code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the runner dies, even by SIGKILL (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
