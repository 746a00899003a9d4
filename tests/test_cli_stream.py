"""`edgecnn stream` as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import scripted
import tiny_onnx

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "edgecnn", "stream"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted.model(tmp_path_factory.mktemp("models")).path


def run(*words: object, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, timeout=60, check=False,
        **given,
    )  # fmt: skip


def test_json_lines_are_all_there_is_on_stdout(model: Path, video: Path) -> None:
    done = run(model, "--source", video, "--frames", 5, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len([row for row in rows if "frame" in row]) == 5
    assert set(rows[-1]) == {"summary"}


def test_a_file_as_a_batch(model: Path, video: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    done = run(model, "--source", video, "--every-frame", "--frames", 50, "--to", table)
    assert done.returncode == 0, done.stderr
    assert "50 results" in done.stdout
    assert len(table.read_text().splitlines()) == 51
    again = run(model, "--source", video, "--every-frame", "--frames", 5, "--to", table)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(("budget", "code"), [("1000", 0), ("0.01", 4)])
def test_the_verdict_is_the_exit_code(model: Path, video: Path, budget: str, code: int) -> None:
    done = run(model, "--source", video, "--frames", 20, "--budget-ms", budget)
    assert done.returncode == code
    assert ("kept" if code == 0 else "broken") in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_frame_at_hand(
    model: Path, video: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    lines = tmp_path / "a.jsonl"
    process = subprocess.Popen([*COMMAND, str(model), "--source", str(video), "--to", str(lines)])
    deadline = time.monotonic() + 30
    while not lines.exists() or lines.read_text().count("\n") < 10:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == code
    assert time.monotonic() - start < 3
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert rows[-1]["summary"]["ended"] == "stopped"


def test_a_reader_that_leaves_ends_it(model: Path, video: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(model), "--source", str(video), "--json"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) in (0, 5)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


def test_frames_come_from_another_program(model: Path) -> None:
    frames = b"".join(scripted.picture(number).tobytes() for number in range(20))
    done = subprocess.run(
        [*COMMAND, str(model), "--source", "-", "--size", f"{scripted.WIDTH}x{scripted.HEIGHT}",
         "--json"],
        input=frames, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b'"summary"' in done.stdout


def test_bad_input_is_one_message_and_its_exit_code(
    model: Path, video: Path, tmp_path: Path
) -> None:
    bare = tiny_onnx.artifact(tmp_path / "unnamed.onnx").path
    foreign = tiny_onnx.write_onnx(tmp_path / "foreign.onnx")
    cases: list[tuple[list[object], int, str]] = [
        ([model, "--source", "97"], 5, "no camera"),
        ([model, "--source", "rtsp://127.0.0.1:9/cam", "--timeout", 2], 5, "no answer"),
        ([model, "--source", "none.mp4"], 3, "no such file"),
        ([model, "--source", "picamera"], 5, "picamera2"),
        ([bare, "--source", video], 3, "--labels"),
        ([foreign, "--source", video], 3, "--mean"),
        ([tmp_path / "none.onnx", "--source", video], 3, "none.onnx"),
        ([model, "--source", video, "--budget-ms", 0], 2, "above 0"),
        ([model, "--source", video, "--fallback", model], 2, "--budget-ms"),
        ([model, "--source", video, "--size", "big"], 2, "WIDTHxHEIGHT"),
        ([model, "--source", video, "--serve", "0.0.0.0:8080"], 2, "--token"),
        ([model, "--source", video, "--token", "t" * 16], 2, "pass --serve"),
        ([model, "--source", video, "--to", "a.xyz"], 2, "FILE.csv"),
        ([model, "--source", video, "--runtime", "none"], 2, "allowed"),
        ([model, "--source", "-"], 2, "--size"),
    ]
    environment = {name: text for name, text in os.environ.items() if name != "EDGECNN_TOKEN"}
    for words, code, said in cases:
        done = run(*words, env=environment)
        assert done.returncode == code, (words, done.stderr)
        assert said in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_token_may_wait_in_the_environment(model: Path, video: Path) -> None:
    done = run(model, "--source", video, "--frames", 1, env={**os.environ, "EDGECNN_TOKEN": "x"})
    assert done.returncode == 0, done.stderr


def test_the_sample_runs(model: Path, video: Path) -> None:
    script = str(ROOT / "samples" / "stream.py")
    done = subprocess.run(
        [sys.executable, script, str(model), str(video), "--seconds", "1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "frame age p95" in done.stdout


def test_no_torch_is_loaded(model: Path, video: Path) -> None:
    script = (
        "import sys; from edgecnn import Stream\n"
        f"with Stream({str(model)!r}, {str(video)!r}) as results: next(iter(results))\n"
        "sys.exit('torch' in sys.modules or 'aiohttp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_the_unit_is_one_that_systemd_reads(tmp_path: Path) -> None:
    unit = (ROOT / "samples" / "raspberry-pi" / "edgecnn-stream.service").read_text()
    copy = tmp_path / "edgecnn-stream.service"
    copy.write_text(unit.replace("/opt/edgecnn/bin/edgecnn", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "edgecnn-stream" in line]
    assert complaints == []
