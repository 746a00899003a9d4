"""Answering requests, one JSON object a line, by the public methods of an object.

The first line is a greeting ``{"protocol", "pid", "baseline_rss_bytes"}``. A request is
``{"op": NAME, ...arguments}``, where NAME is a public method; the answer is ``{"ok": {...}}``, or
``{"error": {"kind", "message"}}`` with the name of an EdgecnnError.
"""

import gc
import json
import os
from typing import Any, BinaryIO

from edgecnn.environment import peak_rss_bytes
from edgecnn.errors import EdgecnnError, MeasurementError, UnavailableError
from edgecnn.machine import state

PROTOCOL = 3


def serve(service: object, requests: BinaryIO, answers: BinaryIO) -> None:
    """Greet, then answer each line by a method of ``service`` until the input ends."""
    gc.freeze()
    greeting = {"protocol": PROTOCOL, "pid": os.getpid(), "baseline_rss_bytes": peak_rss_bytes()}
    _write(answers, greeting)
    for line in requests:
        _write(answers, answer(service, line))


def answer(service: object, line: bytes) -> dict[str, Any]:
    """Carry out one request; an error becomes an answer, so that the other side can raise it.

    An exception that is no EdgecnnError ends the process; its traceback is in standard error.
    """
    try:
        request = json.loads(line)
        name = request.pop("op")
        if name.startswith("_") or not hasattr(service, name):
            raise MeasurementError(f"this process (protocol {PROTOCOL}) has no request {name!r}.")
        return {"ok": getattr(service, name)(**request)}
    except EdgecnnError as error:
        return refusal(error)
    except MemoryError:
        return refusal(no_memory())


def refusal(error: EdgecnnError) -> dict[str, Any]:
    """Return the answer that makes the other side raise ``error``."""
    return {"error": {"kind": type(error).__name__, "message": str(error)}}


def no_memory() -> UnavailableError:
    """Return what to say where memory does not suffice."""
    total, available = state.memory_bytes()
    sizes = (
        ""
        if available is None or total is None
        else (f" (it has {total / 1e6:.0f} MB, of which {available / 1e6:.0f} MB are available)")
    )
    return UnavailableError(
        f"the machine has too little memory for this file{sizes}. Close other programs there, or "
        "take a smaller model or a quantized file."
    )


def _write(stream: BinaryIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()
