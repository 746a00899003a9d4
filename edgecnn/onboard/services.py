"""What a child of the runner can be. Each service imports its packages in the child alone."""

import importlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from edgecnn.errors import EdgecnnError, UnavailableError, UsageError
from edgecnn.onboard.children import Serve


def get(name: str, home: Path) -> Serve:
    """Return the service called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in _SERVICES:
        raise UsageError(f"unknown service {name!r}; allowed: {', '.join(_SERVICES)}.")
    return partial(_SERVICES[name], home)


def _measure(home: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    # A BLAS with threads of its own would spin beside the runtime, and count as its memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The packages may have been installed since this session started.
    importlib.invalidate_caches()
    try:
        from edgecnn import serving, worker
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed on the board. Run: edgecnn device setup NAME"
        _refuse(answers, UnavailableError(reason))
        return
    except MemoryError:
        _refuse(answers, UnavailableError("the board has too little memory to import NumPy."))
        return
    serving.serve(worker.Worker(), requests, answers)


def _refuse(answers: BinaryIO, error: EdgecnnError) -> None:
    problem = {"error": {"kind": type(error).__name__, "message": str(error)}}
    answers.write(json.dumps(problem).encode() + b"\n")


def _install(home: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    from edgecnn import serving
    from edgecnn.onboard.install import Installer

    serving.serve(Installer(home), requests, answers)


_SERVICES: dict[str, Callable[[Path, BinaryIO, BinaryIO], None]] = {
    "measure": _measure,
    "install": _install,
}
