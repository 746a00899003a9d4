"""A real SSH server on the loopback address, with keys of its own, for tests.

Nothing of the user's ``~/.ssh`` is read or written: the client is given a configuration of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecnn.remote.address import Address
from edgecnn.remote.openssh import Ssh

SEPARATION_FOLDER = Path("/run/sshd")
"""Where sshd puts its unprivileged part when it runs as root; the path is compiled in."""
START_TIMEOUT_S = 20.0


class Sshd:
    """A server that can be stopped, started again, frozen and given another host key."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self.board_home = Path(variables["EDGECNN_BOARD_HOME"])
        self.port = _free_port()
        self.address = Address("127.0.0.1", port=self.port)
        self.identity = folder / "identity"
        self.known_hosts = folder / "known_hosts"
        self.client_config = folder / "ssh_config"
        self._log = folder / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        make_key(self.identity)
        self.new_host_key()
        shutil.copy(self.identity.with_suffix(".pub"), folder / "authorized_keys")
        self.client_config.write_text(
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile /dev/null\n"
            f"IdentityFile {self.identity}\nIdentitiesOnly yes\nIdentityAgent none\n"
        )
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder / 'host_key'}\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"MaxStartups 100\nSetEnv {' '.join(f'{k}={v}' for k, v in variables.items())}\n"
        )

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ``ssh`` that keep the user's files out of it."""
        return ("-F", str(self.client_config))

    def ssh(self, identity: Path | None = None) -> Ssh:
        """Return the way to this server, where the test's own Python is the board's."""
        return Ssh(self.address, sys.executable, identity, self.options)

    def trust(self) -> None:
        """Make the present host key the only known one."""
        kind, blob = (self._folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {blob}\n")

    def new_host_key(self) -> None:
        """Make another host key, which counts from the next start on."""
        make_key(self._folder / "host_key")

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("no sshd; apt install openssh-server")
        if os.geteuid() == 0:
            SEPARATION_FOLDER.mkdir(mode=0o755, exist_ok=True)
        config = self._folder / "sshd_config"
        self._process = subprocess.Popen(
            [program, "-D", "-f", config, "-E", self._log], stdin=subprocess.DEVNULL
        )
        _wait_until_open(self.port, self._process, self._log)

    def stop(self) -> None:
        """End the server and all its connections."""
        if self._process is None:
            return
        # A frozen process ends by SIGKILL alone.
        connections = self.connections()
        self._process.kill()
        self._process.wait()
        self._process = None
        _signal(connections, signal.SIGKILL)

    def connections(self) -> list[int]:
        """Return the processes of the server that serve a connection, not what they started."""
        return [] if self._process is None else list(_servers_below(self._process.pid))

    def drop_connections(self) -> None:
        """Cut all connections, as a reset does; the server goes on, and so do the programs."""
        _signal(self.connections(), signal.SIGKILL)

    def freeze(self) -> None:
        """Let all connections fall silent, as a board does that loses its power."""
        _signal(self.connections(), signal.SIGSTOP)


@contextmanager
def serving(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Sshd]:
    """Run a server whose files are in ``folder``; its host key is not known to the client yet.

    The board's home and lock lie in ``folder`` too; ``variables`` are more for its programs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen; apt install openssh-client")
    own = {
        "EDGECNN_BOARD_HOME": str(folder / "board"),
        "EDGECNN_BOARD_LOCK": str(folder / "lock"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    server = Sshd(folder, own | dict(variables or {}))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def make_key(path: Path) -> Path:
    """Make a key pair without a passphrase, in the place of an older one."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"sshd did not start: {log.read_text() if log.exists() else 'no log'}")


def _servers_below(parent: int) -> Iterator[int]:
    """The processes called sshd (sshd-session since OpenSSH 9.8) below a process."""
    for pid, name, above in _processes():
        if above == parent and name.startswith("sshd"):
            yield pid
            yield from _servers_below(pid)


def _processes() -> Iterator[tuple[int, str, int]]:
    """The id, the name and the parent of each process: proc(5), /proc/pid/stat."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        yield int(entry.name), name, int(text[text.rindex(")") + 2 :].split()[1])


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
