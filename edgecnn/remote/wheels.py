"""Packages for a board, fetched by the desk: a board needs neither a network nor a pip."""

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgecnn import runtimes
from edgecnn.errors import UnavailableError

PIP = "pip"
"""Fetched with everything: on the board it runs from its wheel."""
OPENCV = "opencv-python-headless"
_NUMPY = "numpy>=1.26"
_OPENCV_MINIMUM = "4.12"
# The distributions that are the same OpenCV; whichever the desk has tells the board's version.
_OPENCV_NAMES = (OPENCV, "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")

# The oldest glibc that manylinux wheels may ask for, and the names that tags had before PEP 600
# (PEP 513, 571, 599). glibc's minor version is what counts: there is no glibc 3.
_OLDEST_GLIBC_MINOR = {"x86_64": 5, "i686": 5}
_NEWEST_ARCHITECTURES_MINOR = 17
_OLD_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class WheelTarget:
    """The system that wheels are for.

    ``machine`` as ``platform.machine()`` tells it, ``python`` as ``3.11``; ``glibc`` is None where
    the C library is another.
    """

    machine: str
    python: str
    glibc: tuple[int, int] | None

    def __str__(self) -> str:
        libc = "no glibc" if self.glibc is None else f"glibc {self.glibc[0]}.{self.glibc[1]}"
        return f"Python {self.python} on {self.machine} with {libc}"

    def platforms(self) -> tuple[str, ...]:
        """Return the platform tags that fit, the newest first (PEP 600).

        Raises:
            UnavailableError: the system has no glibc.
        """
        return tuple(_platforms(self.machine, self._glibc_minor()))

    def _glibc_minor(self) -> int:
        if self.glibc is None or self.glibc[0] != 2:
            raise UnavailableError(
                f"no wheels for {self}: the runtimes are published for glibc 2. Use a system with "
                "glibc, such as Raspberry Pi OS, Debian or Ubuntu."
            )
        return self.glibc[1]


def packages_for(names: Sequence[str]) -> tuple[str, ...]:
    """Return what a board needs for the runtimes ``names``, as pip's requirements.

    What computes has the desk's version, so that both compute the same; a package that the desk
    lacks is only bounded from below.

    Raises:
        UsageError: no such runtime.
    """
    requires = [text for name in names for text in runtimes.get(name).requires]
    return tuple(dict.fromkeys([_NUMPY, _opencv(), *map(_as_on_desk, requires)]))


def fetch(packages: Sequence[str], target: WheelTarget, cache: Path) -> tuple[Path, ...]:
    """Return the wheels of ``packages``, of what they need, and of pip, sorted by name.

    They are kept in a folder of ``cache`` per packages and target, and not looked up again. pip
    finds them where the user has configured it to (index, certificates). Conditions on the system
    in the packages' requirements (``; platform_machine == ...``) are judged by pip as on the desk:
    what then lacks is named when the board installs.

    Raises:
        UnavailableError: there is no wheel of a package for the target, or no network.
    """
    wanted = sorted({PIP, *packages})
    folder = cache / _key(wanted, target)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
        try:
            _download(wanted, target, temporary)
            _rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return tuple(sorted(folder.glob("*.whl")))


def is_pip(wheel: Path) -> bool:
    """Tell whether a wheel is pip's own."""
    return wheel.name.partition("-")[0] == PIP


def _platforms(machine: str, glibc_minor: int) -> Iterator[str]:
    oldest = _OLDEST_GLIBC_MINOR.get(machine, _NEWEST_ARCHITECTURES_MINOR)
    for minor in range(glibc_minor, oldest - 1, -1):
        yield f"manylinux_2_{minor}_{machine}"
        if minor in _OLD_TAGS:
            yield f"{_OLD_TAGS[minor]}_{machine}"
    yield f"linux_{machine}"


def _opencv() -> str:
    versions = (_version(name) for name in _OPENCV_NAMES)
    version = next((found for found in versions if found), None)
    return f"{OPENCV}=={version}" if version else f"{OPENCV}>={_OPENCV_MINIMUM}"


def _as_on_desk(requirement: str) -> str:
    name = re.split(r"[<>=!~ ;\[]", requirement, maxsplit=1)[0]
    version = _version(name)
    return f"{name}=={version}" if version else requirement


def _version(distribution: str) -> str | None:
    """Return the installed version, without a local part (``+cpu``) that no index knows."""
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _key(packages: Sequence[str], target: WheelTarget) -> str:
    text = json.dumps([packages, asdict(target)])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{target.machine}-cp{target.python.replace('.', '')}-{digest}"


def _download(packages: Sequence[str], target: WheelTarget, folder: Path) -> None:
    platforms = [f"--platform={tag}" for tag in target.platforms()]
    command = [
        sys.executable,
        *("-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}"),
        *platforms,
        f"--dest={folder}",
        *packages,
    ]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise UnavailableError(_refusal(result.stderr, packages, target))


def _refusal(stderr: str, packages: Sequence[str], target: WheelTarget) -> str:
    if "No module named pip" in stderr:
        return (
            f"the Python of edgecnn has no pip to fetch packages with: {sys.executable} "
            "-m ensurepip installs it."
        )
    missing = re.search(r"No matching distribution found for (\S+)", stderr)
    if missing is None:
        last = "\n  ".join(stderr.strip().splitlines()[-4:])
        return f"the packages {', '.join(packages)} could not be fetched by pip:\n  {last}"
    return f"no wheel of {missing[1]} for {target}. {_advice(target)}"


def _advice(target: WheelTarget) -> str:
    if target.machine in ("armv6l", "armv7l"):
        return (
            "onnxruntime and LiteRT are not published for 32-bit ARM systems; install the 64-bit "
            "system on the board (Raspberry Pi 3 and newer, Zero 2 W)."
        )
    desk = ".".join(platform.python_version_tuple()[:2])
    return (
        "Its wheels are for other versions of Python or newer systems: use another Python on the "
        "board (`edgecnn device add NAME ADDRESS --python PATH`), or install a version here that "
        f"has one: the board gets the version of this desk (Python {desk})."
    )


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        # Another process fetched the same in the meantime.
        if not folder.is_dir():
            raise
