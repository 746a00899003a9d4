"""An arm64 Debian to emulate boards with, and the files in which a board differs from the desk.

The system is Debian's packages unpacked, not installed: no maintainer script runs, so that neither
root nor emulation is needed. It takes 8 s and 100 MB, once per user.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgecnn.boards import Board, Cluster
from edgecnn.errors import UnavailableError
from edgecnn.remote.programs import tool

RECIPE = 1
"""Part of the cache's key: to be raised when the root is made in another way."""
SUITE = "bookworm"
PACKAGES = ("base-files", "coreutils", "dash", "libstdc++6", "openssh-server", "procps", "python3")
QEMU = "qemu-aarch64-static"
PROGRAMS = (QEMU, "mmdebstrap")
INSTALL = "sudo apt install qemu-user-static mmdebstrap debian-archive-keyring"

_MERGED_USR = 'for d in bin lib sbin; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done'
# What openssh-server's maintainer scripts, which do not run here, depend on; and pages to read.
_NOT_NEEDED = (
    "usr/lib/aarch64-linux-gnu/perl*",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl*",
)
_SHARED = ("bin", "etc", "lib", "sbin", "usr", "var")
_CPUS = "sys/devices/system/cpu"
# What the emulated board does not have. Where a file is absent from the root, QEMU opens the
# desk's: without these, a board would show the desk's clock, and set its governor.
_BLANK = ("scaling_governor", "scaling_available_governors", "scaling_cur_freq", "scaling_max_freq")
_EMPTY_FOLDERS = ("sys/class/hwmon", "sys/class/thermal", "sys/devices/system/cpu/cpufreq")


def cache() -> Path:
    """Return the folder of the emulated boards: ``${XDG_CACHE_HOME:-~/.cache}/edgecnn/emulated``.

    A folder in it belongs to one way of making the system; deleting one costs only time.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    key = hashlib.sha256(json.dumps([RECIPE, SUITE, PACKAGES]).encode()).hexdigest()[:12]
    return Path(base) / "edgecnn" / "emulated" / key


def system() -> Path:
    """Return the arm64 system, made on first use.

    Raises:
        UnavailableError: mmdebstrap is missing or failed, or the packages cannot be downloaded.
    """
    root = cache() / "system"
    if not root.is_dir():
        with locked(cache() / "system.lock"):
            if not root.is_dir():
                _make_system(root)
    return root


def view(board: Board, name: str) -> Path:
    """Return a root for ``qemu -L`` that is the system with a board's own ``/proc`` and ``/sys``.

    It is made of links and a few small files; it is made anew when the board's description has
    changed.

    Raises:
        UnavailableError: see :func:`system`.
    """
    root, files = system(), board_files(board)
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
    folder = board_folder(name) / f"view-{digest}"
    if folder.is_dir():
        return folder
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            with _new_folder(folder) as made:
                for entry in _SHARED:
                    (made / entry).symlink_to(os.path.relpath(root / entry, folder))
                write_files(made, files)
    return folder


def board_folder(name: str) -> Path:
    """Return the folder of what belongs to one board."""
    return cache() / "boards" / name


def board_files(board: Board) -> dict[str, str]:
    """Return the kernel's files that tell which board it is: path below the root to text."""
    cores = [cluster for cluster in board.clusters for _ in range(cluster.count)]
    everyone = f"0-{len(cores) - 1}\n" if len(cores) > 1 else "0\n"
    model = board.models[0] + "\0" if board.models else ""
    files = {
        "proc/cpuinfo": "".join(_processor(i, cluster) for i, cluster in enumerate(cores)),
        "proc/device-tree/model": model,
        "sys/firmware/devicetree/base/model": model,
    }
    files |= {f"{_CPUS}/{name}": everyone for name in ("online", "possible", "present")}
    for i, cluster in enumerate(cores):
        frequency = f"{_CPUS}/cpu{i}/cpufreq"
        files |= {f"{frequency}/{name}": "" for name in _BLANK}
        files[f"{frequency}/cpuinfo_max_freq"] = f"{cluster.max_mhz * 1000:.0f}\n"
    return files


def write_files(root: Path, files: Mapping[str, str]) -> None:
    """Write a board's files below ``root``."""
    for name in _EMPTY_FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs; the kernel frees it however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _processor(number: int, cluster: Cluster) -> str:
    """Return a block of /proc/cpuinfo as arm64 Linux writes it (arch/arm64/kernel/cpuinfo.c).

    onnxruntime and LiteRT read it to find the processor's instructions, and crash on another kind.
    """
    return (
        f"processor\t: {number}\n"
        f"Features\t: {' '.join(cluster.features)}\n"
        f"CPU implementer\t: {cluster.implementer:#04x}\n"
        "CPU architecture: 8\n"
        "CPU variant\t: 0x0\n"
        f"CPU part\t: {cluster.part:#05x}\n"
        "CPU revision\t: 0\n\n"
    )


def _make_system(root: Path) -> None:
    tool(QEMU, INSTALL)
    program = tool("mmdebstrap", INSTALL)
    with _new_folder(root) as made:
        command = [
            program,
            "--quiet",
            # No chroot, no mount, no fakeroot: unpacking alone needs none, and no root either.
            "--mode=chrootless",
            "--variant=extract",
            "--architectures=arm64",
            f"--setup-hook={_MERGED_USR}",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(made),
            *_desk_mirrors(),
        ]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if result.returncode:
            last = "\n  ".join(result.stderr.strip().splitlines()[-6:])
            raise UnavailableError(
                f"the arm64 system for emulated boards could not be made (mmdebstrap, exit code "
                f"{result.returncode}):\n  {last}\nCheck the network and the disk; "
                f"what it needs: `{INSTALL}`."
            )
        made.chmod(0o755)
        for pattern in _NOT_NEEDED:
            for path in made.glob(pattern):
                shutil.rmtree(path)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block succeeds, or is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _desk_mirrors() -> list[str]:
    """Return lines of sources.list for the suite from where the desk's apt has it.

    None where the desk is another release or no Debian: mmdebstrap then knows Debian's own.
    """
    apt = shutil.which("apt-get")
    if apt is None:
        return []
    form = "$(ORIGIN) deb $(SITE) $(RELEASE) $(COMPONENT)"
    found = subprocess.run(
        [apt, "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        errors="replace",
    )
    lines = {line.partition(" ")[2] for line in found.stdout.splitlines() if _is_ours(line)}
    return sorted(lines) if any(line.split()[2] == SUITE for line in lines) else []


def _is_ours(line: str) -> bool:
    """Tell whether a line ``Debian deb SITE RELEASE COMPONENT`` is of the suite's main part."""
    origin, _, rest = line.partition(" ")
    fields = rest.split()
    releases = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    return origin == "Debian" and len(fields) == 4 and fields[2] in releases and fields[3] == "main"
