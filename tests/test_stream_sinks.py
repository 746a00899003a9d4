"""Sinks: files that are complete whenever they end, MQTT with a real broker, and systemd."""

import csv
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import scripted
from scripted import Camera, pictures, plug

from edgecnn import Artifact, Stream
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream import sinks
from edgecnn.stream.sinks import mqtt, video
from edgecnn.stream.systemd import Notifier

pytestmark = pytest.mark.alone


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    return scripted.model(tmp_path)


def run(
    model: Artifact, monkeypatch: pytest.MonkeyPatch, *texts: str, count: int = 20, **given: Any
) -> Stream:
    plug(monkeypatch, Camera(pictures(count), fps=50, live=not given.get("every_frame")))
    found = [sinks.make(text) for text in texts]
    with Stream(model, "any", sinks=found, **given) as results:
        list(results)
    return results


def test_json_lines_and_csv_tell_the_same(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    results = run(model, monkeypatch, str(lines), str(table), every_frame=True)
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    frames = [row for row in rows if "frame" in row]
    assert rows[-1]["summary"]["frames"] == len(frames) == results.summary.frames == 20
    assert [row["event"] for row in rows if "event" in row] == ["opened"]
    with table.open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in cells] == [row["frame"] for row in frames]
    assert [row["label"] for row in cells] == [row["top"][0]["label"] for row in frames]
    assert cells[0]["captured_at"] == frames[0]["captured_at"]


def test_a_service_that_starts_again_goes_on_in_its_files(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tmp_path / "a.jsonl", tmp_path / "a.csv"
    for _ in range(2):
        plug(monkeypatch, Camera(pictures(5), live=False))
        found = [sinks.make(str(path), "append") for path in paths]
        with Stream(model, "any", sinks=found, every_frame=True) as results:
            list(results)
    with paths[1].open(newline="") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == list("0123401234")
    assert paths[0].read_text().count('"summary"') == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.mp4"])
def test_an_existing_file_is_not_written_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        sinks.make(str(path))
    assert path.read_text() == "mine"
    sinks.make(str(path), "replace")


def test_what_is_no_sink_is_told_what_is() -> None:
    with pytest.raises(UsageError, match=r"FILE\.csv"):
        sinks.make("results.xlsx")


@pytest.mark.parametrize("suffix", sorted(video.CODECS))
def test_a_video_shows_what_was_seen(
    suffix: str, model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    run(model, monkeypatch, str(path), every_frame=True)
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    assert count == 20
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(50, abs=0.5)


def test_a_full_disk_ends_the_video_and_not_the_stream(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([10**9, 10**9])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        video.shutil, "disk_usage", lambda folder: usage._replace(free=next(looks, 1000))
    )
    results = run(model, monkeypatch, str(tmp_path / "a.mp4"), count=60, every_frame=True)
    assert results.summary.frames == 60
    assert results.summary.events["sink failed"] == 1
    assert (tmp_path / "a.mp4").stat().st_size > 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        pytest.skip("no mosquitto (Debian: apt install mosquitto)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    process = subprocess.Popen([program, "-c", str(settings)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


class Listener:
    """A client that keeps all messages."""

    def __init__(self, port: int) -> None:
        client = pytest.importorskip("paho.mqtt.client", reason="pip install paho-mqtt")
        self.messages: list[tuple[str, Any, bool]] = []
        self.client = client.Client(client.CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _, __, message: self.messages.append(
            (message.topic, message.payload.decode(), message.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("#")
        self.client.loop_start()

    def wait_for(self, topic: str, text: str = "") -> Any:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for name, payload, _ in self.messages:
                if name == topic and text in payload:
                    return payload
            time.sleep(0.05)
        pytest.fail(f"nothing at {topic}: {self.messages}")

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_a_broker_hears_results_and_home_assistant_finds_sensors(
    model: Artifact, broker: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "PERIOD_S", 0.05)
    listener = Listener(broker)
    run(model, monkeypatch, f"mqtt://127.0.0.1:{broker}/garden/cam", count=60)
    state = json.loads(listener.wait_for("garden/cam/state"))
    assert state["top"][0]["label"] in scripted.LABELS
    listener.wait_for("garden/cam/status", "online")
    listener.wait_for("garden/cam/status", "offline")
    assert json.loads(listener.wait_for("garden/cam/events"))["event"] == "opened"
    assert "frames" in json.loads(listener.wait_for("garden/cam/summary"))["summary"]
    found = json.loads(listener.wait_for("homeassistant/sensor/garden_cam/label/config"))
    assert found["state_topic"] == "garden/cam/state"
    assert found["availability_topic"] == "garden/cam/status"
    assert "value_json.top[0].label" in found["value_template"]
    listener.close()
    late = Listener(broker)
    late.wait_for("homeassistant/sensor/garden_cam/age/config")
    late.wait_for("garden/cam/status", "offline")
    late.close()


def test_a_board_that_dies_is_shown_offline(broker: int) -> None:
    sink = mqtt.make(f"mqtt://127.0.0.1:{broker}/cam", "refuse")
    listener = Listener(broker)
    sink.open(None)  # type: ignore[arg-type]
    listener.wait_for("cam/status", "online")
    sink._client.socket().shutdown(socket.SHUT_RDWR)  # as when the power fails
    sink._client.loop_stop()
    listener.wait_for("cam/status", "offline")
    listener.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [("mqtt:///topic", "no host"), ("mqtt://a:secret@host/t", "EDGECNN_MQTT_PASSWORD"),
     ("mqtt://host/a/%23", "stand for other")],
)  # fmt: skip
def test_a_wrong_mqtt_url(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sinks.make(text)


def test_a_broker_that_does_not_answer(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UnavailableError, match="no answer"):
        run(model, monkeypatch, f"mqtt://127.0.0.1:{port}")


def test_systemd_hears_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place))
        listener.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        notifier = Notifier()
        notifier.ready("camera 0")
        assert listener.recv(1000) == b"READY=1\nSTATUS=camera 0"
        for _ in range(40):
            notifier.beat()
            time.sleep(0.01)
        notifier.stopping()
        heard = []
        while (message := listener.recv(1000)) != b"STOPPING=1":
            heard.append(message)
    assert set(heard) == {b"WATCHDOG=1"}
    assert 3 <= len(heard) <= 6


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notifier = Notifier()
    notifier.ready("x")
    notifier.beat()
    notifier.stopping()
    assert "NOTIFY_SOCKET" not in os.environ
