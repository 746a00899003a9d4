"""Running converters, which print, warn and log a lot, so that only their failure is heard."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO

from edgecnn.errors import EdgecnnError, ExportError

_TAIL_LINES = 12
_TAIL_CHARS = 2000
_OPERATOR = re.compile(r"\b(?:aten|prims|torchvision|quantized_decomposed)(?:::|\.)\w+(?:\.\w+)?")
_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def converting(what: str) -> Iterator[None]:
    """Capture all that the block prints, and turn its failure into an ExportError.

    What was printed goes to the debug log, and its last lines into the error. File descriptors 1
    and 2 are redirected while the block runs, because converters write to them from C++.

    Raises:
        ExportError: the block failed; the message names ``what`` and, where the converter tells,
            the operator that it does not know.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as sink:
        try:
            with _redirected(sink):
                yield
        except (EdgecnnError, OSError, MemoryError):
            raise
        except Exception as error:
            raise ExportError(_explanation(what, error, _text(sink))) from error
        _LOG.debug("%s: %s", what, _text(sink))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Drop what the block prints on success; a failure passes through as it is."""
    with tempfile.TemporaryFile("w+", errors="replace") as sink, _redirected(sink):
        yield


@contextlib.contextmanager
def _redirected(sink: IO[str]) -> Iterator[None]:
    """Send stdout, stderr, warnings and the root logger to ``sink``."""
    handler = logging.StreamHandler(sink)
    # A root logger without a handler would get a lasting one from the first logging.warning().
    logging.root.addHandler(handler)
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    try:
        _flush()
        for descriptor, _ in saved:
            os.dup2(sink.fileno(), descriptor)
        with (
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        sink.flush()
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        logging.root.removeHandler(handler)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _text(sink: IO[str]) -> str:
    sink.flush()
    sink.seek(0)
    return sink.read()


def _explanation(what: str, error: Exception, output: str) -> str:
    """Say what failed, on which operator, what to do, and what the converter printed last."""
    cause = _innermost(error)
    operator = _OPERATOR.search(f"{cause}\n{error}")
    advice = (
        f"it does not know the operator {operator.group()}. Replace it in the model with one that "
        "it knows, or export to another format"
        if operator
        else "the model holds something that it cannot convert"
    )
    reason = " ".join(str(cause).split())[:_TAIL_CHARS] or type(cause).__name__
    tail = output.strip().splitlines()[-_TAIL_LINES:]
    lines = [f"{what} failed: {advice}.", f"{type(cause).__name__}: {reason}", *tail]
    return "\n".join(line[:_TAIL_CHARS] for line in lines)


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
