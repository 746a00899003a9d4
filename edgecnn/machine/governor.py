"""The frequency governors of the processors: reading them, and setting them for a while."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.machine._files import SYSTEM, text

_POLICIES = "sys/devices/system/cpu/cpufreq"
_BY_HAND = "echo {} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"


@dataclass(frozen=True)
class Policy:
    """Processors whose clock is set together (Linux, Documentation/admin-guide/pm/cpufreq)."""

    folder: Path
    governor: str
    available: tuple[str, ...]


def read(root: Path = SYSTEM) -> tuple[Policy, ...]:
    """Return the machine's policies; none where the kernel does not scale clocks."""
    policies = [
        Policy(
            folder=folder,
            governor=text(folder, "scaling_governor"),
            available=tuple(text(folder, "scaling_available_governors").split()),
        )
        for folder in sorted((root / _POLICIES).glob("policy[0-9]*"), key=_number)
    ]
    return tuple(policy for policy in policies if policy.governor)


def joined(root: Path = SYSTEM) -> str | None:
    """Return the governors in use, each once: ``ondemand``, or ``schedutil/performance``."""
    return "/".join(dict.fromkeys(policy.governor for policy in read(root))) or None


@contextmanager
def using(governor: str, root: Path = SYSTEM) -> Iterator[None]:
    """Set the governor of all processors while the block runs, and restore what was there.

    A process that is killed with SIGKILL restores nothing.

    Raises:
        UsageError: the kernel offers no such governor.
        UnavailableError: clocks are not scaled here, or this user may not set the governor.
    """
    policies = read(root)
    if not policies:
        raise UnavailableError(
            "this machine's kernel does not scale clocks (no cpufreq), so that there is no "
            "governor to set; leave out --governor."
        )
    for policy in policies:
        if governor not in policy.available:
            offered = ", ".join(policy.available) or "none"
            raise UsageError(f"unknown governor {governor!r}; this machine offers: {offered}.")
    with ExitStack() as restore:
        for policy in policies:
            if policy.governor != governor:
                _set(policy, governor)
                restore.callback(_set, policy, policy.governor)
        yield


def _set(policy: Policy, governor: str) -> None:
    try:
        (policy.folder / "scaling_governor").write_text(governor)
    except OSError as error:
        raise UnavailableError(
            f"the governor of {policy.folder.name} cannot be set to {governor!r} "
            f"({error.strerror}). Set it there by hand, and leave out --governor: "
            f"`{_BY_HAND.format(governor)}`"
        ) from error


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("policy"))
