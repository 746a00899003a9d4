"""Setting a board up: the runtimes' packages go there, or come from its own index."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecnn.onboard.install import Site
from edgecnn.remote import wheels
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.wheels import WheelTarget

DEFAULT_RUNTIMES = ("litert", "ort")
INSTALL_TIMEOUT_S = 1800.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to install: ``runtimes`` by name; ``offline`` from wheels that the desk fetches."""

    runtimes: tuple[str, ...] = DEFAULT_RUNTIMES
    offline: bool = False


def install(host: RemoteHost, request: Request, say: Say) -> Site:
    """Install what edgecnn needs on a board, in the place of what it installed there before.

    Nothing else of the board changes: it is one folder of the user's.

    Raises:
        UsageError: no such runtime.
        UnavailableError: no wheels for the board, no space there, or the way there broke.
    """
    packages = wheels.packages_for(request.runtimes)
    target = wheel_target(host)
    say(f"fetching packages for {target}")
    wanted = packages if request.offline else ()
    found = wheels.fetch(wanted, target, cache_folder())
    staged = {wheel.name: host.stage(wheel) for wheel in found}
    pip = next(staged[wheel.name] for wheel in found if wheels.is_pip(wheel))
    say(f"installing on {host.where}")
    with host.start("install") as installer:
        answer = installer.request(
            "install",
            INSTALL_TIMEOUT_S,
            packages=list(packages),
            pip=pip,
            wheels=staged if request.offline else None,
        )
    # Unpacked, they would only fill the board's card.
    host.forget(found)
    return Site(**answer)


def wheel_target(host: RemoteHost) -> WheelTarget:
    """Return which wheels fit the board."""
    machine = host.machine()
    libc = re.fullmatch(r"glibc (\d+)\.(\d+)", machine["libc"] or "")
    python = ".".join(machine["python"].split(".")[:2])
    glibc = (int(libc[1]), int(libc[2])) if libc else None
    return WheelTarget(machine["arch"], python, glibc)


def cache_folder() -> Path:
    """Return where the desk keeps the wheels that it fetched for boards."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgecnn" / "wheels"


def on_board(host: RemoteHost, request: Request, say: Say) -> Site:
    """Install, and end the session; see :func:`install`."""
    with host:
        return install(host, request, say)
