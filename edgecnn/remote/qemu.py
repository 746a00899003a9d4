"""A board without a board: an aarch64 Python under QEMU's user emulation.

System calls reach the desk's kernel; instructions, ``/proc/cpuinfo`` and the packages are the
board's. Nothing needs root. What differs from a real board: ``exec`` of an aarch64 program fails
unless the desk's kernel knows aarch64 programs, ``/proc/self/status`` tells the memory of QEMU, the
process runs on the desk's processors (pinning knows no others), and time means nothing.
"""

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn import boards
from edgecnn.errors import ConnectionLostError, EdgecnnError, UnavailableError
from edgecnn.onboard.runner import EMULATED_VARIABLE
from edgecnn.remote import sysroot
from edgecnn.remote.programs import tool

_PASSED_ON = re.compile(r"(https?|no|all)_proxy|pip_.+|ssl_cert_(file|dir)", re.IGNORECASE)
_CRASHES = {
    signal.SIGILL: "the file or the runtime uses instructions that this board's processor lacks",
    signal.SIGSEGV: "the program crashed (segmentation fault)",
    signal.SIGBUS: "the program crashed (bus error)",
    signal.SIGABRT: "the program aborted",
}


@dataclass(frozen=True)
class Emulated:
    """An emulated board as a way to a Python (:class:`edgecnn.remote.link.Transport`).

    ``board_name`` is one of :func:`edgecnn.boards.names`. ``folder`` is the home of edgecnn on the
    board, where what is installed stays; None: a folder beside the system in the cache.
    """

    board_name: str
    folder: Path | None = None

    @property
    def where(self) -> str:
        """The board, as a person calls it; also the key of the hardware."""
        return f"emulated:{self.board_name}"

    @property
    def home(self) -> str:
        """``EDGECNN_BOARD_HOME`` on the emulated board."""
        return str(self.folder or sysroot.board_folder(self.board_name) / "home")

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs ``python3 *arguments`` there.

        On first use the system is made, which takes seconds and downloads 30 MB.

        Raises:
            UsageError: no such board.
            UnavailableError: QEMU is missing, or the system cannot be made.
        """
        qemu = tool(sysroot.QEMU, sysroot.INSTALL)
        root = sysroot.view(boards.get(self.board_name), self.board_name)
        return [qemu, str(root / "usr" / "bin" / "python3"), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the variables of the command: the board's own, and the desk's way to the network.

        Raises:
            UsageError: no such board.
            UnavailableError: the system cannot be made.
        """
        board = boards.get(self.board_name)
        passed_on = {name: os.environ[name] for name in os.environ if _PASSED_ON.fullmatch(name)}
        return passed_on | {
            "EDGECNN_BOARD_HOME": self.home,
            "EDGECNN_BOARD_LOCK": f"{self.home}.lock",
            # Tells the board's side that time means nothing, here as over an emulated SSH.
            EMULATED_VARIABLE: self.board_name,
            "HOME": self.home,
            "LANG": "C.UTF-8",
            # A thread per core, each spinning under emulation, takes minutes for a small product.
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": "/usr/bin:/bin",
            "QEMU_CPU": board.qemu_cpu,
            "QEMU_LD_PREFIX": str(sysroot.view(board, self.board_name)),
        }

    def explain(self, code: int | None, stderr: str) -> EdgecnnError:
        """Say why the emulated Python ended, from its exit code and standard error."""
        number = _signal(code)
        if number in _CRASHES:
            return UnavailableError(
                f"{self.where}: {_CRASHES[number]}. QEMU emulates "
                f"`{boards.get(self.board_name).qemu_cpu}`.{_last_words(stderr)}"
            )
        if number is not None:
            return ConnectionLostError(
                f"{self.where} was ended by {number.name}.{_last_words(stderr)}"
            )
        return UnavailableError(
            f"{self.where}: its Python ended with exit code {code}.{_last_words(stderr)}\n"
            f"Where its system is damaged: delete {sysroot.cache()}, and it is made anew."
        )


def _signal(code: int | None) -> signal.Signals | None:
    """Return the signal that ended a process, as subprocess (-11) or a shell (139) report it."""
    number = -code if code is not None and code < 0 else (code or 0) - 128
    return signal.Signals(number) if number in signal.valid_signals() else None


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return "".join(f"\n  {line}" for line in lines[-4:])
