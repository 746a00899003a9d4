"""Emulated boards: the system, and a Python of theirs.

The system is made once per user, in the cache. Where QEMU or mmdebstrap is absent, or the system
cannot be made, the tests that need it are skipped with the reason.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgecnn import boards
from edgecnn.errors import ConnectionLostError, EdgecnnError, UnavailableError, UsageError
from edgecnn.remote import sysroot
from edgecnn.remote.programs import tool
from edgecnn.remote.qemu import Emulated

ROOT = Path(__file__).resolve().parent.parent

# Bits of AT_HWCAP and AT_HWCAP2 (Linux arch/arm64/include/uapi/asm/hwcap.h).
HWCAP = {"fp": 0, "asimd": 1, "crc32": 7, "atomics": 8, "fphp": 9, "asimdhp": 10, "asimddp": 20}
HWCAP2 = {"i8mm": 13, "bf16": 14}


@pytest.fixture(scope="session")
def system() -> Path:
    """The arm64 system."""
    try:
        tool(sysroot.QEMU, sysroot.INSTALL)
        return sysroot.system()
    except UnavailableError as error:
        pytest.skip(f"no emulated boards here: {error}")


def run(board: str, script: str, home: Path, *arguments: str) -> str:
    """Run a script with the board's Python, and return what it prints."""
    transport = Emulated(board, home)
    result = subprocess.run(
        transport.command(["-I", "-c", script, *arguments]),
        env=transport.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, transport.explain(result.returncode, result.stderr)
    return result.stdout


# --- the system in the cache


def fake_tools(folder: Path, mmdebstrap: str) -> str:
    """Write a QEMU and an mmdebstrap, and return a PATH where they come first."""
    folder.mkdir()
    for name, script in ((sysroot.QEMU, "exit 0"), ("mmdebstrap", mmdebstrap)):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_without_qemu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="apt install qemu-user-static mmdebstrap"):
        Emulated("rpi4").command([])


def test_a_system_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = 'for last; do [ -d "$last" ] && touch "$last/half"; done; echo no route >&2; exit 7'
    monkeypatch.setenv("PATH", fake_tools(tmp_path / "bin", failing))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UnavailableError, match=r"(?s)exit code 7.*no route"):
        sysroot.system()
    assert [path.name for path in sysroot.cache().iterdir()] == ["system.lock"]


def test_a_system_is_made_once_by_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = f"echo made >>{tmp_path}/log; sleep 0.5"
    monkeypatch.setenv("PATH", fake_tools(tmp_path / "bin", making))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    script += "from edgecnn.remote import sysroot; print(sysroot.system())"
    together = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(3)
    ]
    found = {process.communicate()[0] for process in together}
    assert found == {f"{sysroot.cache() / 'system'}\n".encode()}
    assert (tmp_path / "log").read_text() == "made\n"


def test_the_desks_mirrors_are_used_for_the_same_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "bin"
    monkeypatch.setenv("PATH", fake_tools(bin_, "exit 0"))
    lines = (
        "Debian deb http://mirror.test/debian bookworm main\n"
        "Debian deb http://mirror.test/debian bookworm contrib\n"
        "Debian deb http://mirror.test/debian-security bookworm-security main\n"
        "Other deb http://other.test/apt bookworm main\n"
    )
    (bin_ / "apt-get").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    (bin_ / "apt-get").chmod(0o755)
    assert sysroot._desk_mirrors() == [
        "deb http://mirror.test/debian bookworm main",
        "deb http://mirror.test/debian-security bookworm-security main",
    ]
    (bin_ / "apt-get").write_text("#!/bin/sh\necho Debian deb http://mirror.test sid main\n")
    assert sysroot._desk_mirrors() == []


# --- a board's own files


@pytest.mark.parametrize("name", boards.names())
def test_a_board_shows_its_own_processors(name: str) -> None:
    board = boards.get(name)
    files = sysroot.board_files(board)
    blocks = files["proc/cpuinfo"].strip().split("\n\n")
    assert len(blocks) == board.cores
    parts = [f"CPU part\t: 0x{cluster.part:03x}" for cluster in board.clusters
             for _ in range(cluster.count)]  # fmt: skip
    assert all(part in block for part, block in zip(parts, blocks, strict=True))
    assert files["sys/devices/system/cpu/present"] == f"0-{board.cores - 1}\n"
    assert files["proc/device-tree/model"].startswith("".join(board.models[:1]))


def test_a_changed_description_makes_another_view(system: Path) -> None:
    first = sysroot.view(boards.get("rpi4"), "rpi4")
    assert first == sysroot.view(boards.get("rpi4"), "rpi4")
    assert first != sysroot.view(boards.get("rpi5"), "rpi5")
    assert (first / "usr").resolve() == system / "usr"


def test_nothing_of_the_desks_environment_reaches_the_board(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "OMP_NUM_THREADS", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/desk")
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    found = Emulated("rpi4", tmp_path).environment()
    assert "/desk" not in found.values()
    assert found["https_proxy"] == "http://proxy.test:3128"
    assert found["QEMU_CPU"] == "cortex-a72"
    assert found["EDGECNN_BOARD_HOME"] == str(tmp_path)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (-signal.SIGILL, UnavailableError, "instructions that this board's processor lacks"),
        (128 + signal.SIGSEGV, UnavailableError, "segmentation fault"),
        (-signal.SIGKILL, ConnectionLostError, "SIGKILL"),
        (1, UnavailableError, "exit code 1"),
        (None, UnavailableError, "None"),
    ],
)
def test_an_end_is_explained(code: int | None, kind: type[EdgecnnError], words: str) -> None:
    error = Emulated("rpi4").explain(code, "first\n\nthe last words\n")
    assert type(error) is kind
    assert words in str(error)
    assert "the last words" in str(error)


def test_an_unknown_board_is_refused() -> None:
    with pytest.raises(UsageError, match="rpi4"):
        Emulated("nosuch").command([])


# --- its Python


@pytest.mark.slow
def test_python_finds_itself_on_the_board(system: Path, tmp_path: Path) -> None:
    script = """
import json, os, platform
from pathlib import Path
print(json.dumps({
    "machine": platform.machine(), "cores": os.cpu_count(),
    "model": Path("/proc/device-tree/model").read_text(),
    "part": Path("/proc/cpuinfo").read_text().count("0xd0b"),
    "zones": os.listdir("/sys/class/thermal"),
    "governor": Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text(),
    "python": {name for name in os.environ if name.startswith("PYTHON")} == set(),
}))
"""
    assert json.loads(run("rpi5", script, tmp_path)) == {
        "machine": "aarch64",
        "cores": 4,
        "model": "Raspberry Pi 5 Model B\0",
        "part": 4,
        "zones": [],
        "governor": "",
        "python": True,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", boards.names())
def test_qemu_executes_what_a_board_promises(name: str, system: Path, tmp_path: Path) -> None:
    script = "import ctypes; f = ctypes.CDLL(None).getauxval; f.restype = ctypes.c_ulong;"
    hwcap, hwcap2 = map(int, run(name, script + "print(f(16), f(26))", tmp_path).split())
    for cluster in boards.get(name).clusters:
        for feature in cluster.features:
            assert feature not in HWCAP or hwcap >> HWCAP[feature] & 1, feature
            assert feature not in HWCAP2 or hwcap2 >> HWCAP2[feature] & 1, feature


@pytest.mark.slow
def test_what_the_runner_needs_of_an_operating_system(system: Path, tmp_path: Path) -> None:
    script = """
import ctypes, fcntl, os, select, signal, socket, sys, time
ours, theirs = socket.socketpair()
memory = os.memfd_create("m")
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.write(memory, b"words")
    theirs.send(b"ready")
    time.sleep(60)
    os._exit(0)
assert select.select([ours], [], [], 10)[0] and ours.recv(9) == b"ready"
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
assert os.pread(memory, 9, 0) == b"words"
first, second = open(sys.argv[1], "w"), open(sys.argv[1], "w")
fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
try:
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sys.exit("locked twice")
except BlockingIOError:
    pass
# A grandchild dies with its parent: the pipe that both hold ends long before its minute is over.
read, write = os.pipe()
parent = os.fork()
if parent == 0:
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        os.write(write, b"x")
        time.sleep(60)
    time.sleep(1)
    os._exit(0)
os.close(write)
assert os.read(read, 1) == b"x" and select.select([read], [], [], 20)[0] and not os.read(read, 1)
print("all")
"""
    assert run("rpi4", script, tmp_path, str(tmp_path / "lock")) == "all\n"
