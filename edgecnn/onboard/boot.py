"""The first thing that runs on a board: its text is passed to ``python3 -I -c``.

It runs on Python 3.6 and newer, so that an old system is told what it lacks in words. The desk's
first line on standard input is ``{"code": SHA256, "bytes": N, "minimum": [3, 11]}``; the answer
says what Python this is and whether that version of edgecnn is here already. Where it is not,
``bytes`` bytes of a zip file follow. Then the runner takes over the same streams.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import zipfile

KEPT_VERSIONS = 3


def _say(message: dict) -> None:  # type: ignore[type-arg]
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _home() -> str:
    default = os.path.join(os.path.expanduser("~"), ".local", "share", "edgecnn")
    return os.environ.get("EDGECNN_BOARD_HOME") or default


def _unpack(data: bytes, digest: str, versions: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError("the code arrived damaged")
    os.makedirs(versions, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix=".new-", dir=versions)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(temporary)
        os.rename(temporary, os.path.join(versions, digest))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _forget_old(versions: str) -> None:
    paths = [os.path.join(versions, name) for name in os.listdir(versions)]
    for path in sorted(paths, key=os.path.getmtime)[:-KEPT_VERSIONS]:
        shutil.rmtree(path, ignore_errors=True)


def boot() -> None:
    """Answer the desk's first line, unpack the code where it is lacking, and start the runner."""
    wanted = json.loads(sys.stdin.buffer.readline().decode())
    home = _home()
    versions = os.path.join(home, "code")
    folder = os.path.join(versions, wanted["code"])
    fits = list(sys.version_info[:2]) >= wanted["minimum"]
    has = os.path.isdir(folder)
    _say(
        {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "home": home,
            "fits": fits,
            "has": has,
        }
    )
    if not fits:
        return
    if not has:
        data = sys.stdin.buffer.read(wanted["bytes"])
        try:
            _unpack(data, wanted["code"], versions)
            _forget_old(versions)
        except (OSError, ValueError) as error:
            _say({"problem": "%s: %s" % (folder, error)})
            return
        _say({"unpacked": len(data)})
    sys.path[:0] = [folder, os.path.join(home, "site")]
    from edgecnn.onboard import runner

    runner.main(home)


if __name__ == "__main__":
    boot()
