"""The desk's programs that lead to boards."""

import shutil

from edgecnn.errors import UnavailableError


def tool(name: str, remedy: str) -> str:
    """Return the path of a program; ``remedy`` is the line that installs it.

    Raises:
        UnavailableError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"`{name}` is not installed; run `{remedy}`.")
    return found
