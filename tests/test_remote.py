"""The session on a board, its runner and its faults, over a pipe to another Python here."""

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_onnx
from loopback import Loopback, alive

from edgecnn import hosted, measure
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.errors import (
    ArtifactError,
    ConnectionLostError,
    MeasurementError,
    UnavailableError,
    UsageError,
)
from edgecnn.onboard import runner
from edgecnn.onboard.children import Child
from edgecnn.remote import link
from edgecnn.remote.code import bundle
from edgecnn.remote.host import RemoteHost

QUICK = Plan(min_runs=12, min_seconds=0.0, rounds=4, warmup_seconds=0.2, stages=False)
END_S = 10.0


@pytest.fixture
def board(tmp_path: Path) -> Loopback:
    """A board with nothing on it."""
    return Loopback(tmp_path / "board")


@pytest.fixture
def host(board: Loopback) -> Iterator[RemoteHost]:
    """A session on it."""
    board.folder.mkdir()
    with RemoteHost(board, what="a test", patience_s=20.0) as session:
        yield session


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    """A small file with a contract and a golden sample."""
    return tiny_onnx.artifact(tmp_path / "tiny.onnx")


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until ``condition`` holds, for a stated time."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def runner_pid(host: RemoteHost) -> int:
    """Return the id of the runner, which is a process of this machine."""
    return int(host._link.greeting["pid"])


def descendants(pid: int) -> list[int]:
    """Return the ids of the children that a process has forked."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


# The session


def test_the_code_is_sent_once(board: Loopback) -> None:
    board.folder.mkdir()
    with RemoteHost(board) as first:
        assert not first.board["has"]
    with RemoteHost(board) as second:
        assert second.board["has"]
    assert (board.home / "code" / bundle().sha256 / "edgecnn" / "onboard").is_dir()


def test_the_board_gets_neither_converters_nor_commands(board: Loopback, host: RemoteHost) -> None:
    folder = board.home / "code" / bundle().sha256 / "edgecnn"
    assert (folder / "runtimes" / "ort.py").is_file()
    assert not any((folder / name).exists() for name in ("cli", "export", "remote"))


def test_a_runner_needs_the_standard_library_alone(board: Loopback) -> None:
    board.folder.mkdir()
    with RemoteHost(board) as host:
        mapped = Path(f"/proc/{runner_pid(host)}/maps").read_text()
    assert "numpy" not in mapped
    assert "onnx" not in mapped


def test_a_file_travels_once(board: Loopback, host: RemoteHost, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(random.Random(0).randbytes(700_000))
    there = Path(host.stage(file))
    assert there.read_bytes() == file.read_bytes()
    first = there.stat().st_ino
    host.close()
    with RemoteHost(board) as again:
        assert Path(again.stage(file)).stat().st_ino == first


def test_a_broken_transfer_goes_on_where_it_was(
    board: Loopback, host: RemoteHost, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(600_000)
    file = tmp_path / "weights.bin"
    file.write_bytes(data)
    key = f"{hashlib.sha256(data).hexdigest()}.bin"
    store = board.home / "store"
    store.mkdir(parents=True)
    (store / f"{key}.partial").write_bytes(data[:500_000])
    offsets: list[int] = []
    request = host._link.request

    def watched(op: str, *args: object, **arguments: object) -> object:
        offsets.extend([arguments["offset"]] if op == "put" else [])  # type: ignore[list-item]
        return request(op, *args, **arguments)  # type: ignore[arg-type]

    host._link.request = watched  # type: ignore[method-assign]
    assert Path(host.stage(file)).read_bytes() == data
    assert offsets[0] == 500_000


def test_a_damaged_transfer_is_not_kept(board: Loopback, host: RemoteHost, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"some weights")
    with pytest.raises(UnavailableError, match="damaged"):
        host.stage(file, sha256="0" * 64)
    assert not list((board.home / "store").iterdir())


def test_paths_stay_in_the_store(host: RemoteHost) -> None:
    with pytest.raises(UsageError, match="no name in a store"):
        host._link.request("put", key="../../evil", size=1, offset=0, data="YQ==")


@pytest.mark.parametrize("op", ["serve", "close", "__init__", "remove"])
def test_only_what_is_offered_can_be_asked_for(host: RemoteHost, op: str) -> None:
    with pytest.raises(UsageError, match="no request"):
        host._link.request(op)


def test_the_runner_goes_with_the_session(board: Loopback) -> None:
    board.folder.mkdir()
    with RemoteHost(board) as host:
        pid, worker = runner_pid(host), host.start_worker()
        child = int(worker.greeting["pid"])
        assert alive(pid)
        assert alive(child)
    assert eventually(lambda: not alive(pid) and not alive(child))


# The lock


def test_a_second_session_is_told_who_has_the_board(board: Loopback, host: RemoteHost) -> None:
    with pytest.raises(UnavailableError, match=r"in use by .* since .*a test"):
        RemoteHost(board)


def test_the_board_is_free_again(board: Loopback) -> None:
    board.folder.mkdir()
    for _ in range(2):
        with RemoteHost(board):
            pass


def test_a_killed_runner_frees_the_board(board: Loopback, host: RemoteHost) -> None:
    worker = host.start_worker()
    os.kill(runner_pid(host), 9)
    assert eventually(lambda: not alive(int(worker.greeting["pid"])))
    with RemoteHost(board):
        pass


def test_a_session_takes_over_from_its_own_lost_runner(board: Loopback, host: RemoteHost) -> None:
    old = runner_pid(host)
    # As a cut cable does it: the old runner hears nothing, and lives on.
    os.kill(old, 19)
    host._link._lost = ConnectionLostError("cut")
    host.recover()
    assert runner_pid(host) != old
    assert eventually(lambda: not alive(old))


# Measuring


def test_a_profile_over_a_connection_is_a_profile(host: RemoteHost, model: Artifact) -> None:
    comparison = measure.interleave([Candidate(model, "ort")], QUICK, host=host)
    (profile,) = comparison.require_any().profiles
    assert len(profile.samples_ns) >= QUICK.min_runs
    assert profile.artifact == str(model.path)
    assert profile.complete
    assert profile.processes == 1
    assert 0 < profile.baseline_rss_bytes < profile.peak_rss_bytes


def test_candidates_take_turns_on_a_board(host: RemoteHost, model: Artifact) -> None:
    both = [Candidate(model, "ort"), Candidate(model, "null")]
    comparison = measure.interleave(both, QUICK, host=host)
    assert [profile.runtime for profile in comparison.profiles] == ["ort", "null"]
    assert not comparison.failures


def test_errors_name_the_desks_files(host: RemoteHost, model: Artifact) -> None:
    model.path.write_bytes(model.path.read_bytes()[:-40])
    process = hosted.Hosted(host, model, "ort", Candidate(model, "ort").device, 1)
    with pytest.raises((ArtifactError, UnavailableError)) as caught:
        process.open()
    assert "store/" not in str(caught.value)


@pytest.mark.parametrize("after_ms", range(0, 800, 80))
def test_a_cut_connection_loses_nothing(board: Loopback, model: Artifact, after_ms: int) -> None:
    board.folder.mkdir()
    plan = Plan(min_runs=60, min_seconds=0.0, rounds=12, warmup_seconds=0.1, stages=False)
    pids: set[int] = set()
    with RemoteHost(board, patience_s=30.0) as host:
        pids |= {runner_pid(host)}
        cut = threading.Timer(after_ms / 1000, host._link.kill)
        cut.start()
        comparison = measure.interleave([Candidate(model, "ort")], plan, host=host)
        cut.join()
        pids |= {runner_pid(host), *descendants(runner_pid(host))}
    (profile,) = comparison.require_any().profiles
    assert profile.complete
    assert len(profile.samples_ns) == 60
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_killed_runner_loses_nothing(host: RemoteHost, model: Artifact) -> None:
    pids: list[int] = []

    def kill(what: str, done: int, total: int) -> None:
        if what == "measuring" and done == 2 and not pids:
            pids.append(runner_pid(host))
            os.kill(pids[0], 9)

    comparison = measure.interleave([Candidate(model, "ort")], QUICK, host=host, progress=kill)
    (profile,) = comparison.require_any().profiles
    assert pids
    assert profile.complete
    assert profile.processes == 2
    assert any("2 processes" in note for note in profile.notes)


def test_a_board_that_stays_away_leaves_what_was_measured(board: Loopback, model: Artifact) -> None:
    board.folder.mkdir()

    def pull_the_plug(what: str, done: int, total: int) -> None:
        if what == "measuring" and done == 2:
            board.python = "/nowhere/python3"
            host._link.kill()

    with RemoteHost(board, patience_s=1.0) as host:
        comparison = measure.interleave(
            [Candidate(model, "ort")], QUICK, host=host, progress=pull_the_plug
        )
    (profile,) = comparison.profiles
    assert len(profile.samples_ns) == 6
    assert not profile.complete
    assert "did not come back" in str(comparison.failures[0].error)


def test_a_worker_that_dies_is_told_from_a_lost_connection(
    host: RemoteHost, model: Artifact
) -> None:
    def kill(what: str, done: int, total: int) -> None:
        if what == "measuring" and done == 1:
            os.kill(descendants(runner_pid(host))[0], 9)

    comparison = measure.interleave([Candidate(model, "ort")], QUICK, host=host, progress=kill)
    assert "SIGKILL" in str(comparison.failures[0].error)
    assert isinstance(comparison.failures[0].error, MeasurementError)


def test_a_process_that_died_unheard_is_told_of(host: RemoteHost) -> None:
    """The runner, stopped meanwhile, hears of the death and of a request at once."""
    worker, pid = host.start_worker(), runner_pid(host)
    (child,) = descendants(pid)
    os.kill(pid, signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not alive(child))
    threading.Timer(0.4, os.kill, (pid, signal.SIGCONT)).start()
    for _ in range(2):
        with pytest.raises(MeasurementError, match="SIGKILL"):
            worker.request("environment", 20.0)
    assert host.machine()["python"] and not host.reconnections


def test_a_request_to_a_dead_process_is_no_lost_desk() -> None:
    """What is written to a closed socket; its end is told by the lines."""
    child = Child(lambda requests, answers: None)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.send(b"{}\n")
    assert child.lines() is None
    assert child.end() == "exit code 0"


def test_a_silent_board_is_given_up(board: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENCE_S", 0.6)
    monkeypatch.setattr(link, "PULSE_S", 0.1)
    board.folder.mkdir()
    with RemoteHost(board) as host:
        os.kill(runner_pid(host), 19)
        start = time.monotonic()
        with pytest.raises(ConnectionLostError):
            host._link.request("machine", 60.0)
        assert time.monotonic() - start < 5.0


def test_a_silent_desk_is_given_up(board: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENCE_S", 0.5)
    monkeypatch.setattr(link, "PULSE_S", 60.0)
    board.folder.mkdir()
    with RemoteHost(board) as host:
        pid, worker = runner_pid(host), host.start_worker()
        assert eventually(lambda: not alive(pid) and not alive(int(worker.greeting["pid"])))


def test_runner_silence_is_longer_than_the_pulse() -> None:
    assert runner.SILENCE_S > 3 * link.PULSE_S


def test_a_connection_is_lost_to_whoever_notices_first(
    host: RemoteHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reading thread is slow to notice: the writer must not take the connection for alive.
    way = host._link
    reason = way._reason
    reader = way._reader
    monkeypatch.setattr(
        way,
        "_reason",
        lambda: (
            (time.sleep(1.0), reason())[1] if threading.current_thread() is reader else reason()
        ),
    )
    way.kill()
    way._process.wait()
    with pytest.raises(ConnectionLostError):
        way.request("machine")
    assert way.is_lost


def test_what_is_not_needed_again_is_removed(host: RemoteHost, tmp_path: Path) -> None:
    file = tmp_path / "package.whl"
    file.write_bytes(b"unpacked by now")
    there = Path(host.stage(file))
    host.forget([file])
    assert not there.exists()
    assert Path(host.stage(file)).read_bytes() == file.read_bytes()
