"""Reading the files in which the kernel tells what a machine is."""

from pathlib import Path

SYSTEM = Path("/")


def text(root: Path, path: str) -> str:
    """Return the text of a file below ``root``; empty where a machine has none or refuses it."""
    try:
        return (root / path).read_text(errors="replace").strip("\0\n\t ")
    except OSError:
        return ""


def number(root: Path, path: str) -> int | None:
    """Return the integer in a file below ``root``; None where the machine does not tell it."""
    try:
        return int(text(root, path))
    except ValueError:
        return None
