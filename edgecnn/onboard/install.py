"""Installing the runtimes on a board, by pip out of its own wheel and in this process.

The board needs no pip, no venv and no second Python. The packages go into a folder beside the
current ones and take their place in the end, so that a failure leaves what was there before.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import UnavailableError

MANIFEST = "site.json"
ONLINE_BYTES = 400_000_000
"""What must be free to install from an index: packed and unpacked, one runtime with OpenCV."""
_RESERVE_BYTES = 20_000_000
_TEMPORARY = ".site-"
_WHEEL = re.compile(r"[A-Za-z0-9._]+(-[A-Za-z0-9._+!]+){4,5}\.whl")
_LAST_LINES = 6
_OFFLINE = "Where the board has no network, `--offline` sends the packages from the desk."


@dataclass(frozen=True)
class Site:
    """What is installed on the board for edgecnn. ``bytes`` is the size of all files."""

    python: str
    machine: str
    packages: Mapping[str, str]
    bytes: int


class Installer:
    """The requests of the desk, answered by a process of its own (:mod:`edgecnn.onboard`)."""

    def __init__(self, home: Path) -> None:
        self._site = home / "site"

    def install(
        self, packages: list[str], pip: str, wheels: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Install ``packages`` and describe the outcome; see :func:`install`."""
        named = None if wheels is None else {name: Path(path) for name, path in wheels.items()}
        return asdict(install(packages, self._site, Path(pip), named))

    def installed(self) -> dict[str, Any]:
        """Return what :meth:`install` left, as ``{"site": {...}}``, or None in its place."""
        site = read(self._site)
        return {"site": None if site is None else asdict(site)}


def install(
    packages: Sequence[str], site: Path, pip: Path, wheels: Mapping[str, Path] | None = None
) -> Site:
    """Install ``packages`` into the folder ``site``, in the place of what is there.

    ``pip`` is pip's own wheel. With ``wheels`` (file name to file, which may be called otherwise)
    nothing else is used, and no network; without, packages come from the board's configured index,
    wheels only. What pip says goes to standard error. To be called in a process that does nothing
    afterwards: pip stays loaded.

    Raises:
        UnavailableError: no space, no permission, or a package that this board cannot have.
    """
    _tidy(site)
    needed = ONLINE_BYTES if wheels is None else _unpacked_bytes(wheels) + _RESERVE_BYTES
    try:
        site.parent.mkdir(parents=True, exist_ok=True)
        _require_space(site.parent, needed)
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=site.parent) as temporary:
            return _install(packages, site, pip, wheels, Path(temporary), needed)
    except OSError as error:
        raise UnavailableError(f"the board cannot write to {site.parent}: {error}.") from error


def read(site: Path) -> Site | None:
    """Return what is installed in ``site``; None where :func:`install` has not completed."""
    try:
        return Site(**json.loads((site / MANIFEST).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UnavailableError(
            f"{site / MANIFEST} on the board is damaged; run `edgecnn device setup` again."
        ) from error


def _install(
    packages: Sequence[str],
    site: Path,
    pip: Path,
    wheels: Mapping[str, Path] | None,
    temporary: Path,
    needed: int,
) -> Site:
    made, work = temporary / "site", temporary / "work"
    work.mkdir()
    source = ["--only-binary=:all:"]
    if wheels is not None:
        source += ["--no-index", f"--find-links={_named(wheels, temporary / 'wheels')}"]
    arguments = [
        *("install", "--no-input", "--disable-pip-version-check", "--no-cache-dir"),
        *("--progress-bar=off", "--no-warn-script-location", "--root-user-action=ignore"),
        # Compiling everything takes a minute on a small board, and much longer under emulation;
        # Python compiles what is imported, when it is.
        "--no-compile",
        *source,
        f"--target={made}",
        *packages,
    ]
    code, words = _run_pip(pip, arguments, work, offline=wheels is not None)
    if code:
        refusal = _refusal(words, site.parent, needed)
        raise refusal if wheels is not None else UnavailableError(f"{refusal}\n{_OFFLINE}")
    result = _describe(made)
    (made / MANIFEST).write_text(json.dumps(asdict(result), indent=2))
    _swap(made, site, temporary / "old")
    return result


def _run_pip(pip: Path, arguments: list[str], work: Path, offline: bool) -> tuple[int, list[str]]:
    """Run pip in this process, and return its exit code and its lines."""
    # Beside the site: /tmp is a small memory disk on many boards, and moving within a disk is free.
    os.environ["TMPDIR"] = tempfile.tempdir = str(work)
    if offline:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            del os.environ[name]
        # This name makes pip read no configuration at all: the desk's wheels, and nothing else.
        os.environ["PIP_CONFIG_FILE"] = os.devnull
    sys.path.insert(0, str(pip))
    words = _Words()
    with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
        # The desk pushed this pip, and mypy has no types of it.
        from pip._internal.cli.main import main  # type: ignore[import-not-found,unused-ignore]

        code: int = main(arguments)
    return code, words.lines()


class _Words:
    """A text stream that passes on to standard error what is written, and keeps it."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._stderr = sys.stderr

    def write(self, text: str) -> int:
        self._kept.append(text)
        return self._stderr.write(text)

    def flush(self) -> None:
        self._stderr.flush()

    def isatty(self) -> bool:
        return False

    def lines(self) -> list[str]:
        return "".join(self._kept).splitlines()


def _refusal(words: Sequence[str], folder: Path, needed: int) -> UnavailableError:
    if any("[Errno 28]" in line for line in words):
        return _no_space(folder, needed)
    errors = [line for line in words if line.startswith("ERROR:")] or words
    told = "\n  ".join(line.removeprefix("ERROR: ") for line in errors[-_LAST_LINES:])
    return UnavailableError(
        f"pip could not install on the board (Python {platform.python_version()}, "
        f"{platform.machine()}):\n  {told}"
    )


def _require_space(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise _no_space(folder, needed)


def _no_space(folder: Path, needed: int) -> UnavailableError:
    free = shutil.disk_usage(folder).free
    return UnavailableError(
        f"no space left on the board in {folder}: needs {needed / 1e6:.0f} MB, has "
        f"{free / 1e6:.0f} MB. Free some there, and run the command again."
    )


def _unpacked_bytes(wheels: Mapping[str, Path]) -> int:
    """Return the size of the wheels' contents.

    Raises:
        UnavailableError: a file is no wheel.
    """
    total = 0
    for name, path in wheels.items():
        if not _WHEEL.fullmatch(name):
            raise UnavailableError(f"{name!r} is not the name of a wheel.")
        try:
            with zipfile.ZipFile(path) as archive:
                total += sum(member.file_size for member in archive.infolist())
        except (OSError, zipfile.BadZipFile) as error:
            raise UnavailableError(f"{name} on the board is damaged: {error}.") from error
    return total


def _named(wheels: Mapping[str, Path], folder: Path) -> Path:
    """Make a folder in which the wheels have their names, by which pip knows them."""
    folder.mkdir()
    for name, path in wheels.items():
        (folder / name).symlink_to(path.absolute())
    return folder


def _describe(site: Path) -> Site:
    found = importlib.metadata.distributions(path=[str(site)])
    packages = {distribution.name: distribution.version for distribution in found}
    files = (path.lstat().st_size for path in site.rglob("*") if not path.is_dir())
    return Site(
        python=platform.python_version(),
        machine=platform.machine(),
        packages=dict(sorted(packages.items())),
        bytes=sum(files),
    )


def _swap(made: Path, site: Path, old: Path) -> None:
    """Put ``made`` in the place of ``site``. Between the two renames there is none."""
    if site.exists():
        site.rename(old)
    try:
        made.rename(site)
    except OSError:
        if old.exists():
            old.rename(site)
        raise


def _tidy(site: Path) -> None:
    """Remove what an interrupted installation left, and take back the site that it moved away."""
    for folder in _leftovers(site):
        if (folder / "old").is_dir() and not site.exists():
            (folder / "old").rename(site)
        shutil.rmtree(folder)


def _leftovers(site: Path) -> Iterator[Path]:
    if site.parent.is_dir():
        yield from site.parent.glob(f"{_TEMPORARY}*")
