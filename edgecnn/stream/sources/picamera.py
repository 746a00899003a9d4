"""A Raspberry Pi's own camera, by picamera2 (libcamera).

Frames come from the low-resolution stream, which the camera's image processor scales: the
processor has little left to do. Its YUV is converted here.
"""

import time
from contextlib import suppress
from typing import Any

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream.frame import NS_PER_S, Frame
from edgecnn.stream.sources import SourceLostError, Wanted
from edgecnn.stream.sources._pixels import to_rgb

syntax = "picamera or picamera:N, a Raspberry Pi's camera"
USUAL_FPS = 30.0
MAIN_SIZE = (1280, 720)
"""The stream that nobody reads; the low-resolution one must not be larger."""
_US_PER_S = 1e6
_EVEN = 2


def matches(text: str) -> bool:
    """The word, alone or with the camera's number."""
    return text.partition(":")[0] == "picamera"


def open(text: str, wanted: Wanted) -> "Picamera":
    """Start the camera."""
    number = text.partition(":")[2] or "0"
    if not number.isdecimal():
        raise UsageError(f"{text!r}: allowed: picamera, or picamera:N with a camera's number.")
    try:
        import picamera2
    except ImportError as error:
        raise UnavailableError(
            "a Raspberry Pi's camera needs picamera2, which is not installed: "
            "sudo apt install python3-picamera2, and an environment made with "
            "python3 -m venv --system-site-packages"
        ) from error
    cameras = picamera2.Picamera2.global_camera_info()
    if int(number) >= len(cameras):
        found = ", ".join(f"{i}: {camera.get('Model', '?')}" for i, camera in enumerate(cameras))
        raise UnavailableError(
            f"no camera {number}; here are: {found or 'none'}. Check the ribbon cable, and "
            "`rpicam-hello --list-cameras`."
        )
    try:
        return Picamera(picamera2.Picamera2(int(number)), wanted)
    except (RuntimeError, OSError) as error:
        raise UnavailableError(
            f"camera {number} cannot be started ({error}); another program may use it."
        ) from error


class Picamera:
    """A started camera; its frames carry the sensor's time."""

    live = True
    frames = None
    clock = "capture"

    def __init__(self, camera: Any, wanted: Wanted) -> None:
        self._camera, self._timeout_s = camera, wanted.timeout_s
        self.fps = wanted.fps or USUAL_FPS
        self._period_ns = NS_PER_S / self.fps
        self._first_ns: int | None = None
        size = wanted.size or _lores_size(wanted.needed)
        frame_us = round(_US_PER_S / self.fps)
        configuration = camera.create_video_configuration(
            main={"size": tuple(map(max, MAIN_SIZE, size))},
            lores={"size": size, "format": "YUV420"},
            controls={"FrameDurationLimits": (frame_us, frame_us)},
            # The newest frame is wanted, not one that lay in a queue.
            queue=False,
        )
        camera.configure(configuration)
        given = camera.camera_configuration()["lores"]
        self._width, self._height = map(int, given["size"])
        self._row_bytes = int(given.get("stride", self._width))
        camera.start()
        model = camera.camera_properties.get("Model", "camera")
        self.name = f"{model}, {self._width}x{self._height} YUV420"

    def read(self) -> Frame | None:
        """Wait for the next frame."""
        try:
            job = self._camera.capture_request(wait=False)
            request = self._camera.wait(job, timeout=self._timeout_s)
        except (RuntimeError, OSError, TimeoutError) as error:
            raise SourceLostError(
                f"{self.name}: no frame for {self._timeout_s:g} s ({error}); check the cable."
            ) from error
        try:
            pixels = request.make_array("lores")
            captured_ns = _monotonic_ns(request.get_metadata().get("SensorTimestamp"))
        finally:
            request.release()
        data = pixels.tobytes()
        image = to_rgb(data, "YU12", self._width, self._height, self._row_bytes)
        return Frame(image, self._number(captured_ns), captured_ns)

    def _number(self, captured_ns: int) -> int:
        """Which frame it is, by the sensor's time: libcamera does not count those it dropped."""
        if self._first_ns is None:
            self._first_ns = captured_ns
        return round((captured_ns - self._first_ns) / self._period_ns)

    def close(self) -> None:
        """Stop the camera; one that hangs is left to the end of the process."""
        with suppress(RuntimeError, OSError):
            self._camera.stop()
            self._camera.close()


def _lores_size(needed: int) -> tuple[int, int]:
    """The smallest size of the main stream's shape whose shorter side is as needed, and even."""
    width, height = MAIN_SIZE
    short = needed + needed % _EVEN
    long = -(-short * width // height)
    return long + long % _EVEN, short


def _monotonic_ns(sensor_ns: int | None) -> int:
    """Bring libcamera's time, of the clock that also counts suspended time, to the monotonic one.

    Source: libcamera's control_ids, SensorTimestamp: CLOCK_BOOTTIME.
    """
    now_ns = time.monotonic_ns()
    if sensor_ns is None:
        return now_ns
    return min(now_ns, sensor_ns - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns))
