"""Real streams of the network, and what goes wrong with them."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rtsp_server
import scripted
from test_stream import Kept

from edgecnn import Artifact, Stream
from edgecnn.errors import UnavailableError
from edgecnn.stream import Wanted

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(rtsp_server.missing() is not None, reason=str(rtsp_server.missing())),
]
WANTED = Wanted(timeout_s=2.0)
PATIENCE_S = 30.0


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    return scripted.model(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon."""
    monkeypatch.setattr("edgecnn.stream.capture.FIRST_WAIT_S", 0.1)


def until(results: Stream, done: Callable[[Any], bool]) -> None:
    """Go on until a result is as wanted; fails where none is."""
    end = threading.Timer(PATIENCE_S, results.stop)
    end.start()
    for result in results:
        if done(result):
            end.cancel()
            return
    pytest.fail(f"not seen within {PATIENCE_S:g} s: {results.summary}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_an_rtsp_stream_is_followed_without_growing_old(model: Artifact) -> None:
    with rtsp_server.serving({"/cam": rtsp_server.live(fps=25)}) as port:
        with Stream(model, f"rtsp://127.0.0.1:{port}/cam", wanted=WANTED) as results:
            until(results, lambda result: result.frame >= 60)
        summary = results.summary
    assert summary.age_ms["p50"] < 40
    assert summary.frames + summary.dropped >= 60


def test_a_server_that_is_killed_and_comes_back(model: Artifact) -> None:
    port, sink = free_port(), Kept()
    mounts = {"/cam": rtsp_server.live()}
    with rtsp_server.serving(mounts, port):
        stream = Stream(model, f"rtsp://127.0.0.1:{port}/cam", wanted=WANTED, sinks=[sink])
        results = stream.__enter__()
        until(results, lambda result: result.frame >= 10)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while results.problem is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert results.problem == "the source is lost"
        last = results.summary.frames
        with rtsp_server.serving(mounts, port):
            until(results, lambda result: result.frame > last + 20)
    finally:
        stream.__exit__(None, None, None)
    assert [event.kind for event in sink.events][:3] == ["opened", "lost", "back"]


def test_a_url_that_does_not_answer_is_said_at_once(model: Artifact) -> None:
    start = time.monotonic()
    place = f"rtsp://user:secret@127.0.0.1:{free_port()}/cam"
    with (
        pytest.raises(UnavailableError, match="no answer") as raised,
        Stream(model, place, wanted=WANTED),
    ):
        pass
    assert "secret" not in str(raised.value)
    assert time.monotonic() - start < 10


def test_a_server_that_says_nothing_is_given_up(model: Artifact) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"
        start = time.monotonic()
        with pytest.raises(UnavailableError), Stream(model, place, wanted=WANTED):
            pass
    assert time.monotonic() - start < 10


@contextmanager
def damaging(port: int, every: int) -> Iterator[int]:
    """A proxy that changes a byte now and then in what the server at ``port`` sends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_relay, args=(listener, port, every), daemon=True).start()
        yield int(listener.getsockname()[1])


def _relay(listener: socket.socket, port: int, every: int) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", port))
        for pair in ((near, far, 0), (far, near, every)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, every: int) -> None:
    """Pass on bytes; with ``every``, damage one of so many after the beginning."""
    counted = 0
    try:
        while data := bytearray(source.recv(4096)):
            counted += len(data)
            if every and counted > 40_000:
                for at in range(100, len(data), every):
                    data[at] ^= 0x5A
            sink.sendall(data)
    except OSError:
        return


def test_damaged_packets_end_nothing(model: Artifact) -> None:
    with (
        rtsp_server.serving({"/cam": rtsp_server.live()}) as port,
        damaging(port, every=1500) as near,
        Stream(model, f"rtsp://127.0.0.1:{near}/cam", wanted=WANTED, frozen_after_s=0) as results,
    ):
        start = time.monotonic()
        until(results, lambda result: result.frame >= 50 and time.monotonic() - start > 5)


def test_a_stream_may_change_its_size(model: Artifact, tmp_path: Path) -> None:
    parts = []
    for number, size in enumerate(("320x240", "640x360")):
        part = tmp_path / f"{number}.ts"
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i",
             f"testsrc2=size={size}:rate=25:duration=2", "-c:v", "libx264", "-preset",
             "ultrafast", "-g", "10", str(part)],
            check=True,
        )  # fmt: skip
        parts.append(part.read_bytes())
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener:

        def send() -> None:
            connection, _ = listener.accept()
            with connection:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(0.5)

        threading.Thread(target=send, daemon=True).start()
        sizes = set()
        with Stream(model, f"tcp://127.0.0.1:{port}", wanted=WANTED, frozen_after_s=0) as results:
            for result in results:
                sizes.add(result.image.shape[1])
                if len(sizes) == 2:
                    break
    assert sizes == {320, 640}


def test_a_stopped_server_process_counts_as_lost(model: Artifact, tmp_path: Path) -> None:
    port, sink = free_port(), Kept()
    server = subprocess.Popen(
        [rtsp_server.SYSTEM_PYTHON, rtsp_server.__file__, str(port), f"/cam={rtsp_server.live()}"],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        with Stream(model, f"rtsp://127.0.0.1:{port}/cam", wanted=WANTED, sinks=[sink]) as results:
            until(results, lambda result: result.frame >= 10)
            server.send_signal(signal.SIGSTOP)
            deadline = time.monotonic() + PATIENCE_S
            while results.problem is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert results.problem == "the source is lost"
            server.send_signal(signal.SIGCONT)
            last = results.summary.frames
            until(results, lambda result: result.frame > last + 5)
    finally:
        server.kill()
        server.wait()
    assert "lost" in [event.kind for event in sink.events]
