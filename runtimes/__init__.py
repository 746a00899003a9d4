"""The runtimes: one file per runtime, each found by its file name.

A runtime module states its name, the formats that it opens and the packages that it requires, says
why it is unavailable where it is, and opens an artifact as a session.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn import discovery
from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec
from edgecnn.device import Device
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.profile import LayerTime

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

    def close(self) -> None:
        """Free the runtime's resources."""


class Runtime(Protocol):
    """What a module in this folder provides."""

    name: str
    formats: tuple[str, ...]
    requires: tuple[str, ...]
    """Packages as pip names them; the error of an unavailable runtime shows them."""
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


def reading(format_name: str) -> tuple[str, ...]:
    """Return the names of the runtimes that open files of a format."""
    return tuple(name for name in names() if format_name in get(name).formats)


def available(artifact: Artifact, device: Device) -> tuple[Runtime, ...]:
    """Return the runtimes that can time ``artifact`` on ``device``."""
    found = (get(name) for name in reading(artifact.format))
    return tuple(r for r in found if r.timed and r.unavailable(device) is None)


def missing_package(*requires: str) -> str | None:
    """Return an install line for the packages of ``requires`` that are absent, or None."""
    absent = [text for text in requires if not _installed(text)]
    return f"not installed. Install it with: pip install {' '.join(absent)}" if absent else None


def _installed(requirement: str) -> bool:
    distribution = requirement.partition(">")[0].partition("=")[0].strip()
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
