"""Reading lines from a pipe, with a deadline."""

import os
import selectors
import time

MAX_LINE_BYTES = 64 * 2**20


class LineReader:
    """The lines that come out of a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def read(self, timeout_s: float | None = None) -> bytes:
        """Return the next line, without its end.

        Raises:
            TimeoutError: it did not come within ``timeout_s`` seconds.
            EOFError: the other side has closed the pipe.
            ValueError: the line is longer than 64 MiB.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while (end := self._buffer.find(b"\n")) < 0:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not selector.select(left):
                    raise TimeoutError
                chunk = os.read(self._descriptor, 1 << 16)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
                if len(self._buffer) > MAX_LINE_BYTES:
                    raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line
