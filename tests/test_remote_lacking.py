"""Boards that lack something: Python, packages, a runtime, space or memory."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest
import tiny_onnx
from loopback import Loopback

from edgecnn import hosted, measure, serving
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan
from edgecnn.errors import UnavailableError
from edgecnn.remote import link
from edgecnn.remote.code import Code, bundle
from edgecnn.remote.host import RemoteHost

QUICK = Plan(min_runs=12, min_seconds=0.0, rounds=4, warmup_seconds=0.2, stages=False)


@pytest.fixture
def board(tmp_path: Path) -> Loopback:
    """A board with nothing on it."""
    return Loopback(tmp_path / "board")


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    """A small file with a contract and a golden sample."""
    return tiny_onnx.artifact(tmp_path / "tiny.onnx")


def test_an_old_python_is_told_in_words(board: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MINIMUM_PYTHON", (3, 99))
    board.folder.mkdir()
    with pytest.raises(UnavailableError, match=r"has Python 3\.\d+\.\d+; edgecnn needs 3\.99"):
        RemoteHost(board)


@pytest.mark.parametrize("asked_after_s", [0, 1])
def test_a_login_that_talks_is_told_in_words(
    asked_after_s: float, board: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late() -> Code:
        time.sleep(asked_after_s)
        return bundle()

    monkeypatch.setattr(link, "bundle", late)
    board.folder.mkdir()
    chatty = tmp_path / "chatty"
    chatty.write_text("#!/bin/sh\necho welcome to the board\n")
    chatty.chmod(0o755)
    board.python = str(chatty)
    with pytest.raises(UnavailableError, match="must not print anything"):
        RemoteHost(board)


def test_a_board_without_packages_says_how_to_get_them(
    board: Loopback, tmp_path: Path, model: Artifact
) -> None:
    board.folder.mkdir()
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {board.python} -S "$@"\n')
    bare.chmod(0o755)
    board.python = str(bare)
    with RemoteHost(board) as host, pytest.raises(UnavailableError, match="edgecnn device setup"):
        hosted.ask_once(host, "availability", device="local")


def test_a_missing_runtime_is_told_and_the_others_go_on(
    board: Loopback, tmp_path: Path, model: Artifact
) -> None:
    hidden = board.home / "site" / "openvino"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not for this processor')\n")
    both = [Candidate(model, "openvino"), Candidate(model, "ort")]
    with RemoteHost(board) as host:
        comparison = measure.interleave(both, QUICK, host=host)
    assert [profile.runtime for profile in comparison.profiles] == ["ort"]
    assert "not for this processor" in str(comparison.failures[0].error)
    assert isinstance(comparison.failures[0].error, UnavailableError)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_and_tidied(board: Loopback, tmp_path: Path) -> None:
    board.home.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(board.home)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        file = tmp_path / "large.bin"
        file.write_bytes(random.Random(3).randbytes(6_000_000))
        with RemoteHost(board) as host:
            with pytest.raises(UnavailableError, match="no space left on the board"):
                host.stage(file)
            assert not list((board.home / "store").iterdir())
    finally:
        subprocess.run(["umount", str(board.home)], check=True)


def test_too_little_memory_is_told_in_words() -> None:
    class Greedy:
        def open(self) -> dict[str, int]:
            raise MemoryError

    found = serving.answer(Greedy(), b'{"op": "open"}')
    assert found["error"]["kind"] == "UnavailableError"
    assert "too little memory" in found["error"]["message"]
    assert "are available" in found["error"]["message"]
