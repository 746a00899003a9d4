"""The program that asks a Raspberry Pi's firmware (Raspberry Pi documentation, OS, vcgencmd)."""

import subprocess
from pathlib import Path

from edgecnn.machine._files import SYSTEM

_PROGRAMS = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_TIMEOUT_S = 2.0


def ask(*arguments: str, root: Path = SYSTEM) -> str | None:
    """Return the firmware's answer.

    None where there is no such program, the user may not ask (group ``video``), or the firmware
    does not know the question.
    """
    program = next((root / path for path in _PROGRAMS if (root / path).is_file()), None)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [str(program), *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
