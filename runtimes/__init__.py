"""The runtimes: one file per runtime, each found by its file name.

A runtime module states its name, the formats that it opens and the packages that it requires, says
why it is unavailable where it is, and opens an artifact as a session.
"""

import importlib.metadata
import re
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn import discovery
from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec
from edgecnn.device import Device
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.profile import LayerTime, Transfers

Array = NDArray[Any]


class Session(Protocol):
    """An opened artifact. One image in, one array of logits out."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The input tensors as the runtime sees them."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """The output tensors as the runtime sees them."""

    def run(self, array: Array) -> Array:
        """Execute once. ``array`` has the input's shape and dtype; the result the output's.

        Where the runtime works elsewhere (a GPU), the call returns when the result is there.
        """

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Profile ``runs`` executions; empty where the runtime cannot tell."""

    def transfers(self, array: Array, runs: int) -> Transfers | None:
        """Time the parts of ``runs`` executions; None where nothing is transferred.

        None also where the runtime cannot tell the parts; the session's documentation says so.
        """

    def close(self) -> None:
        """Free the runtime's resources."""


class Runtime(Protocol):
    """What a module in this folder provides."""

    name: str
    formats: tuple[str, ...]
    requires: tuple[str, ...]
    """Packages as pip names them; the error of an unavailable runtime shows them."""
    modules: tuple[str, ...]
    """The modules of those packages, any of which makes it present; none where it needs none."""
    units: tuple[str, ...]
    """What it computes on, of :data:`edgecnn.device.UNITS`; the first is where it is at home."""
    timed: bool
    """Whether its latency means anything: False for the oracle and the null runtime."""

    def unavailable(self, device: Device) -> str | None:
        """Return why the runtime cannot run on ``device``, or None where it can."""

    def open(self, artifact: Artifact, device: Device, threads: int) -> Session:
        """Open ``artifact``.

        Raises:
            ArtifactError: the runtime cannot read the file.
            UnavailableError: the runtime is not available on ``device``.
        """


def names() -> tuple[str, ...]:
    """Return the names of all runtimes."""
    return discovery.names(__name__)


def get(name: str) -> Runtime:
    """Return the runtime called ``name``.

    Raises:
        UsageError: there is none.
    """
    try:
        return cast(Runtime, discovery.load(__name__, name))
    except KeyError:
        raise UsageError(f"unknown runtime {name!r}; allowed: {', '.join(names())}.") from None


def open_session(runtime: Runtime, artifact: Artifact, device: Device, threads: int) -> Session:
    """Open ``artifact`` after checking that the runtime reads its format and is available.

    Raises:
        UsageError: the runtime does not read the artifact's format.
        UnavailableError: the runtime is not available on ``device``.
        ArtifactError: the runtime cannot read the file.
    """
    if artifact.format not in runtime.formats:
        raise UsageError(
            f"runtime {runtime.name} opens {', '.join(runtime.formats)} files, not "
            f"{artifact.format}; for {artifact.path.name} use one of: "
            f"{', '.join(reading(artifact.format))}."
        )
    reason = runtime.unavailable(device)
    if reason is not None:
        raise UnavailableError(f"runtime {runtime.name} is unavailable: {reason}")
    return runtime.open(artifact, device, threads)


def reading(format_name: str, device: Device | None = None) -> tuple[str, ...]:
    """Return the names of the runtimes that open files of a format.

    With ``device``, those that are made for what computes there, installed or not.
    """
    found = names() if device is None else on(device)
    return tuple(name for name in found if format_name in get(name).formats)


def on(device: Device) -> tuple[str, ...]:
    """Return the names of the runtimes that are made for what computes on ``device``."""
    return tuple(name for name in names() if device.there.kind in get(name).units)


def available(artifact: Artifact, device: Device) -> tuple[Runtime, ...]:
    """Return the runtimes that can time ``artifact`` on ``device``."""
    found = (get(name) for name in reading(artifact.format, device))
    return tuple(r for r in found if r.timed and r.unavailable(device) is None)


def made_for(artifact: Artifact, device: Device) -> Runtime:
    """Return the available runtime that is made for the artifact's format: it reads the fewest.

    Raises:
        UnavailableError: none is available; with the reason of each.
    """
    found = reading(artifact.format, device) or reading(artifact.format)
    timed = [r for r in map(get, found) if r.timed]
    reasons = []
    for runtime in sorted(timed, key=lambda runtime: len(runtime.formats)):
        reason = runtime.unavailable(device)
        if reason is None:
            return runtime
        reasons.append(f"\n  {runtime.name}: {reason}")
    raise UnavailableError(f"no runtime for {artifact.format} files on {device}:{''.join(reasons)}")


def missing_package(*requires: str) -> str | None:
    """Return an install line for the packages of ``requires`` that are absent, or None."""
    absent = [text for text in requires if not _installed(text)]
    return f"not installed. Install it with: pip install {' '.join(absent)}" if absent else None


def _installed(requirement: str) -> bool:
    distribution = re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def as_input(array: Array, spec: TensorSpec) -> Array:
    """Check an array against the input that it is for, and return it contiguous.

    Raises:
        UsageError: shape or dtype differ.
    """
    if array.shape != tuple(spec.shape) or array.dtype.name != spec.dtype:
        raise UsageError(
            f"input {spec.name!r} takes {spec.dtype} {list(spec.shape)}; "
            f"got {array.dtype.name} {list(array.shape)}."
        )
    return np.ascontiguousarray(array)
