"""An emulated board that SSH reaches. It needs root, and is skipped with the reason elsewhere."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.remote import binfmt, sshd, sysroot
from edgecnn.remote.sshd import EmulatedBoard


def require_emulation() -> None:
    """Skip where no such board can run."""
    if reason := sshd.why_not():
        pytest.skip(reason)
    try:
        sysroot.system()
    except UnavailableError as error:
        pytest.skip(f"no emulated boards here: {error}")


@pytest.fixture(scope="module")
def over_ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedBoard]:
    """A board that SSH reaches."""
    require_emulation()
    with EmulatedBoard("rpi4", folder=tmp_path_factory.mktemp("ssh")) as board:
        yield board


def login(board: EmulatedBoard, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a command on the board."""
    return subprocess.run(
        ["ssh", "-F", str(board.ssh_config), "-o", "BatchMode=yes", "-p", str(board.port),
         "-o", "StrictHostKeyChecking=yes", *options, sshd.HOST, command],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
def test_a_login_meets_the_board(over_ssh: EmulatedBoard) -> None:
    script = """python3 -c '
import os, platform, subprocess, sys
own = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
print(platform.machine(), platform.node(), os.cpu_count(), own.stdout.strip())
print(open("/proc/cpuinfo").read().count("0xd08"), os.environ["QEMU_CPU"])
'"""
    found = login(over_ssh, script)
    assert found.stdout == "aarch64 rpi4 4 42\n4 cortex-a72\n", found.stderr


@pytest.mark.slow
def test_only_its_own_key_opens_it(over_ssh: EmulatedBoard, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    config = over_ssh.ssh_config.read_text().replace(str(over_ssh.identity_file), str(other))
    (tmp_path / "config").write_text(config)
    refused = login(over_ssh, "true", "-F", str(tmp_path / "config"))
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr
    assert over_ssh.identity_file.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_it_listens_on_the_loopback_address_alone(over_ssh: EmulatedBoard) -> None:
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{over_ssh.port:04X}")
    ]
    assert listening == [f"0100007F:{over_ssh.port:04X}"]


@pytest.mark.slow
def test_the_desk_sees_nothing_of_it(over_ssh: EmulatedBoard) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    assert str(over_ssh.folder) not in mounts
    assert socket.gethostname() != "rpi4" or os.uname().machine == "aarch64"
    assert list((over_ssh.root / "dev").iterdir()) == []
    assert list((over_ssh.root / "proc").iterdir()) == []
    refused = login(over_ssh, "echo x >/usr/bin/python3")
    assert refused.returncode != 0, "the system is shared, and not to be written to"


@pytest.mark.slow
def test_the_same_board_cannot_run_twice(over_ssh: EmulatedBoard) -> None:
    with (
        pytest.raises(UsageError, match="runs already"),
        EmulatedBoard("rpi4", folder=over_ssh.folder),
    ):
        pass


@pytest.mark.slow
def test_nothing_outlives_it_and_its_host_key_stays(over_ssh: EmulatedBoard) -> None:
    folder = over_ssh.folder.with_name("again")
    with EmulatedBoard("rpi5", folder=folder) as board:
        login(board, "nohup sleep 86399 >/dev/null 2>&1 </dev/null &")
        key = board.fingerprint
        assert processes("sleep\00086399")
        with pytest.raises(UnavailableError, match="did not start"):
            # Its port is taken.
            EmulatedBoard("rpi5", board.port, folder.with_name("third")).start()
    assert not processes("sleep\00086399")
    assert not sshd._greets(board.port)
    with EmulatedBoard("rpi5", folder=folder) as board:
        assert board.fingerprint == key
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_the_command_tells_how_to_log_in_and_ends_cleanly(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    require_emulation()
    port = sshd._free_port()
    options = ["--ssh", str(port), "--folder", str(tmp_path), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn", "device", "emulate", "rpi4", *options],
        stdout=subprocess.PIPE,
    )
    told = _document(process)
    assert told["address"] == f"ssh://root@127.0.0.1:{port}"
    assert told["host_key"].startswith("SHA256:")
    assert Path(told["identity"]).is_file()
    assert sshd._greets(port)
    process.send_signal(number)
    assert process.wait(20) == code
    deadline = time.monotonic() + 10
    while sshd._greets(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(str(tmp_path))


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match="sudo"), EmulatedBoard("rpi4", folder=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_kernels_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = tmp_path / sysroot.QEMU
    qemu.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    nothing = tmp_path / "binfmt"
    nothing.mkdir()
    line = binfmt.registration(nothing)
    _, name, kind, offset, magic, mask, program, flags = line.split(":")
    assert (name, kind, offset, flags) == ("qemu-aarch64", "M", "", "F")
    assert program == str(qemu)
    assert magic.count(r"\x") + len("ELF") == mask.count(r"\x") == 20
    (nothing / "status").write_text("enabled\n")
    with pytest.raises(UnavailableError, match="update-binfmts --enable qemu-aarch64"):
        binfmt.registration(nothing)
    (nothing / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu\n")
    assert binfmt.registration(nothing) == ""


def processes(words: str) -> list[int]:
    """Return the processes whose command line has ``words`` (arguments end with NUL)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if words.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid in found if pid != os.getpid()]


def _document(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """Read a JSON document from a process that goes on."""
    text = b""
    for line in process.stdout or ():
        text += line
        if line == b"}\n":
            break
    document: dict[str, Any] = json.loads(text)
    return document
