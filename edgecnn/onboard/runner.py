"""The runner: what a desk talks to on a board, over the standard streams of one SSH channel.

One JSON object a line. A request is ``{"id", "op", ...arguments}`` and its answer ``{"id", "ok"}``
or ``{"id", "error": {"kind", "message"}}`` with the name of an EdgecnnError; ``op`` is a public
method of :class:`Runner`. The first line is a greeting. The runner measures nothing itself: it
forks the measuring processes and passes their lines on. It ends, and its children with it, when its
input ends, when it is told to by a signal, or when the desk has been silent for too long.
"""

import json
import os
import select
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError, MeasurementError, UsageError
from edgecnn.onboard import lock, services
from edgecnn.onboard.children import Child
from edgecnn.onboard.store import Store

PROTOCOL = 1
SILENCE_S = 30.0
"""The desk asks for a sign of life every few seconds; after so long without one it is gone."""
LAST_GRACE_S = 2.0
"""For a child that has closed its side: until then it may still be ending by itself."""
MAX_REQUEST_BYTES = 4 * 2**20
EMULATED_VARIABLE = "EDGECNN_EMULATED"
"""Set where the processor is emulated, so that nothing is timed there."""


class Runner:
    """The requests that a desk may make. Nothing but :meth:`claim` is done before it was made."""

    def __init__(self, home: Path) -> None:
        self.children: dict[int, Child] = {}
        self.ended: dict[int, str] = {}
        """How children ended that the desk did not end."""
        self.selector = selectors.DefaultSelector()
        self.silence_s = SILENCE_S
        self._home = home
        self._store = Store(home / "store")
        self._session = ExitStack()
        self._claimed = False
        self._started = 0

    def claim(self, silence_s: float, **holder: Any) -> dict[str, Any]:
        """Take the board for this session; see :func:`edgecnn.onboard.lock.claim`.

        A desk that is not heard of for ``silence_s`` seconds is gone.
        """
        self.silence_s = silence_s
        descriptor = lock.claim(lock.path(), holder)
        self._session.callback(os.close, descriptor)
        self._claimed = True
        return {}

    def ping(self) -> dict[str, Any]:
        """Give a sign of life."""
        return {}

    def machine(self) -> dict[str, Any]:
        """Say what the board is, and in what state."""
        from edgecnn import machine

        return asdict(machine.describe(folder=self._home))

    def importable(self, modules: list[str]) -> dict[str, Any]:
        """Say which of these Python modules are here; none is imported."""
        from edgecnn.machine import packages

        return {"modules": packages.importable(modules)}

    def missing(self, keys: list[str]) -> dict[str, Any]:
        """Say which files have to be sent, and how much of each arrived earlier."""
        return {"missing": {key: self._store.received(key) for key in self._store.missing(keys)}}

    def put(self, key: str, size: int, offset: int, data: str) -> dict[str, Any]:
        """Receive a part of a file."""
        return {"received": self._store.put(key, size, offset, data)}

    def forget(self, keys: list[str]) -> dict[str, Any]:
        """Remove files that are not needed again."""
        self._store.remove(keys)
        return {}

    def governor(self, name: str) -> dict[str, Any]:
        """Set the frequency governor of all processors until this session ends."""
        from edgecnn.machine import governor

        self._session.enter_context(governor.using(name))
        return {}

    def start(self, service: str) -> dict[str, Any]:
        """Fork a process for ``service``; its greeting follows as the answer to ``greet``."""
        self._started += 1
        child = Child(services.get(service, self._home))
        self.children[self._started] = child
        self.selector.register(child.socket, selectors.EVENT_READ, self._started)
        return {"child": self._started, "pid": child.pid}

    def end(self, child: int) -> dict[str, Any]:
        """Kill a child; one that is gone already is no error."""
        if child in self.children:
            self.remove(child)
        return {}

    def remove(self, number: int, grace_s: float = 0.0) -> tuple[Child, str]:
        """Forget a child, which is killed where it still runs, and say how it ended."""
        child = self.children.pop(number)
        self.selector.unregister(child.socket)
        return child, child.end(grace_s)

    def require_claim(self, op: str) -> None:
        """Refuse everything else before the board was claimed."""
        if not self._claimed and op not in ("claim", "ping", "machine"):
            raise UsageError(f"{op!r} was asked for before the board was claimed.")

    def close(self) -> None:
        """End all children, set the governor back, and free the board."""
        for number in list(self.children):
            self.remove(number)
        self._session.close()


OPS = (
    "claim",
    "ping",
    "machine",
    "importable",
    "missing",
    "put",
    "forget",
    "governor",
    "start",
    "end",
)


class Channel:
    """The two streams to the desk."""

    def __init__(self, requests: int, answers: int) -> None:
        self.requests, self._answers = requests, answers
        self._buffer = bytearray()

    def lines(self) -> Iterator[bytes] | None:
        """Return the complete lines that have arrived; None at the end of the input."""
        chunk = os.read(self.requests, 1 << 16)
        if not chunk:
            return None
        self._buffer += chunk
        *complete, rest = bytes(self._buffer).split(b"\n")
        if len(rest) > MAX_REQUEST_BYTES:
            raise UsageError(f"a request is longer than {MAX_REQUEST_BYTES} bytes.")
        self._buffer = bytearray(rest)
        return iter(complete)

    def send(self, message: dict[str, Any]) -> None:
        """Write one line, whole."""
        self.send_line(json.dumps(message).encode())

    def send_line(self, line: bytes) -> None:
        """Write one line that is JSON already.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        data = memoryview(line + b"\n")
        while data:
            _, writable, _ = select.select([], [self._answers], [], SILENCE_S)
            if not writable:
                raise BrokenPipeError
            # A pipe that select calls writable takes this many bytes without blocking (pipe(7)).
            data = data[os.write(self._answers, data[: select.PIPE_BUF]) :]


def serve(runner: Runner, channel: Channel) -> None:
    """Answer until the input ends or the desk is silent for too long."""
    runner.selector.register(channel.requests, selectors.EVENT_READ, None)
    heard = time.monotonic()
    while time.monotonic() - heard < runner.silence_s:
        for key, _ in runner.selector.select(runner.silence_s / 4):
            if key.data is not None:
                _pass_on(runner, key.data, channel)
                continue
            lines = channel.lines()
            if lines is None:
                return
            heard = time.monotonic()
            for line in lines:
                _answer(runner, line, channel)


def _answer(runner: Runner, line: bytes, channel: Channel) -> None:
    request = json.loads(line)
    number, op = request.pop("id"), request.pop("op")
    try:
        runner.require_claim(op)
        if op == "ask":
            _ask(runner, number, **request)
            return
        if op not in OPS:
            raise UsageError(f"the runner (protocol {PROTOCOL}) has no request {op!r}.")
        channel.send({"id": number, "ok": getattr(runner, op)(**request)})
    except EdgecnnError as error:
        channel.send(_error(number, type(error).__name__, str(error)))


def _ask(runner: Runner, number: int, child: int, request: dict[str, Any] | None) -> None:
    """Pass a request on to a child; its next line is the answer. None only awaits a line."""
    if child in runner.ended:
        raise MeasurementError(_ended(runner.ended[child]))
    if child not in runner.children:
        raise UsageError(f"there is no process {child}; it has ended.")
    runner.children[child].waiting.append(number)
    if request is not None:
        runner.children[child].send(json.dumps(request).encode() + b"\n")


def _pass_on(runner: Runner, child: int, channel: Channel) -> None:
    """Send what a child said to the desk; where it has ended, say how."""
    if child not in runner.children:
        return
    lines = runner.children[child].lines()
    if lines is None:
        gone, how = runner.remove(child, LAST_GRACE_S)
        runner.ended[child] = how
        for number in gone.waiting:
            channel.send(_error(number, "MeasurementError", _ended(how)))
        return
    waiting = runner.children[child].waiting
    for line in lines:
        channel.send_line(b'{"id": %d, "line": %s}' % (waiting.popleft(), line))


def _ended(how: str) -> str:
    return f"a process on the board ended: {how}"


def _error(number: int, kind: str, message: str) -> dict[str, Any]:
    return {"id": number, "error": {"kind": kind, "message": message}}


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main(home: str) -> None:
    """Serve the standard streams; what libraries print goes to standard error."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    answers = os.dup(1)
    os.dup2(2, 1)
    runner, channel = Runner(Path(home)), Channel(0, answers)
    try:
        channel.send(_greeting())
        serve(runner, channel)
    except BrokenPipeError:
        # The desk is gone: there is nobody to tell.
        sys.exit(0)
    finally:
        runner.close()


def _greeting() -> dict[str, Any]:
    emulated = bool(os.environ.get(EMULATED_VARIABLE))
    return {"protocol": PROTOCOL, "pid": os.getpid(), "emulated": emulated}
