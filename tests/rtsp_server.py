"""An RTSP server for tests, with gst-rtsp-server (Debian: gir1.2-gst-rtsp-server-1.0).

    /usr/bin/python3 rtsp_server.py [--port N] MOUNT=PIPELINE ...

It runs on the system's Python, which has the bindings. Prints the port once it listens, on the
loopback address alone. `serving` starts it from a test and ends it.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
LIVE = (
    "( videotestsrc is-live=true pattern={pattern} ! "
    "video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
)


def live(*, pattern: str = "ball", width: int = 320, height: int = 240, fps: int = 25) -> str:
    """Return a pipeline of a moving picture with a clock in it."""
    return LIVE.format(pattern=pattern, width=width, height=height, fps=fps)


def missing() -> str | None:
    """Say what is not installed, None where all is there."""
    if shutil.which(SYSTEM_PYTHON) is None:
        return f"no {SYSTEM_PYTHON}"
    tried = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
        capture_output=True, check=False,
    )  # fmt: skip
    return None if tried.returncode == 0 else "no gir1.2-gst-rtsp-server-1.0 (Debian)"


@contextmanager
def serving(mounts: dict[str, str], port: int = 0) -> Iterator[int]:
    """Serve pipelines by their paths; gives the port."""
    words = [f"{mount}={pipeline}" for mount, pipeline in mounts.items()]
    process = subprocess.Popen(
        [SYSTEM_PYTHON, str(Path(__file__)), str(port), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip().isdecimal(), "the RTSP server did not start"
        yield int(line)
    finally:
        process.kill()
        process.wait()


def _main() -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    for word in sys.argv[2:]:
        mount, _, pipeline = word.partition("=")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(pipeline)
        factory.set_shared(True)
        server.get_mount_points().add_factory(mount, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    _main()
