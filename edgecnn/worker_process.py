"""Talking to the measuring process (:mod:`edgecnn.worker`) through its pipes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edgecnn.errors import MeasurementError, error_from
from edgecnn.lines import LineReader
from edgecnn.serving import PROTOCOL

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 2.0
STDERR_LINES = 8


class WorkerProcess:
    """A measuring process. Use it in a ``with`` block: it never outlives it.

    ``command`` starts a process that speaks the worker's protocol on its standard input and
    output; by default a fresh Python on this machine.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        # A session of its own: Ctrl-C reaches the parent alone, which then ends its workers.
        self._process = subprocess.Popen(
            command or local_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_local_environment() if command is None else None,
            start_new_session=True,
        )
        self._lines = LineReader(self._pipe(self._process.stdout).fileno())
        try:
            self.greeting = self._greeting()
        except BaseException:
            self.close()
            raise

    def request(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Ask for one thing and wait for the answer.

        Raises:
            MeasurementError: the process died, hung, or did not understand.
            EdgecnnError: of the kind that the process met.
        """
        line = json.dumps({"op": op, **arguments}).encode() + b"\n"
        try:
            self._pipe(self._process.stdin).write(line)
            self._pipe(self._process.stdin).flush()
        except BrokenPipeError:
            raise self._died(op) from None
        answer = self._receive(op, timeout_s)
        if "error" in answer:
            raise error_from(answer["error"])
        result = answer.get("ok")
        if not isinstance(result, dict):
            raise MeasurementError(f"the measuring process gave no answer to {op!r}: {answer!r}.")
        return result

    def close(self) -> None:
        """End the process: its input ends; one that does not heed it is killed."""
        process = self._process
        if process.stdin is not None:
            _close_quietly(process.stdin)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._pipe(process.stdout).close()
        self._stderr.close()

    def kill(self) -> None:
        """End the process at once, also in the middle of a run."""
        self._process.kill()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.kill()
        self.close()

    def _greeting(self) -> dict[str, Any]:
        greeting = self._receive("start", START_TIMEOUT_S)
        if greeting.get("protocol") != PROTOCOL:
            raise MeasurementError(
                f"the measuring process speaks protocol {greeting.get('protocol')!r}; this edgecnn "
                f"speaks {PROTOCOL}. Install the same edgecnn version on both sides."
            )
        return greeting

    def _receive(self, op: str, timeout_s: float) -> dict[str, Any]:
        line = self._read_line(op, timeout_s)
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise MeasurementError(f"the measuring process answered {op!r} with {line[:80]!r}.")
        return answer

    def _read_line(self, op: str, timeout_s: float) -> bytes:
        try:
            return self._lines.read(timeout_s)
        except TimeoutError:
            self.kill()
            raise MeasurementError(
                f"the measuring process did not finish {op!r} within {timeout_s:.0f} s and was "
                f"ended.{self._last_words()}"
            ) from None
        except EOFError:
            raise self._died(op) from None
        except ValueError as error:
            raise MeasurementError(f"the answer to {op!r} is too long: {error}.") from None

    def _died(self, op: str) -> MeasurementError:
        try:
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        return MeasurementError(
            f"the measuring process died in {op!r} ({_exit_text(code)}).{self._last_words()}"
        )

    def _last_words(self) -> str:
        """Return the last lines that the process wrote to standard error."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-STDERR_LINES:])

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise MeasurementError("the measuring process has no pipe.")
        return pipe


def local_command() -> list[str]:
    """Return the command of a worker on this machine, free of the current folder's modules."""
    return [sys.executable, "-P", "-m", "edgecnn.worker"]


def _local_environment() -> dict[str, str]:
    """Let the worker import the same edgecnn as this process, installed or not."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, os.environ.get("PYTHONPATH", "")]
    # A BLAS with threads of its own would spin beside the runtime, and count as its memory.
    return (
        {"OPENBLAS_NUM_THREADS": "1"}
        | os.environ
        | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    )


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps out of memory" if name == "SIGKILL" else ""
    return f"signal {name}{hint}"


def _close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        # The process is gone already, which is what closing is for.
        return
