"""What is installed, and what is missing for which command.

The lists are those of the package itself: its extras, its runtimes and its weight packages.
"""

import importlib.metadata
import re
import shutil
from dataclasses import dataclass

from edgecnn import discovery, families, runtimes
from edgecnn.device import Device
from edgecnn.environment import Environment, int8_saturates
from edgecnn.errors import UnavailableError
from edgecnn.remote import sysroot

_REQUIREMENT = re.compile(
    r"^(?P<name>[\w.-]+)(?:\[(?P<extras>[^]]+)])?(?P<version>[^;]*)"
    r"(?:;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)
_WEIGHT_PACKAGE = "package:"


@dataclass(frozen=True)
class Check:
    """One thing that is there or not; ``remedy`` says how to get it."""

    what: str
    needed_for: str
    found: bool
    detail: str
    remedy: str = ""


def examine() -> tuple[Check, ...]:
    """Look at packages, runtimes, programs, weights and the processor of this machine.

    Raises:
        UnavailableError: edgecnn itself is not installed, so its extras cannot be read.
    """
    return (*_packages(), *_runtimes(), *_programs(), *_weights(), *_processor())


def _packages() -> list[Check]:
    """Check the packages of every extra that a command or source needs."""
    extras = _extras()
    uses = {extra: _commands_needing(extra) for extra in extras}
    return [
        _package(name, version, needed_for)
        for extra, needed_for in uses.items()
        if needed_for
        for name, version in extras[extra]
    ]


def _commands_needing(extra: str) -> str:
    """Read the ``NEEDS`` of each command's file; the base (``""``) is needed for all."""
    if not extra:
        return "everything"
    modules = {name: discovery.load("edgecnn.cli", name) for name in discovery.names("edgecnn.cli")}
    needing = [name for name, module in modules.items() if extra in getattr(module, "NEEDS", ())]
    return ", ".join(f"edgecnn {name}" for name in needing)


def _package(name: str, version: str, needed_for: str) -> Check:
    try:
        detail = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, needed_for, False, "not installed", f"pip install '{name}{version}'")
    return Check(name, needed_for, True, detail)


def _extras() -> dict[str, list[tuple[str, str]]]:
    """Return name and version range of the packages of each extra; the base under ``""``."""
    try:
        lines = importlib.metadata.requires("edgecnn") or []
    except importlib.metadata.PackageNotFoundError:
        raise UnavailableError(
            "edgecnn is not installed; in its folder run: pip install -e ."
        ) from None
    found: dict[str, list[tuple[str, str]]] = {}
    included: dict[str, list[str]] = {}
    for match in filter(None, map(_REQUIREMENT.match, lines)):
        extra = match["extra"] or ""
        if match["name"] == "edgecnn":
            included.setdefault(extra, []).extend(match["extras"].split(","))
        else:
            found.setdefault(extra, []).append((match["name"], match["version"].strip()))
    for extra, others in included.items():
        found[extra] = [p for other in others for p in found.get(other, [])] + found.get(extra, [])
    return found


def _runtimes() -> list[Check]:
    checks = []
    for name in runtimes.names():
        runtime = runtimes.get(name)
        reason = runtime.unavailable(Device.parse(runtime.units[0]))
        needed_for = f"--runtime {name} ({', '.join(runtime.formats)})"
        remedy = f"pip install {' '.join(map(repr, runtime.requires))}" if reason else ""
        checks.append(Check(name, needed_for, reason is None, reason or "ready", remedy))
    return checks


def _programs() -> list[Check]:
    """Check the programs that lead to boards."""
    return [
        _program("ssh", "--device ssh://...", "sudo apt install openssh-client"),
        *(_program(name, "--device emulated:...", sysroot.INSTALL) for name in sysroot.PROGRAMS),
    ]


def _program(name: str, needed_for: str, remedy: str) -> Check:
    found = shutil.which(name)
    if found is None:
        return Check(name, needed_for, False, "not installed", remedy)
    return Check(name, needed_for, True, found)


def _weights() -> list[Check]:
    """Check the weight packages that the zoo's checkpoints name."""
    return [
        _package(checkpoint.source.removeprefix(_WEIGHT_PACKAGE), "", f"weights of {spec.name}")
        for spec in families.all().values()
        for checkpoint in spec.checkpoints
        if checkpoint.source.startswith(_WEIGHT_PACKAGE)
    ]


def _processor() -> list[Check]:
    environment = Environment.now()
    detail = f"{environment.cpu_model}, {environment.usable_cores} cores"
    if environment.governor:
        detail += f", governor {environment.governor}"
    saturates = int8_saturates(environment.machine, environment.isa)
    kernels = (
        "no VNNI: onnxruntime's int8 kernels saturate unless weights have a reduced range "
        "(edgecnn's own w8a8 files have)"
        if saturates
        else ", ".join(environment.isa) or "not told by the kernel"
    )
    return [
        Check("processor", "latency", True, detail),
        Check("vector instructions", "int8 accuracy", True, kernels),
    ]
