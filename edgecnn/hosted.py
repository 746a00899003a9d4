"""An artifact opened in a process of a host, and opened again where the way there broke."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ConnectionLostError, VerdictError
from edgecnn.host import Closing, Host, Worker
from edgecnn.profile import GoldenCheck

T = TypeVar("T")
OPEN_TIMEOUT_S = 600.0
REST_LIMIT_S = 0.3
"""How long others wait at most for the threads of a process to leave the processors."""
MAX_IN_A_ROW = 3
"""Connections that may break one after another before a request is answered."""


class Hosted(Closing):
    """One artifact on one runtime of a host.

    After a lost connection the request that was under way is made again in a new process; what
    earlier answers brought is the caller's already.
    """

    def __init__(
        self,
        host: Host,
        artifact: Artifact,
        runtime: str | None,
        device: Device,
        threads: int,
        *,
        pin: str | None = None,
        verify: bool = False,
        prepare: Callable[["Hosted"], None] | None = None,
    ) -> None:
        """Remember what to open; :meth:`ask` opens it.

        ``verify``: run the golden sample first. ``prepare``: called in each new process after
        that, to bring it where the one before it was.
        """
        self.host, self.artifact = host, artifact
        self.opened: dict[str, Any] = {}
        self.greeting: dict[str, Any] = {}
        self.golden: GoldenCheck | None = None
        self.processes = 0
        self._arguments = {
            "runtime": runtime,
            "device": str(device.there),
            "threads": threads,
            "contract": artifact.contract.to_json() if artifact.contract else None,
            "pin": pin,
        }
        self._verify, self._prepare = verify, prepare
        self._worker: Worker | None = None
        self._in_a_row = 0

    def open(self) -> None:
        """Open the artifact.

        Raises:
            EdgecnnError: it cannot be opened there.
            VerdictError: it computes something else there than where it was exported.
        """
        self._recovering(self._start)

    def ask(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Make a request of the measuring process, opening it where that is needed.

        Raises:
            UnavailableError: the board went away and did not come back.
            EdgecnnError: of the kind that the process met.
        """

        def attempt() -> dict[str, Any]:
            worker = self._worker or self._start()
            return worker.request(op, timeout_s, **arguments)

        return self._recovering(attempt)

    def staged(self, path: Path) -> str:
        """Make a file visible to the process, and return its path there."""
        return self.staged_all([path])[0]

    def staged_all(self, paths: Sequence[Path]) -> list[str]:
        """Make several files visible to the process, and return their paths there."""
        return self._recovering(lambda: self.host.stage_all(paths))

    def direct(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Make a request of the process that is open; for ``prepare``."""
        if self._worker is None:
            raise ConnectionLostError("no measuring process is open.")
        return self._worker.request(op, timeout_s, **arguments)

    def kill(self) -> None:
        """End the process at once."""
        if self._worker is not None:
            self._worker.kill()

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()

    def _recovering(self, attempt: Callable[[], T]) -> T:
        while True:
            try:
                result = attempt()
            except ConnectionLostError:
                self._worker = None
                self._in_a_row += 1
                if self._in_a_row > MAX_IN_A_ROW:
                    raise
                self.host.recover()
            else:
                self._in_a_row = 0
                return result

    def _start(self) -> Worker:
        path = self.host.stage(self.artifact.path, self.artifact.sha256)
        worker = self.host.start_worker()
        try:
            self.opened = worker.request("open", OPEN_TIMEOUT_S, artifact=path, **self._arguments)
            self.greeting = dict(worker.greeting)
            if self._verify:
                self.golden = _golden(worker, self.host.where)
            self._worker = worker
            self.processes += 1
            if self._prepare is not None:
                self._prepare(self)
        except BaseException:
            self._worker = None
            worker.kill()
            worker.close()
            raise
        return worker


def ask_once(host: Host, op: str, **arguments: Any) -> dict[str, Any]:
    """Make one request of a fresh process that has nothing open, again where the way broke.

    Raises:
        UnavailableError: the board went away and did not come back.
    """
    while True:
        try:
            with host.start_worker() as worker:
                return worker.request(op, OPEN_TIMEOUT_S, **arguments)
        except ConnectionLostError:
            host.recover()


def _golden(worker: Worker, where: str) -> GoldenCheck | None:
    """Run the golden sample.

    Raises:
        VerdictError: the machine computes something else than the one that exported the file.
    """
    data = worker.request("golden", OPEN_TIMEOUT_S)["golden"]
    if data is None:
        return None
    found = GoldenCheck(**data)
    if not found.passed:
        raise VerdictError(
            f"{where} computes something else than the machine that exported the file: its logits "
            f"for the golden sample are {found}. It was not timed. Compare the runtime's version "
            "there (`edgecnn device check`), and export again if the file is older than it."
        )
    return found
