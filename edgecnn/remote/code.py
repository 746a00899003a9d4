"""edgecnn's own code as it is sent to a board: exactly the desk's version, named by its digest."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import edgecnn

LEFT_AT_THE_DESK = ("cli", "export", "latency", "remote", "report", "search")
"""Packages that nothing on the board imports."""
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_ENDINGS = (".py", ".toml", ".txt")


@dataclass(frozen=True)
class Code:
    """A zip file of the package, and its SHA-256 digest."""

    data: bytes
    sha256: str


@cache
def bundle() -> Code:
    """Return the code for a board; equal sources give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _files():
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    data = buffer.getvalue()
    return Code(data, hashlib.sha256(data).hexdigest())


def boot_script() -> str:
    """Return the text that starts everything on a board; see :mod:`edgecnn.onboard.boot`."""
    return (_package() / "onboard" / "boot.py").read_text()


def _files() -> Iterator[tuple[str, Path]]:
    for path in sorted(_walk(_package())):
        yield str(Path("edgecnn") / path.relative_to(_package())), path


def _walk(folder: Path) -> Iterator[Path]:
    # The runtimes' folder is a link in a checkout, which Path.rglob would not follow.
    for path in folder.iterdir():
        if path.is_dir() and path.name not in LEFT_AT_THE_DESK:
            yield from _walk(path)
        elif path.suffix in _ENDINGS:
            yield path


def _package() -> Path:
    return Path(edgecnn.__file__).parent
