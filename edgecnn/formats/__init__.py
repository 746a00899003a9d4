"""The file formats of artifacts: one file per format, each found by its file name.

These modules read headers and metadata with the standard library alone, because they also run on
the board. Converting a network into a format lives in ``export/to_X.py``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgecnn import discovery
from edgecnn.contract import Contract, TensorSpec
from edgecnn.errors import ArtifactError, UsageError

SNIFFED_BYTES = 64


@dataclass(frozen=True)
class Header:
    """What can be told of a model file without running it; ``contract`` is raw JSON or None."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    contract: str | None


class Format(Protocol):
    """What a module in this folder provides."""

    name: str
    suffix: str
    """The file name's ending, with its dot."""

    def matches(self, head: bytes, suffix: str) -> bool:
        """Tell from the first bytes and the name's ending whether a file is of this format."""

    def inspect(self, path: Path) -> Header:
        """Read the header. Raises ArtifactError where the file is truncated or damaged."""

    def embed(self, path: Path, contract: Contract) -> None:
        """Rewrite ``path`` in place with ``contract`` inside, replacing one that is there."""


def names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return discovery.names(__name__)


def get(name: str) -> Format:
    """Return the format called ``name``.

    Raises:
        UsageError: there is none.
    """
    try:
        return cast(Format, discovery.load(__name__, name))
    except KeyError:
        raise UsageError(f"unknown format {name!r}; allowed: {', '.join(names())}.") from None


def detect(path: Path) -> Format:
    """Return the format of a model file by its content, and by its ending where content is silent.

    Raises:
        ArtifactError: no format matches.
    """
    with path.open("rb") as stream:
        head = stream.read(SNIFFED_BYTES)
    for name in names():
        format_ = get(name)
        if format_.matches(head, path.suffix):
            return format_
    raise ArtifactError(f"{path}: not a model file that edgecnn knows ({', '.join(names())}).")
