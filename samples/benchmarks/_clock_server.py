"""An RTSP server whose pictures tell when they were made; run by the system's Python.

    /usr/bin/python3 _clock_server.py FPS

Needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-base and -ugly. Serves
on loopback, prints the port. The top of each picture is a row of black and white blocks: the
milliseconds of the monotonic clock, which all processes of a machine share, as 32 bits.
"""

import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, BLOCK, BITS = 640, 360, 16, 32


def picture(number: int) -> bytes:
    """Grey with a moving bar below the clock, RGB."""
    now_ms = time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF
    row = b"".join((b"\xff" if now_ms >> bit & 1 else b"\x00") * 3 * BLOCK for bit in range(BITS))
    clock = (row + b"\x80" * 3 * (WIDTH - BITS * BLOCK)) * BLOCK
    at = number * 8 % WIDTH
    below = b"\x60" * 3 * at + b"\xe0" * 3 * min(16, WIDTH - at)
    below += b"\x60" * (3 * WIDTH - len(below))
    return clock + below * (HEIGHT - BLOCK)


class Factory(GstRtspServer.RTSPMediaFactory):
    """One shared camera."""

    def __init__(self, fps: int) -> None:
        super().__init__()
        self.fps, self.number = fps, 0
        self.set_shared(True)

    def do_create_element(self, url: object) -> object:
        pipeline = Gst.parse_launch(
            "appsrc name=source is-live=true block=false format=time do-timestamp=true "
            f"caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate={self.fps}/1 ! "
            "videoconvert ! video/x-raw,format=I420 ! "
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 "
            "bitrate=4000 ! rtph264pay name=pay0 pt=96 config-interval=1"
        )
        source = pipeline.get_by_name("source")
        due = [time.monotonic()]

        def push() -> bool:
            source.emit("push-buffer", Gst.Buffer.new_wrapped(picture(self.number)))
            self.number += 1
            due[0] += 1 / self.fps
            GLib.timeout_add(max(0, round(1e3 * (due[0] - time.monotonic()))), push)
            return False

        push()
        return pipeline


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    server.get_mount_points().add_factory("/cam", Factory(int(sys.argv[1])))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
