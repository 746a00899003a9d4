"""What goes wrong with a board, against a real SSH server on the loopback address."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_onnx
from click.testing import CliRunner, Result
from loopback import alive
from sshd import Sshd, serving

from edgecnn import measure, named
from edgecnn.artifact import Artifact
from edgecnn.cli import main
from edgecnn.comparison import Candidate, Plan
from edgecnn.errors import RefusedError
from edgecnn.evaluate import evaluate
from edgecnn.remote import link
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.openssh import CONFIG_VARIABLE

PLAN = Plan(min_runs=60, min_seconds=0.0, rounds=12, warmup_seconds=0.1, stages=False)
END_S = 30.0
FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketime.so.1"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server whose key is known, and which is filed under the name ``board``."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with serving(tmp_path / "sshd") as server:
        server.trust()
        monkeypatch.setenv(CONFIG_VARIABLE, str(server.client_config))
        named.add("board", named.Named(str(server.address), sys.executable))
        yield server


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    """A small file with a contract."""
    return tiny_onnx.artifact(tmp_path / "tiny.onnx")


def run(*arguments: object) -> Result:
    """Run a command as a user does."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def profile(model: Artifact, *arguments: object) -> Result:
    """Measure quickly on the board."""
    quick = ("--runtime", "ort", "--runs", 5, "--seconds", 0.05)
    return run("profile", model.path, "--device", "board", *quick, *arguments)


def runners(server: Sshd) -> list[int]:
    """Return the Python processes that work in the board's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(server.board_home).encode() in variables and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def nothing_left(server: Sshd) -> bool:
    """Wait, for a stated time, until nothing of edgecnn runs on the board."""
    deadline = time.monotonic() + END_S
    while runners(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not runners(server)


def test_a_profile_over_ssh(server: Sshd, model: Artifact) -> None:
    done = profile(model, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["device"] == str(server.address)
    assert document["timing"] == "measured"
    assert document["runs"] >= 5
    assert nothing_left(server)


def test_a_deadline_is_judged_on_the_board(server: Sshd, model: Artifact) -> None:
    assert profile(model, "--target-ms", 0.000001).exit_code == 4
    assert profile(model, "--target-ms", 60_000).exit_code == 0


def test_photographs_are_classified_on_the_board(
    server: Sshd, model: Artifact, tmp_path: Path
) -> None:
    import cv2
    import numpy as np

    from edgecnn import devices

    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(6):
        noise = np.random.default_rng(index).integers(0, 255, (40, 50, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)
    (folder / "broken.jpg").write_bytes(b"no picture")
    there = evaluate(model, folder, device=devices.parse("board"), reference=model)
    assert there.agreement == 100.0
    assert there.images == 6
    assert "broken.jpg" in there.skipped[0].reason


def test_select_measures_on_the_board(
    server: Sshd, model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn import devices
    from edgecnn.select.timing import available_runtimes

    place = devices.parse("board")
    with devices.connect(place) as host:
        request = type("Request", (), {"device": place})()
        assert "ort" in available_runtimes(request, host, "onnx")  # type: ignore[arg-type]


@pytest.mark.parametrize("after_ms", range(0, 1200, 120))
def test_a_connection_cut_at_any_moment(server: Sshd, model: Artifact, after_ms: int) -> None:
    with RemoteHost(server.ssh(), patience_s=30.0) as host:
        cut = threading.Timer(after_ms / 1000, server.drop_connections)
        cut.start()
        found = measure.interleave([Candidate(model, "ort")], PLAN, host=host)
        cut.join()
    (measured,) = found.require_any().profiles
    assert measured.complete
    assert len(measured.samples_ns) == PLAN.min_runs
    assert nothing_left(server)


def test_a_killed_runner(server: Sshd, model: Artifact) -> None:
    killed: list[int] = []
    with RemoteHost(server.ssh(), patience_s=30.0) as host:

        def kill(what: str, done: int, total: int) -> None:
            if what == "measuring" and done == 3 and not killed:
                killed.append(int(host._link.greeting["pid"]))
                os.kill(killed[0], signal.SIGKILL)

        found = measure.interleave([Candidate(model, "ort")], PLAN, host=host, progress=kill)
    (measured,) = found.require_any().profiles
    assert killed
    assert measured.processes == 2
    assert measured.complete
    assert nothing_left(server)


def test_a_board_that_loses_its_power(
    server: Sshd, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SILENCE_S", 1.0)
    monkeypatch.setattr(link, "PULSE_S", 0.2)
    start = time.monotonic()
    with RemoteHost(server.ssh(), patience_s=2.0) as host:

        def unplug(what: str, done: int, total: int) -> None:
            if what == "measuring" and done == 3:
                server.freeze()
                server.stop()

        found = measure.interleave([Candidate(model, "ort")], PLAN, host=host, progress=unplug)
    (measured,) = found.profiles
    assert len(measured.samples_ns) == 15
    assert not measured.complete
    assert "did not come back within 2 s" in str(found.failures[0].error)
    assert time.monotonic() - start < 60.0


@pytest.mark.alone
def test_ctrl_c_leaves_nothing_on_the_board(server: Sshd, model: Artifact) -> None:
    command = [sys.executable, "-m", "edgecnn", "profile", model.path, "--device", "board"]
    process = subprocess.Popen(
        [*command, "--runtime", "ort", "--sustained", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + END_S
    # The runner and the worker that it forked.
    while len(runners(server)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=END_S)
    assert process.returncode == 130
    assert nothing_left(server)


def test_two_clients_at_once(server: Sshd, model: Artifact) -> None:
    with RemoteHost(server.ssh(), what="profile other.onnx"):
        done = profile(model)
        assert done.exit_code == 5
        assert "in use by" in done.stderr
        assert "profile other.onnx" in done.stderr
    assert profile(model).exit_code == 0


def test_an_unknown_host_key(server: Sshd, model: Artifact) -> None:
    server.known_hosts.unlink()
    done = profile(model)
    assert done.exit_code == 5
    assert "SHA256:" in done.stderr
    assert "--host-key" in done.stderr
    assert not runners(server)


def test_a_changed_host_key_is_not_waited_for(server: Sshd, model: Artifact) -> None:
    with RemoteHost(server.ssh(), patience_s=60.0) as host:
        server.stop()
        server.new_host_key()
        server.start()
        start = time.monotonic()
        deadline = time.monotonic() + END_S
        while not host._link.is_lost and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(RefusedError, match="HAS CHANGED"):
            host.recover()
        assert time.monotonic() - start < END_S


def test_an_old_python(server: Sshd, model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "MINIMUM_PYTHON", (3, 99))
    done = profile(model)
    assert done.exit_code == 5
    assert "edgecnn needs 3.99 or newer" in done.stderr


def test_no_python(server: Sshd, model: Artifact) -> None:
    named.add("board", named.Named(str(server.address), "/nowhere/python3"), force=True)
    done = profile(model)
    assert done.exit_code == 5
    assert "/nowhere/python3" in done.stderr


def test_a_missing_runtime(server: Sshd, model: Artifact) -> None:
    hidden = server.board_home / "site" / "onnxruntime"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not on this board')\n")
    done = profile(model)
    assert done.exit_code == 5
    assert "not on this board" in done.stderr
    assert nothing_left(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(server: Sshd, tmp_path: Path) -> None:
    large = tiny_onnx.artifact(tmp_path / "large.onnx", channels=200_000)
    server.board_home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(server.board_home)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        done = profile(large)
        assert done.exit_code == 5
        assert "no space left on the board" in done.stderr
        assert nothing_left(server)
        assert not list((server.board_home / "store").iterdir())
    finally:
        subprocess.run(["umount", str(server.board_home)], check=True)


def test_a_clock_that_is_an_hour_off(
    tmp_path: Path, model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FAKETIME.exists():
        pytest.skip("no libfaketime; apt install faketime")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "-1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with serving(tmp_path / "sshd", fake) as server:
        server.trust()
        monkeypatch.setenv(CONFIG_VARIABLE, str(server.client_config))
        named.add("board", named.Named(str(server.address), sys.executable))
        checked = run("device", "check", "board", "--json")
        assert json.loads(checked.stdout)["clock_ahead_s"] == pytest.approx(-3600, abs=30)
        assert "behind" in checked.stdout
        measured = json.loads(profile(model, "--json").stdout)
        assert measured["measured_at"][:13] == time.strftime("%Y-%m-%dT%H", time.gmtime())


def test_several_boards_at_once_and_one_of_them_gone(server: Sshd, model: Artifact) -> None:
    closed = named.Named("ssh://127.0.0.1:9", sys.executable)
    named.add("gone", closed)
    done = profile(model, "--device", "gone", "--device", "local", "--json")
    assert done.exit_code == 5
    outcomes = {one["device"]: one for one in json.loads(done.stdout)["devices"]}
    assert outcomes[str(server.address)]["runs"] >= 5
    assert outcomes["local"]["runs"] >= 5
    assert "error" in outcomes["gone"]
    table = profile(model, "--device", "gone")
    assert "failed" in table.stdout
    assert table.exit_code == 5


def test_a_board_that_computes_something_else_is_not_timed(server: Sshd, tmp_path: Path) -> None:
    from dataclasses import replace

    from edgecnn import formats
    from edgecnn.contract import Golden

    model = tiny_onnx.artifact(tmp_path / "tiny.onnx")
    contract = model.required_contract()
    golden = Golden("triangles-v1", tuple(float(i) for i in range(10)), 1e-4, "ort")
    formats.get("onnx").embed(model.path, replace(contract, golden=golden))
    done = profile(Artifact.load(model.path), "--json")
    assert done.exit_code == 4
    assert "computes something else" in done.stderr
    assert "latency_ms" not in done.stdout


def test_an_evaluation_keeps_what_a_lost_board_sent(
    server: Sshd, model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2
    import numpy as np

    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(30):
        noise = np.random.default_rng(index).integers(0, 255, (40, 50, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), noise)

    def unplug(what: str, done: int, total: int) -> None:
        if done == 25:
            server.stop()

    with RemoteHost(server.ssh(), patience_s=1.0) as host:
        found = evaluate(model, folder, host=host, progress=unplug)
    assert found.images == 25
    assert "stopped after 25 of 30" in (found.stopped or "")


def test_a_cache_makes_room_for_newer_files(server: Sshd, tmp_path: Path) -> None:
    from edgecnn.onboard.store import KEPT, Store

    store = Store(tmp_path / "store", limit_bytes=1000)
    import base64
    import hashlib

    keys = []
    for index in range(KEPT + 40):
        data = b"%08d" % index
        keys.append(f"{hashlib.sha256(data).hexdigest()}.bin")
        store.put(keys[-1], len(data), 0, base64.b64encode(data).decode())
        os.utime(store.path(keys[-1]), (index, index))
    assert len(list((tmp_path / "store").iterdir())) == KEPT + 40
    fresh = Store(tmp_path / "store", limit_bytes=500)
    data = b"the newest"
    fresh.put(
        f"{hashlib.sha256(data).hexdigest()}.bin", len(data), 0, base64.b64encode(data).decode()
    )
    left = [key for key in keys if store.path(key).exists()]
    assert left == keys[-len(left) :]
    assert 8 * len(left) + len(data) <= 500
