"""A board that is this machine: the runner is reached through a pipe, with no SSH in between."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import ConnectionLostError, EdgecnnError, UnavailableError


@dataclass
class Loopback:
    """A transport whose far end is another Python here; ``variables`` are the board's own."""

    folder: Path
    python: str = sys.executable
    variables: dict[str, str] = field(default_factory=dict)
    where: str = "loopback"

    @property
    def home(self) -> Path:
        """The board's folder."""
        return self.folder / "home"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Run Python through a shell, as a login on a board would."""
        return ["/bin/sh", "-c", 'exec "$@"', "sh", self.python, *arguments]

    def environment(self) -> dict[str, str]:
        """Keep the board's folder and lock apart from those of a real board."""
        own = {
            "EDGECNN_BOARD_HOME": str(self.home),
            "EDGECNN_BOARD_LOCK": str(self.folder / "lock"),
            "OPENBLAS_NUM_THREADS": "1",
        }
        return os.environ | own | self.variables

    def explain(self, code: int | None, stderr: str) -> EdgecnnError:
        """Say the exit code and the last line."""
        kind = ConnectionLostError if code is None or code < 0 or code == 255 else UnavailableError
        return kind(f"the loopback ended with {code}: {stderr.strip()[-400:]}")


def alive(pid: int) -> bool:
    """Tell whether a process still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def kill(pid: int) -> None:
    """Kill a process by its id, if it is there."""
    if alive(pid):
        os.kill(pid, signal.SIGKILL)
