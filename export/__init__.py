"""From a model to a file that was proven equal to it: one `to_X.py` per format.

:func:`export` converts, writes the contract into the file, opens the file again with the format's
own runtime and compares it with the original on real pictures. The verdict is a part of the file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgecnn import discovery
from edgecnn.artifact import Artifact
from edgecnn.contract import Layout, Recipe
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.export.calibration import ImageSet
from edgecnn.sources import Source

_PREFIX = "to_"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Conversion:
    """What a converter did.

    ``scheme`` says in words how numbers were quantized, if they were; ``calibrated`` whether the
    images went into it; ``saturation_free`` as in :class:`edgecnn.contract.Quantization`.
    """

    scheme: str = ""
    calibrated: bool = False
    saturation_free: bool = False


@dataclass(frozen=True)
class Task:
    """What :func:`export` was asked for; the fields are its arguments."""

    source: Source
    format: str
    recipe: Recipe
    output: Path
    calibration_folder: Path | None
    calibration_images: int | None
    uint8_input: bool
    labels: tuple[str, ...]
    force: bool
    force_calibration: bool


def _silent(stage: str) -> None:
    """The progress callback of a caller that does not care."""


class Exporter(Protocol):
    """What a module `to_X.py` provides."""

    name: str
    """The format's name, as in :mod:`edgecnn.formats`."""
    runtime: str
    """The runtime that proves the file."""
    precisions: tuple[str, ...]
    requires: tuple[str, ...]
    """Packages as pip names them."""
    layout: Layout
    """Of a float32 input. One of uint8 pixels is NHWC, as a camera gives them."""
    takes_uint8: bool
    """Whether normalization can be folded into the file."""

    def convert(
        self,
        source: Source,
        recipe: Recipe,
        path: Path,
        *,
        calibration: ImageSet | None,
        uint8_input: bool,
    ) -> Conversion:
        """Write ``source`` to ``path``, with input ``image`` and output ``logits``.

        ``calibration`` holds the user's images, if there are any; they are always there where the
        recipe needs them.

        Raises:
            ExportError: the converter cannot do it.
        """


def names() -> tuple[str, ...]:
    """Return the names of the formats that can be exported to."""
    found = discovery.names(__name__)
    return tuple(name.removeprefix(_PREFIX) for name in found if name.startswith(_PREFIX))


def get(name: str) -> Exporter:
    """Return the exporter of a format.

    Raises:
        UsageError: there is none.
    """
    if name not in names():
        raise UsageError(f"cannot export to {name!r}; allowed: {', '.join(names())}.")
    return cast(Exporter, discovery.load(__name__, _PREFIX + name))


def required(name: str) -> Exporter:
    """Return the exporter of a format, whose packages are installed.

    Raises:
        UsageError: there is none.
        UnavailableError: a package that it needs is not installed.
    """
    from edgecnn.runtimes import missing_package

    exporter = get(name)
    missing = missing_package(*exporter.requires)
    if missing is not None:
        raise UnavailableError(f"export to {name} needs packages that are {missing}")
    return exporter


def export(
    source: Source,
    format: str,
    recipe: Recipe,
    output: Path,
    *,
    calibration_folder: Path | None = None,
    calibration_images: int | None = None,
    uint8_input: bool = False,
    labels: tuple[str, ...] = (),
    force: bool = False,
    force_calibration: bool = False,
    progress: Progress = _silent,
) -> Artifact:
    """Make the file, prove it, and return it.

    A file that fails its parity is kept and returned: look at ``artifact.contract.parity``.

    Args:
        calibration_folder: photographs; required by w8a8, used by w8a32 where given. Some of them
            are the pictures of the parity check.
        calibration_images: how many of them calibrate; by default
            :data:`edgecnn.export.calibration.DEFAULT_IMAGES`.
        uint8_input: fold normalization into the file, which then takes uint8 pixels,
            1 x imgsz x imgsz x 3.
        labels: the names of the classes in their order.
        force: write over ``output`` where it exists.
        force_calibration: take images even where they are too few or look like noise.
        progress: called with a few words at each stage.

    Raises:
        UsageError: the request contradicts itself, or the output exists.
        SourceError: the model does not say how its input is made, and nobody else did.
        UnavailableError: a package that the format needs is not installed.
        DataError: the calibration images are missing, too few, or no photographs.
        ExportError: the converter cannot convert the model.
        DiskError: the file cannot be written. Nothing is left of it then.
    """
    from edgecnn.export import _pipeline

    task = Task(
        source=source,
        format=format,
        recipe=recipe,
        output=Path(output),
        calibration_folder=calibration_folder,
        calibration_images=calibration_images,
        uint8_input=uint8_input,
        labels=labels,
        force=force,
        force_calibration=force_calibration,
    )
    return _pipeline.run(task, progress)
