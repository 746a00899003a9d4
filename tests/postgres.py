"""A real PostgreSQL server on the loopback address, for tests."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_TIMEOUT_S = 30.0


class Postgres:
    """A server that can be stopped at once and started again."""

    def __init__(self, programs: Path, folder: Path, user: str) -> None:
        self._programs, self._folder, self._user = programs, folder, user
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.url = f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the files of an empty server."""
        self._run("initdb", "-D", self._folder / "data", "-U", "tester", "-A", "trust",
                  "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self._folder}",
             "-c", "fsync=off"],
            user=self._user, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        limit = time.monotonic() + START_TIMEOUT_S
        ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > limit or self._process.poll() is not None:
                pytest.fail((self._folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server at once, as a crash does (SIGQUIT: immediate shutdown)."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()
        self._process = None

    def empty(self) -> None:
        """Forget every table."""
        self._run("psql", "-q", self.url, "-c",
                  "DROP SCHEMA public CASCADE; CREATE SCHEMA public")  # fmt: skip

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [self._programs / program, *map(str, arguments)],
            user=self._user, cwd=self._folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(f"{program}: {done.stderr}")


@contextmanager
def running() -> Iterator[Postgres]:
    """Give a server that runs while the block does; skip where PostgreSQL is not installed."""
    folder = Path(tempfile.mkdtemp(prefix="edgecnn-postgres-"))
    try:
        user = _user()
        shutil.chown(folder, user)
        server = Postgres(_programs(), folder, user)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of the newest server; Debian keeps them out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        pytest.skip("no PostgreSQL server; apt install postgresql")
    return (found[-1] if found else Path(str(on_path))).parent


def _user() -> str:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
