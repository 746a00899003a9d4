"""The machine that measures, as the desk sees it: this one, or a board.

A host starts measuring processes and makes files visible to them. What can go wrong on the way to
a board is the host's to mend; the measurement only asks it to :meth:`Host.recover`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, Self

Timing = Literal["measured", "emulated"]


class Closing(ABC):
    """What a ``with`` block closes."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Worker(Protocol):
    """A measuring process (:mod:`edgecnn.worker`) somewhere. It never outlives its ``with``."""

    @property
    def greeting(self) -> Mapping[str, Any]:
        """What it said when it started."""

    def request(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Ask for one thing and wait for the answer.

        Raises:
            ConnectionLostError: the way to the board is gone.
            MeasurementError: the process died, hung, or did not understand.
            EdgecnnError: of the kind that the process met.
        """

    def kill(self) -> None:
        """End the process at once, also in the middle of a run."""

    def close(self) -> None:
        """End the process, and wait until it is gone."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Host(Protocol):
    """A machine with measuring processes. Nothing is left running there when it is closed."""

    @property
    def where(self) -> str:
        """Which hardware: devices with the same ``where`` are measured in turns, not at once."""

    @property
    def timing(self) -> Timing:
        """``emulated`` where the time that a run takes says nothing of the board."""

    def machine(self) -> dict[str, Any]:
        """Return the facts and the state of the machine (:class:`edgecnn.machine.Machine`)."""

    def importable(self, modules: Sequence[str]) -> list[str]:
        """Return those of these top-level Python modules that are there; none is imported."""

    def install_line(self, runtime: str, requires: Sequence[str]) -> str:
        """Return the command that brings a runtime there; ``requires`` as pip names packages."""

    def set_governor(self, name: str) -> None:
        """Set the frequency governor of all processors until the host is closed.

        Raises:
            UnavailableError: it is not allowed; the message says which line a user can run.
            UsageError: the machine has no such governor.
        """

    def start_worker(self) -> Worker:
        """Start a measuring process.

        Raises:
            UnavailableError, MeasurementError: it could not be started.
        """

    def stage(self, path: Path, sha256: str | None = None) -> str:
        """Make a file visible to the measuring processes, and return its path there.

        Raises:
            ConnectionLostError: the way to the board is gone.
            UnavailableError: the board has no space for it.
        """

    def stage_all(self, paths: Sequence[Path]) -> list[str]:
        """Make several files visible; see :meth:`stage`."""

    def forget(self, paths: Sequence[Path]) -> None:
        """Say that files are not needed there again: copies of them are removed."""

    def recover(self) -> None:
        """Reconnect after a :class:`~edgecnn.errors.ConnectionLostError`.

        Raises:
            UnavailableError: the machine did not come back.
        """

    def kill(self) -> None:
        """End everything at once; may be called from another thread."""

    def close(self) -> None:
        """End everything."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...
