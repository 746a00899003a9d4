"""Models as PyTorch modules, for commands that look inside."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecnn.sources import Source


def torch_source(
    model: str, weights: str, imgsz: int | None, preprocessing: dict[str, Any]
) -> "Source":
    """Resolve a model; flags complete or replace what it says of its preprocessing.

    Raises:
        UnavailableError: PyTorch is not installed.
        SpecError, SourceError, WeightsError: see :func:`edgecnn.sources.resolve`.
    """
    from edgecnn import runtimes, sources
    from edgecnn.errors import UnavailableError

    missing = runtimes.missing_package("torch>=2.9")
    if missing is not None:
        raise UnavailableError(f"PyTorch is {missing}")
    source = sources.resolve(model, weights, imgsz)
    return replace(source, **{key: value for key, value in preprocessing.items() if value})
