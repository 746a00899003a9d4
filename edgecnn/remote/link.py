"""One connection to the runner on a board: requests out, answers in, a pulse in between.

See :mod:`edgecnn.onboard.runner` for what is said. The connection is one process of the desk (an
SSH client, or QEMU) whose standard streams end at the runner.
"""

import contextlib
import itertools
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import IO, Any, Protocol

from edgecnn.errors import (
    ConnectionLostError,
    EdgecnnError,
    MeasurementError,
    RefusedError,
    UnavailableError,
    error_from,
)
from edgecnn.lines import LineReader
from edgecnn.onboard import runner
from edgecnn.remote.code import boot_script, bundle

MINIMUM_PYTHON = (3, 11)
CONNECT_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
PULSE_S = 5.0
SILENCE_S = runner.SILENCE_S
"""Either side is given up when it was not heard of for so long."""
END_TIMEOUT_S = 5.0


class Transport(Protocol):
    """A way to a Python on another machine."""

    @property
    def where(self) -> str:
        """The machine, as a person calls it; also the key of the hardware."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the desk's command that runs ``python3 *arguments`` there, streams included."""

    def environment(self) -> dict[str, str] | None:
        """Return the variables of that command; None where it inherits the desk's."""

    def explain(self, code: int | None, stderr: str) -> EdgecnnError:
        """Say why the command ended, from its exit code and standard error, and what to do."""


class Link:
    """A connection to a runner. It never outlives :meth:`close`."""

    def __init__(self, transport: Transport) -> None:
        """Connect, and start the runner; its code is sent where the board lacks this version.

        Raises:
            UnavailableError: the board cannot be reached, or its Python is too old.
            ConnectionLostError: the connection ended on the way.
        """
        self._transport = transport
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._process = _start(transport, self._stderr)
        self._lines = LineReader(_pipe(self._process.stdout).fileno())
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._is_up = False
        self._lost: EdgecnnError | None = None
        self._closed = threading.Event()
        self._heard = time.monotonic()
        try:
            self.board = self._boot()
            self.greeting = self._greeting()
            self._is_up = True
        except BaseException:
            self._end()
            raise
        self._reader = threading.Thread(target=self._read, name="board-reader", daemon=True)
        self._pulse = threading.Thread(target=self._beat, name="board-pulse", daemon=True)
        self._reader.start()
        self._pulse.start()

    def request(self, op: str, timeout_s: float = ANSWER_TIMEOUT_S, **arguments: Any) -> Any:
        """Ask the runner for one thing, and wait for the answer.

        Raises:
            ConnectionLostError: the connection is gone.
            MeasurementError: ``timeout_s`` seconds passed.
            EdgecnnError: of the kind that the board met.
        """
        number, future = next(self._numbers), Future[dict[str, Any]]()
        self._send(number, future, {"op": op, **arguments})
        try:
            answer = future.result(timeout_s)
        except TimeoutError:
            with self._lock:
                self._waiting.pop(number, None)
            raise MeasurementError(
                f"{self._transport.where} did not finish {_what(op, arguments)!r} within "
                f"{timeout_s:.0f} s."
            ) from None
        answer = checked(answer)
        return answer.get("ok", answer.get("line"))

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost is not None

    def kill(self) -> None:
        """Cut the connection; the runner and all it started end with it."""
        self._process.kill()

    def close(self) -> None:
        """End the runner, and wait until the connection has ended."""
        self._closed.set()
        self._end()
        self._reader.join(END_TIMEOUT_S)
        _pipe(self._process.stdout).close()
        self._stderr.close()

    def _boot(self) -> dict[str, Any]:
        code = bundle()
        # Where it ended before it was asked, what it printed says why: that is read all the same.
        with contextlib.suppress(UnavailableError):
            self._write({"code": code.sha256, "bytes": len(code.data), "minimum": MINIMUM_PYTHON})
        found = self._receive()
        if not found.get("fits"):
            wanted = ".".join(map(str, MINIMUM_PYTHON))
            raise RefusedError(
                f"{self._transport.where} has Python {found.get('python')}; edgecnn needs {wanted} "
                "or newer. Install it there (Raspberry Pi OS Bookworm has 3.11), and name it with "
                "`edgecnn device add NAME ADDRESS --python PATH`."
            )
        if not found["has"]:
            self._write_bytes(code.data)
            done = self._receive()
            if "problem" in done:
                raise UnavailableError(
                    f"{self._transport.where} cannot take edgecnn's code: {done['problem']}. Free "
                    "space or permissions there, and run the command again."
                )
        return found

    def _greeting(self) -> dict[str, Any]:
        greeting = self._receive()
        if greeting.get("protocol") != runner.PROTOCOL:
            raise UnavailableError(
                f"{self._transport.where} answered {str(greeting)[:80]!r} in the place of a "
                f"runner's greeting (protocol {runner.PROTOCOL})."
            )
        return greeting

    def _receive(self) -> dict[str, Any]:
        """Read one line before the reading thread is there."""
        try:
            line = self._lines.read(CONNECT_TIMEOUT_S)
            message = json.loads(line)
        except TimeoutError:
            raise UnavailableError(
                f"{self._transport.where} did not answer within {CONNECT_TIMEOUT_S:.0f} s."
            ) from None
        except EOFError:
            raise self._reason() from None
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise UnavailableError(
                f"{self._transport.where} answered {line[:80]!r}. A login script there must not "
                "print anything for connections without a terminal."
            )
        return message

    def _send(self, number: int, future: "Future[dict[str, Any]]", message: dict[str, Any]) -> None:
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._waiting[number] = future
        self._write({"id": number, **message})

    def _write(self, message: dict[str, Any]) -> None:
        self._write_bytes(json.dumps(message).encode() + b"\n")

    def _write_bytes(self, data: bytes) -> None:
        try:
            with self._writing:
                _pipe(self._process.stdin).write(data)
                _pipe(self._process.stdin).flush()
        except (BrokenPipeError, ValueError):
            # ValueError: the pipe was closed by another thread that found the connection gone.
            raise self._lose() from None

    def _read(self) -> None:
        """Hand each answer to who waits for it, until the connection ends."""
        try:
            while True:
                message = json.loads(self._lines.read())
                self._heard = time.monotonic()
                with self._lock:
                    future = self._waiting.pop(message["id"], None)
                if future is not None:
                    future.set_result(message)
        except (EOFError, ValueError, KeyError):
            self._lose()

    def _beat(self) -> None:
        """Ask for a sign of life now and then, and cut a connection that gives none."""
        while not self._closed.wait(PULSE_S):
            if time.monotonic() - self._heard > SILENCE_S:
                self._process.kill()
                return
            if self._writing.locked():
                # Somebody is sending, perhaps to a board that takes nothing: never wait for that.
                continue
            try:
                self._send(next(self._numbers), Future(), {"op": "ping"})
            except EdgecnnError:
                # The reading thread tells everybody who waits.
                return

    def _lose(self) -> EdgecnnError:
        """Tell everybody who waits that the connection is gone, and return why.

        Whoever notices first comes here: the reading thread, or one that cannot write any more.
        """
        reason = self._reason()
        with self._lock:
            self._lost = reason = self._lost or reason
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            future.set_exception(reason)
        return reason

    def _reason(self) -> EdgecnnError:
        try:
            code: int | None = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._stderr.seek(0)
        error = self._transport.explain(code, self._stderr.read().decode(errors="replace"))
        return ConnectionLostError(str(error)) if self._is_up else error

    def _end(self) -> None:
        """Close the input, which ends the runner; a client that does not end then is killed."""
        try:
            _pipe(self._process.stdin).close()
        except BrokenPipeError:
            # It is gone already, which is what closing is for.
            self._process.kill()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is none of an error.

    Raises:
        EdgecnnError: of the kind that the other side met.
    """
    if "error" in answer:
        raise error_from(answer["error"])
    return answer


def _start(transport: Transport, stderr: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = transport.command(["-I", "-c", boot_script()])
    try:
        # A session of its own: Ctrl-C reaches the desk alone, which then ends its connections.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=transport.environment(),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"{command[0]} is not installed: {error.strerror}.") from error


def _what(op: str, arguments: dict[str, Any]) -> str:
    request = arguments.get("request")
    return str(request.get("op")) if op == "ask" and isinstance(request, dict) else op


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise MeasurementError("the connection has no pipe.")
    return pipe
