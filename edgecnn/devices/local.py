"""This machine's processor."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgecnn import machine
from edgecnn.device import Device
from edgecnn.devices import Say
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.host import Closing, Timing
from edgecnn.machine import governor, packages
from edgecnn.onboard.install import Site
from edgecnn.remote.setup import Request
from edgecnn.worker_process import WorkerProcess

syntax = "local"
timing: Timing = "measured"


def parse(text: str) -> Device:
    """Read ``local``."""
    return Device.parse(text)


def connect(device: Device, what: str, say: Say) -> "LocalHost":
    """Return this machine."""
    return LocalHost()


def setup(device: Device, request: Request, say: Say) -> Site:
    """Refuse: edgecnn itself is installed on this machine, and its extras bring the runtimes."""
    extras = ",".join(request.runtimes)
    raise UsageError(
        f"{device} is this machine, which needs no setup. Install runtimes with: "
        f"pip install 'edgecnn[{extras}]'"
    )


class LocalHost(Closing):
    """This machine: each measuring process is a fresh Python; see :class:`edgecnn.host.Host`."""

    where = "local"
    timing: Timing = "measured"

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Start workers with ``command``, by default a fresh Python; see :class:`WorkerProcess`."""
        self.workers: list[WorkerProcess] = []
        self._command = command
        self._settings = ExitStack()

    def importable(self, modules: Sequence[str]) -> list[str]:
        """Return those of these Python modules that are installed here."""
        return packages.importable(modules)

    def install_line(self, runtime: str, requires: Sequence[str]) -> str:
        """Return pip's command that installs a runtime here."""
        return f"pip install {' '.join(map(repr, requires))}"

    def set_governor(self, name: str) -> None:
        """Set the frequency governor until the host is closed; see :class:`edgecnn.host.Host`."""
        self._settings.enter_context(governor.using(name))

    def machine(self) -> dict[str, Any]:
        """Return the facts and the state of this machine."""
        return asdict(machine.describe())

    def start_worker(self) -> WorkerProcess:
        """Start a measuring process."""
        worker = WorkerProcess(self._command)
        self.workers.append(worker)
        return worker

    def stage(self, path: Path, sha256: str | None = None) -> str:
        """Return the path itself: the processes see the same files."""
        return str(path.resolve())

    def stage_all(self, paths: Sequence[Path]) -> list[str]:
        """Return the paths themselves."""
        return [self.stage(path) for path in paths]

    def forget(self, paths: Sequence[Path]) -> None:
        """Do nothing: there are no copies."""

    def recover(self) -> None:
        """Refuse: nothing can come between this machine and itself."""
        raise UnavailableError("the measuring process on this machine is gone.")

    def kill(self) -> None:
        """End all measuring processes at once."""
        for worker in self.workers:
            worker.kill()

    def close(self) -> None:
        """End all measuring processes."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()
        self._settings.close()
