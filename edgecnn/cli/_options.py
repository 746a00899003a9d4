"""Options that several commands share, each defined once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgecnn.artifact import Artifact

F = TypeVar("F", bound=Callable[..., Any])

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)

artifact_argument = click.argument("artifact", type=_FILE)
data_option = click.option(
    "--data", type=_FOLDER, help="Folder of photographs, one subfolder per class."
)
weights_option = click.option(
    "--weights",
    default="auto",
    show_default=True,
    metavar="FILE|auto|random",
    help="A checkpoint; `auto` looks for an installed or cached one.",
)
imgsz_option = click.option("--imgsz", type=click.IntRange(8, 4096), help="Input size in pixels.")
activation_option = click.option(
    "--activation",
    metavar="NAME",
    help="Replaces that of a zoo model's rows: relu, hswish, gelu, gelu_tanh, gelu_sigmoid, ...",
)
_DEVICE_HELP = "Where it runs: local, a board, a GPU; see `edgecnn device list`."
device_option = click.option("--device", default="local", show_default=True, help=_DEVICE_HELP)
devices_option = click.option(
    "--device",
    "device",
    multiple=True,
    default=("local",),
    show_default="local",
    help=_DEVICE_HELP + " Repeat it for several at once.",
)
threads_option = click.option(
    "--num-threads", "threads", type=click.IntRange(1), default=1, show_default=True
)
runtime_option = click.option("--runtime", default="auto", show_default=True, metavar="NAME|auto")
labels_option = click.option("--labels", type=_FILE, help="One label per line, in class order.")
force_option = click.option("--force", is_flag=True, help="Write over existing files.")


def pictures_option(part: str, required: bool = False) -> Callable[[F], F]:
    """The option for a folder of photographs, or a part of a data set that is none."""
    return click.option(
        "--data",
        required=required,
        metavar="DIR|FILE.zip|mnist|cifar10",
        help="Folder of photographs, one subfolder per class; or a data set as `edgecnn train` "
        f"takes it, whose {part} part is written out as one below .edgecnn.",
    )


def pictures(data: str | None, part: str, count: int | None = None) -> Path | None:
    """The folder that the option names.

    Raises:
        DataError: there is no such data set, or it cannot be read.
    """
    from edgecnn.picture_sets import as_folder

    return None if data is None else as_folder(data, part, Path(".edgecnn"), count)


def contract_options(function: F) -> F:
    """Add the flags that complete a file which carries no contract (see `open_artifact`)."""
    foreign = "for a file without a contract."
    for option in (
        click.option("--mean", nargs=3, type=float, help=f"Pixel means, R G B, 0-255, {foreign}"),
        click.option("--std", nargs=3, type=float, help=f"Pixel deviations, R G B, {foreign}"),
        click.option("--crop-pct", type=float, help=f"Share of the shorter side kept, {foreign}"),
        click.option("--interpolation", help=f"bicubic, bilinear, area or nearest, {foreign}"),
    ):
        function = option(function)
    return function


def open_artifact(
    path: Path,
    *,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    labels: Path | None = None,
) -> "Artifact":
    """Load an artifact, completing a foreign file's contract from flags.

    Raises:
        ArtifactError: the file is unreadable, or lacks something that no flag gives.
        UsageError: preprocessing is given for a file that states its own.
        DataError: the labels file cannot be read.
    """
    from edgecnn.artifact import Artifact, completed

    return completed(
        Artifact.load(path),
        mean=mean or None,
        std=std or None,
        crop_pct=crop_pct,
        interpolation=interpolation,
        labels=None if labels is None else _display_labels(labels),
    )


def _display_labels(path: Path) -> tuple[str, ...]:
    from edgecnn.images import display_labels

    return display_labels(path)
