"""Errors that a user can act on: what was found, what is allowed, what to do.

Each class carries the exit code that the command line ends with, so that no command keeps a list.
"""

from collections.abc import Mapping

EXIT_USAGE = 2
EXIT_BAD_INPUT = 3
EXIT_VERDICT_FAILED = 4
EXIT_UNAVAILABLE = 5
EXIT_INTERRUPTED = 130


class EdgecnnError(Exception):
    """Base of all errors that edgecnn raises on purpose."""

    exit_code: int = EXIT_BAD_INPUT


class UsageError(EdgecnnError):
    """The request contradicts itself or asks for something that does not exist."""

    exit_code = EXIT_USAGE


class SpecError(EdgecnnError):
    """A model or block text cannot be parsed, or names an unknown model."""


class SourceError(EdgecnnError):
    """A model source is missing, broken or not a model."""


class WeightsError(EdgecnnError):
    """Weights are missing, do not fit the network, or are not weights at all."""


class ArtifactError(EdgecnnError):
    """A model file is missing, truncated, of another format, or lacks a part of its contract."""


class DataError(EdgecnnError):
    """Images or labels are missing, unreadable or of the wrong count."""


class ExportError(EdgecnnError):
    """A converter or quantizer cannot do what was asked."""


class MeasurementError(EdgecnnError):
    """A measuring process failed or gave no usable samples."""


class DivergedError(EdgecnnError):
    """The loss of a training became infinite or no number."""


class VerdictError(EdgecnnError):
    """A target was missed: parity, accuracy or budget. The files are kept."""

    exit_code = EXIT_VERDICT_FAILED


class UnavailableError(EdgecnnError):
    """A device, runtime or optional package is not available; the message says how to get it."""

    exit_code = EXIT_UNAVAILABLE


class ConnectionLostError(UnavailableError):
    """A board that answered no longer does; it is worth reconnecting."""


class RefusedError(UnavailableError):
    """A board answers, and does not let this user or this edgecnn in: waiting does not help."""


def error_from(data: Mapping[str, object]) -> EdgecnnError:
    """Make an error of the kind that another process met: ``{"kind", "message"}``."""
    kind, message = globals().get(str(data.get("kind"))), str(data.get("message"))
    if isinstance(kind, type) and issubclass(kind, EdgecnnError):
        return kind(message)
    return MeasurementError(message)


def one_line(error: Exception) -> str:
    """Return what an error says on a single line, for a cell of a table."""
    return " ".join(str(error).split())
