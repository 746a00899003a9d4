"""Sources: files, folders, pipes, and cameras as far as they go without one."""

import errno
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import scripted
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.stream import sources
from edgecnn.stream.sources import SourceLostError, Wanted, file, folder, picamera, stdin, url, v4l2
from edgecnn.stream.sources.v4l2 import Mode, negotiate

BATCH = Wanted(pace=False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("-", stdin), ("0", v4l2), ("/dev/video2", v4l2), ("picamera", picamera),
     ("picamera:1", picamera), ("rtsp://a/b", url), ("http://a/b.mjpg", url),
     ("tcp://127.0.0.1:5000", url), ("clip.mp4", file), (".", folder)],
)  # fmt: skip
def test_a_text_names_a_kind_of_source(text: str, kind: ModuleType) -> None:
    assert sources.kind_of(text) is kind


def test_no_text_names_nothing() -> None:
    with pytest.raises(UsageError, match="rtsp"):
        sources.kind_of("")


def test_a_video_gives_all_its_frames_in_order(video: Path) -> None:
    source = sources.open_source(str(video), BATCH)
    numbers = []
    while (frame := source.read()) is not None:
        numbers.append(frame.number)
    assert numbers == list(range(len(numbers)))
    assert source.frames is not None
    assert abs(len(numbers) - source.frames) <= 1
    assert source.fps == pytest.approx(29.8, abs=0.3)
    source.close()


@pytest.mark.alone
def test_a_video_runs_at_its_own_pace_and_skips_what_is_late(video: Path) -> None:
    source = sources.open_source(str(video), Wanted(fps=50))
    source.read()
    start = time.monotonic()
    for _ in range(10):
        source.read()
    assert 0.15 < time.monotonic() - start < 0.6
    time.sleep(0.5)
    frame = source.read()
    assert frame is not None
    assert frame.number >= 30
    assert frame.age_ms < 100
    source.close()


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        sources.open_source(str(tmp_path / "none.mp4"), BATCH)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match="not a video"):
        sources.open_source(str(broken), BATCH)


def test_a_folder_gives_its_images(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), scripted.picture(number))
    source = sources.open_source(str(tmp_path), BATCH)
    found = [source.read() for _ in range(4)]
    assert [None if f is None else f.number for f in found] == [0, 1, 2, None]
    assert found[0] is not None
    assert (found[0].image[..., ::-1] == scripted.picture(0)).all()
    paced = sources.open_source(str(tmp_path), Wanted(fps=20))
    start = time.monotonic()
    while paced.read() is not None:
        pass
    assert 0.08 < time.monotonic() - start < 1


def test_raw_frames_come_through_a_pipe() -> None:
    there, here = os.pipe()
    source = stdin.Stdin(there, (scripted.WIDTH, scripted.HEIGHT), "RGB3", None)
    data = b"".join(scripted.picture(n).tobytes() for n in range(2))
    os.write(here, data + b"half a frame")
    os.close(here)
    for number in range(2):
        frame = source.read()
        assert frame is not None
        assert frame.number == number
        assert (frame.image == scripted.picture(number)).all()
    assert source.read() is None
    os.close(there)


def test_raw_frames_need_a_size_and_a_known_format() -> None:
    with pytest.raises(UsageError, match="--size"):
        stdin.open("-", Wanted())
    with pytest.raises(UsageError, match="H264"):
        stdin.Stdin(0, (8, 8), "H264", None)
    with pytest.raises(UsageError, match="even"):
        stdin.Stdin(0, (7, 8), "NV12", None)


def test_a_name_tells_no_password() -> None:
    assert url.without_secrets("rtsp://me:secret@cam:554/live?key=1") == "rtsp://cam:554/live"


MODES = (
    Mode("YUYV", 640, 480, 30), Mode("YUYV", 1280, 720, 10), Mode("MJPG", 640, 480, 30),
    Mode("MJPG", 1280, 720, 30), Mode("MJPG", 1920, 1080, 30), Mode("YUYV", 320, 240, 30),
    Mode("H264", 1920, 1080, 60),
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "mode"),
    [(Wanted(), Mode("YUYV", 320, 240, 30)),
     (Wanted(needed=256), Mode("YUYV", 640, 480, 30)),
     (Wanted(needed=600), Mode("MJPG", 1280, 720, 30)),
     (Wanted(needed=600, fps=10), Mode("YUYV", 1280, 720, 10)),
     (Wanted(size=(1920, 1080)), Mode("MJPG", 1920, 1080, 30)),
     (Wanted(size=(640, 480), pixel_format="MJPG"), Mode("MJPG", 640, 480, 30)),
     (Wanted(size=(4000, 3000)), Mode("MJPG", 1920, 1080, 30))],
)  # fmt: skip
def test_a_camera_is_asked_for_the_cheapest_mode_that_is_large_and_fast_enough(
    wanted: Wanted, mode: Mode
) -> None:
    assert negotiate(MODES, wanted) == mode


def test_a_camera_without_a_usable_format_says_what_it_has() -> None:
    with pytest.raises(UsageError, match="H264"):
        negotiate(MODES[-1:], Wanted())
    with pytest.raises(UsageError, match="NV12"):
        negotiate(MODES, Wanted(pixel_format="NV12"))


@given(st.permutations(MODES), st.integers(1, 2000), st.floats(1, 120))
def test_the_order_of_modes_changes_nothing(modes: list[Mode], needed: int, fps: float) -> None:
    wanted = Wanted(needed=needed, fps=fps)
    assert negotiate(modes, wanted) == negotiate(MODES, wanted)


def test_no_camera_is_said_with_those_there_are() -> None:
    pytest.importorskip("linuxpy", reason="pip install linuxpy")
    with pytest.raises(UnavailableError, match=r"/dev/video99: no camera; here are"):
        sources.open_source("99", Wanted())


@pytest.mark.parametrize(
    ("code", "said"), [(errno.EACCES, "group video"), (errno.EBUSY, "another program")]
)
def test_why_a_camera_cannot_be_opened(
    code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = pytest.importorskip("linuxpy.video.device", reason="pip install linuxpy")

    def refuse(self: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(device.Device, "open", refuse)
    with pytest.raises(UnavailableError, match=said):
        sources.open_source("0", Wanted())


@dataclass
class FakeBuffer:
    """A filled buffer of a camera."""

    data: bytes
    frame_nb: int
    timestamp: float
    flags: Any

    def __bytes__(self) -> bytes:
        return self.data


class FakeV4l2:
    """linuxpy's interface as far as it is used, over a pipe: something to wait for."""

    class V4L2Error(Exception):
        """Of the driver."""

    BufferFlag = SimpleNamespace(TIMESTAMP_MONOTONIC=1)

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.buffers: list[Any] = []
        self.asked: list[Any] = []
        yuyv = SimpleNamespace(human_str=lambda: "YUYV")
        kind = SimpleNamespace(pixel_format=yuyv, width=64, height=36, min_fps=30, max_fps=30)
        self.info = SimpleNamespace(frame_types=[kind], frame_sizes=list, card="Fake cam")
        self.buffer = self

    def fill(self, item: Any) -> None:
        self.buffers.append(item)
        os.write(self.writer, b"x")

    def fileno(self) -> int:
        return self.reader

    def raw_read(self) -> Any:
        os.read(self.reader, 1)
        item = self.buffers.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    def VideoCapture(self, device: Any, size: int) -> Any:  # noqa: N802 (linuxpy's name)
        return self

    def set_format(self, *what: Any) -> None:
        self.asked.append(what)

    def set_fps(self, fps: float) -> None:
        raise OSError(errno.ENOTTY, "one rate only")

    def get_fps(self) -> float:
        return 30.0

    def get_format(self) -> Any:
        return SimpleNamespace(width=64, height=36, bytes_per_line=160)

    def open(self) -> None:
        self.asked.append("open")

    def close(self) -> None:
        self.asked.append("close")


def test_a_camera_gives_the_drivers_time_and_number() -> None:
    fake = FakeV4l2()
    camera = v4l2.Camera(Path("/dev/video0"), fake, fake, Wanted(timeout_s=0.2))
    assert fake.asked == [(64, 36, "YUYV"), "open"]
    assert camera.name == "Fake cam (/dev/video0), 64x36 YUYV"
    then = time.monotonic() - 0.02
    fake.fill(FakeBuffer(b"\x80" * 10, 6, then, {1}))  # cut off, as on a bad cable
    fake.fill(FakeBuffer(b"\x80" * 160 * 36, 7, then, {1}))
    frame = camera.read()
    assert frame is not None
    assert frame.number == 7
    assert frame.image.shape == (36, 64, 3)
    assert frame.age_ms == pytest.approx(20, abs=15)
    fake.fill(FakeBuffer(b"\x80" * 160 * 36, 8, 1.0, set()))
    arrived = camera.read()
    assert arrived is not None
    assert arrived.age_ms < 100
    assert camera.clock == "arrival"
    with pytest.raises(SourceLostError, match="hangs"):
        camera.read()
    fake.fill(OSError(errno.ENODEV, "No such device"))
    with pytest.raises(SourceLostError, match="no camera"):
        camera.read()
    camera.close()


@dataclass
class FakeRequest:
    """A completed request of picamera2."""

    pixels: Any
    metadata: dict[str, Any]
    released: bool = False

    def make_array(self, name: str) -> Any:
        assert name == "lores"
        return self.pixels

    def get_metadata(self) -> dict[str, Any]:
        return self.metadata

    def release(self) -> None:
        self.released = True


@dataclass
class FakePicamera:
    """picamera2's interface as far as it is used."""

    number: int = 0
    requests: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    configuration: dict[str, Any] = field(default_factory=dict)
    camera_properties = {"Model": "imx708"}  # noqa: RUF012

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx708", "Num": 0}]

    def create_video_configuration(self, **given: Any) -> dict[str, Any]:
        return given

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        width = configuration["lores"]["size"][0]
        # libcamera aligns the lines to 64 bytes.
        configuration["lores"]["stride"] = -(-width // 64) * 64

    def camera_configuration(self) -> dict[str, Any]:
        return self.configuration

    def start(self) -> None:
        self.said.append("start")

    def stop(self) -> None:
        self.said.append("stop")

    def close(self) -> None:
        self.said.append("close")

    def capture_request(self, *, wait: bool) -> Any:
        assert not wait
        return self.requests.pop(0)

    def wait(self, job: Any, timeout: float) -> Any:
        if isinstance(job, Exception):
            raise job
        return job


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePicamera:
    """A stand-in for the module picamera2, with one camera."""
    camera = FakePicamera()
    module = ModuleType("picamera2")

    class Picamera2:
        global_camera_info = staticmethod(FakePicamera.global_camera_info)

        def __new__(cls, number: int) -> Any:
            camera.number = number
            return camera

    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return camera


def test_a_raspberry_pis_camera_scales_by_itself(fake: FakePicamera) -> None:
    source = sources.open_source("picamera", Wanted(needed=256, fps=25))
    lores = fake.configuration["lores"]
    assert lores["size"] == (456, 256)
    assert lores["format"] == "YUV420"
    assert fake.configuration["queue"] is False
    assert fake.configuration["controls"] == {"FrameDurationLimits": (40000, 40000)}
    assert source.name == "imx708, 456x256 YUV420"
    stride = lores["stride"]
    grey = np.full((256 * 3 // 2, stride), 128, np.uint8)
    boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for behind_ms in (230, 190, 30):
        stamp = boot - behind_ms * 1_000_000
        fake.requests.append(FakeRequest(grey, {"SensorTimestamp": stamp}))
    requests = list(fake.requests)
    found = [source.read() for _ in range(3)]
    assert [f.number for f in found if f] == [0, 1, 5]
    assert all(request.released for request in requests)
    assert found[-1] is not None
    assert found[-1].image.shape == (256, 456, 3)
    assert found[-1].age_ms == pytest.approx(30, abs=25)
    fake.requests.append(TimeoutError())
    with pytest.raises(SourceLostError, match="no frame"):
        source.read()
    source.close()
    assert fake.said == ["start", "stop", "close"]


def test_a_missing_raspberry_pis_camera_is_said(fake: FakePicamera) -> None:
    with pytest.raises(UnavailableError, match="no camera 3; here are: 0: imx708"):
        sources.open_source("picamera:3", Wanted())
    with pytest.raises(UsageError, match="picamera:N"):
        sources.open_source("picamera:front", Wanted())


def test_without_picamera2_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(UnavailableError, match="python3-picamera2"):
        sources.open_source("picamera", Wanted())
