"""A board as a :class:`edgecnn.host.Host`: files go there once, lost connections come back."""

import base64
import getpass
import hashlib
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgecnn.errors import (
    ConnectionLostError,
    DataError,
    EdgecnnError,
    RefusedError,
    UnavailableError,
)
from edgecnn.host import Closing, Timing
from edgecnn.remote import link
from edgecnn.remote.link import Link, Transport, checked

PATIENCE_S = 120.0
"""How long a board may be away: a Raspberry Pi restarts in less than a minute."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
CHUNK_BYTES = 256 * 1024
START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0

Say = Callable[[str], None]


class RemoteHost(Closing):
    """A session on a board. It holds the board's lock until it is closed."""

    def __init__(
        self,
        transport: Transport,
        *,
        what: str = "edgecnn",
        patience_s: float = PATIENCE_S,
        say: Say | None = None,
    ) -> None:
        """Connect, and claim the board.

        Raises:
            UnavailableError: it cannot be reached, is in use, or cannot run edgecnn.
        """
        self.reconnections = 0
        self._transport, self._patience_s, self._say = transport, patience_s, say or _silent
        self._what, self._token = what, secrets.token_hex(8)
        self._names: dict[str, Path] = {}
        self._governor: str | None = None
        self._killed = False
        self._link = self._connect()

    @property
    def where(self) -> str:
        """The board, as a person calls it."""
        return self._transport.where

    @property
    def timing(self) -> Timing:
        """``emulated`` where the board says that it is."""
        return "emulated" if self._link.greeting.get("emulated") else "measured"

    @property
    def board(self) -> Mapping[str, Any]:
        """What answered first there: ``python``, ``machine`` and ``home``."""
        return self._link.board

    def machine(self) -> dict[str, Any]:
        """Return the facts and the state of the board; see :mod:`edgecnn.machine`."""
        found: dict[str, Any] = self._link.request("machine")
        return found

    def importable(self, modules: Sequence[str]) -> list[str]:
        """Return those of these Python modules that the board has."""
        found: list[str] = self._link.request("importable", modules=list(modules))["modules"]
        return found

    def install_line(self, runtime: str, requires: Sequence[str]) -> str:
        """Return the command that brings a runtime to the board, beside those set up there."""
        return f"edgecnn device setup NAME --runtime {runtime} (name all that it is to have)"

    def set_governor(self, name: str) -> None:
        """Set the board's frequency governor for this session.

        Raises:
            UnavailableError: it is not allowed there; the message says which line to run.
            UsageError: the board has no such governor.
        """
        self._link.request("governor", name=name)
        self._governor = name

    def start_worker(self) -> "RemoteWorker":
        """Start a measuring process on the board; see :class:`edgecnn.host.Host`."""
        return self.start("measure")

    def start(self, service: str) -> "RemoteWorker":
        """Start a process for a service of :mod:`edgecnn.onboard.services`."""
        return RemoteWorker(self._link, service, self._with_local_names)

    def stage(self, path: Path, sha256: str | None = None) -> str:
        """Send a file unless the board has it; see :class:`edgecnn.host.Host`."""
        return self._stage([(f"{sha256 or _sha256(path)}{path.suffix}", path)])[0]

    def stage_all(self, paths: Sequence[Path]) -> list[str]:
        """Send those files that the board lacks; see :class:`edgecnn.host.Host`."""
        return self._stage([(f"{_sha256(path)}{path.suffix}", path) for path in paths])

    def forget(self, paths: Sequence[Path]) -> None:
        """Remove files from the board that are not needed again."""
        self._link.request("forget", keys=[f"{_sha256(path)}{path.suffix}" for path in paths])

    def recover(self) -> None:
        """Reconnect where the connection is gone; see :class:`edgecnn.host.Host`."""
        if not self._link.is_lost:
            return
        if self._killed:
            raise ConnectionLostError(f"the session on {self.where} was ended.")
        self._link.close()
        self.reconnections += 1
        deadline, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            self._say(f"{self.where} is gone; reconnecting")
            try:
                self._link = self._connect()
                break
            except RefusedError:
                raise
            except UnavailableError as error:
                if time.monotonic() + pause > deadline:
                    raise UnavailableError(
                        f"{self.where} did not come back within {self._patience_s:.0f} s: {error}"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if self._governor is not None:
            self.set_governor(self._governor)

    def kill(self) -> None:
        """Cut the connection: what runs on the board ends with it."""
        self._killed = True
        self._link.kill()

    def close(self) -> None:
        """End the session."""
        self._link.close()

    def _connect(self) -> Link:
        made = link.Link(self._transport)
        try:
            made.request(
                "claim",
                silence_s=link.SILENCE_S,
                token=self._token,
                user=getpass.getuser(),
                host=socket.gethostname(),
                since=datetime.now(UTC).isoformat(timespec="seconds"),
                what=self._what,
            )
        except BaseException:
            made.close()
            raise
        return made

    def _stage(self, keyed: Sequence[tuple[str, Path]]) -> list[str]:
        received = self._link.request("missing", keys=[key for key, _ in keyed])["missing"]
        for key, path in keyed:
            if key in received:
                self._send(path, key, received[key])
            self._names[self._there(key)] = path
        return [self._there(key) for key, _ in keyed]

    def _there(self, key: str) -> str:
        return f"{self.board['home']}/store/{key}"

    def _send(self, path: Path, key: str, received: int) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = received if received < size else 0
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                data = base64.b64encode(chunk).decode()
                self._link.request("put", key=key, size=size, offset=offset, data=data)
                offset += len(chunk)
                self._say(f"sending {path.name} {100 * offset // size} %")

    def _with_local_names(self, message: str) -> str:
        """Name files as the desk knows them, not as they are called in the board's store."""
        for there, path in self._names.items():
            message = message.replace(there, str(path))
        return message


class RemoteWorker(Closing):
    """A process on the board that answers requests; see :class:`edgecnn.host.Worker`."""

    def __init__(self, way: Link, service: str, rename: Callable[[str], str]) -> None:
        self._link, self._rename = way, rename
        self._child: int = way.request("start", service=service)["child"]
        try:
            greeting = way.request("ask", START_TIMEOUT_S, child=self._child, request=None)
            self.greeting: Mapping[str, Any] = checked(greeting)
        except EdgecnnError:
            self.kill()
            raise

    def request(self, op: str, timeout_s: float, **arguments: Any) -> dict[str, Any]:
        """Ask the process for one thing, and wait for the answer."""
        request = {"op": op, **arguments}
        try:
            line = self._link.request("ask", timeout_s, child=self._child, request=request)
            answer: dict[str, Any] = checked(line)["ok"]
        except EdgecnnError as error:
            raise type(error)(self._rename(str(error))) from error
        return answer

    def kill(self) -> None:
        """End the process at once."""
        try:
            self._link.request("end", END_TIMEOUT_S, child=self._child)
        except ConnectionLostError:
            # The runner ended with the connection, and this process with the runner.
            return

    def close(self) -> None:
        """End the process."""
        self.kill()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def _silent(message: str) -> None:
    return
