"""How the kernel comes to run aarch64 programs: Linux's binfmt_misc, with QEMU as interpreter."""

from pathlib import Path

from edgecnn.errors import UnavailableError
from edgecnn.remote import sysroot
from edgecnn.remote.programs import tool

FOLDER = Path("/proc/sys/fs/binfmt_misc")
ENTRY = "qemu-aarch64"

# The head of an aarch64 program's ELF header, from QEMU's scripts/qemu-binfmt-conf.sh. F: the
# interpreter is opened when it is registered, so that it works inside a chroot.
_MAGIC = r"\x7fELF\x02\x01\x01" + r"\x00" * 9 + r"\x02\x00\xb7\x00"
_MASK = r"\xff" * 7 + r"\x00" + r"\xff" * 8 + r"\xfe\xff\xff\xff"


def registration(folder: Path = FOLDER) -> str:
    """Return what makes the kernel run aarch64 programs, empty where it does already.

    It is to be written to a binfmt_misc that is mounted in a namespace of its own, so that the
    desk shows nothing of it. The kernel forgets it with the last mount (seen on Linux 6.18).

    Raises:
        UnavailableError: the desk has a binfmt_misc of its own, which is not ours to change.
    """
    entry = folder / ENTRY
    if entry.exists() and entry.read_text().startswith("enabled"):
        return ""
    if (folder / "status").exists():
        raise UnavailableError(
            "the kernel does not run aarch64 programs; `sudo apt install binfmt-support` and "
            f"`sudo update-binfmts --enable {ENTRY}` make it."
        )
    return f":{ENTRY}:M::{_MAGIC}:{_MASK}:{tool(sysroot.QEMU, sysroot.INSTALL)}:F"
