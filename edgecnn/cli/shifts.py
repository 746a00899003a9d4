"""``edgecnn shifts``: whether a network says the same of a picture that was moved."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import (
    contract_options,
    force_option,
    imgsz_option,
    labels_option,
    weights_option,
)
from edgecnn.cli._output import common_options, console, print_json, print_table, progress
from edgecnn.cli._torch import torch_source

if TYPE_CHECKING:
    from edgecnn.images import LabelledImage
    from edgecnn.shifts import Answers, Shifts
    from edgecnn.sources import Source

NEEDS = ("torch",)


@click.command(short_help="Whether moved pictures get the same class.")
@click.argument("model")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of photographs, one subfolder per class, or none.",
)
@weights_option
@click.option("--shifts", type=click.IntRange(1), default=8, show_default=True, help="Pixels.")
@click.option("--taps", type=int, default=3, show_default=True, help="Of the blur: 3, 5, 7 or 9.")
@click.option(
    "--statistics",
    type=click.IntRange(0),
    default=32,
    show_default=True,
    help="Other pictures of --data that set the blurred network's normalization; 0: none.",
)
@click.option("--limit", type=click.IntRange(1), help="Use so many images, evenly spread.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="A drawing, .png or .svg."
)
@imgsz_option
@labels_option
@contract_options
@force_option
@common_options
def command(
    model: str,
    data: Path,
    weights: str,
    shifts: int,
    taps: int,
    statistics: int,
    limit: int | None,
    plot: Path | None,
    imgsz: int | None,
    labels: Path | None,
    force: bool,
    as_json: bool,
    **preprocessing: Any,
) -> None:
    """Move pictures by 0 to so many pixels and count how often MODEL says the same of them.

    As it is, and with the stride of each convolution behind a fixed blur (Zhang, arXiv 1904.11486):
    with the same weights, and with batch normalization's statistics taken anew. Nothing is trained
    for the blur, so it costs more accuracy here than in a network that was.
    """
    from edgecnn.files import refuse_existing
    from edgecnn.report import plots

    if plot is not None:
        plots.check(plot)
        refuse_existing(plot, force)
    source = torch_source(model, weights, imgsz, preprocessing)
    from edgecnn.shifts import measure

    others, images = _pictures(data, source, labels, statistics, limit)
    with progress() as report:
        found = measure(
            source, images, shifts=shifts, taps=taps, statistics=others, progress=report
        )
    for reason in found.skipped:
        click.echo(f"skipped: {reason}", err=True)
    if plot is not None:
        from edgecnn.report import shifts as drawing

        plots.write(drawing.shifts(found), plot, key=drawing.KEY)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


def _pictures(
    data: Path, source: "Source", labels: Path | None, statistics: int, limit: int | None
) -> "tuple[tuple[Path, ...], tuple[LabelledImage, ...]]":
    """Those that statistics are taken of, and those that are moved: none is both."""
    from edgecnn.errors import DataError
    from edgecnn.images import calibration_subset, imagenet_labels, labelled, list_images

    listing = list_images(data)
    if len(listing) <= statistics:
        raise DataError(
            f"{data}: {len(listing)} pictures, {statistics} of them for statistics, leave none. "
            "Pass a smaller --statistics."
        )
    others = calibration_subset(listing, statistics) if statistics else ()
    left = [path for path in listing if path not in set(others)]
    chosen = left if limit is None else calibration_subset(left, limit)
    names = imagenet_labels() if source.num_classes == len(imagenet_labels()) else ()
    images = labelled(chosen, data, classes=source.num_classes, labels=names, labels_file=labels)
    return tuple(others), images


def _print(found: "Shifts") -> None:
    print_table(
        ["network", "consistency (%)", "points more (95 %)", "right, unmoved (%)",
         "right, all shifts (%)"],
        [[one.name, f"{one.consistency:.2f}", *_figures(found, one)] for one in found.networks],
        title=f"{found.model} on {found.images} pictures, moved by 0 to {found.pixels[-1]} pixels",
        text=["network"],
    )  # fmt: skip
    console().print(f"  weights  {found.weights}, not trained with a blur")


def _figures(found: "Shifts", one: "Answers") -> list[str]:
    gain, low, high = found.gain(one)
    more = "" if one is found.networks[0] else f"{gain:+.2f} ({low:+.2f} to {high:+.2f})"
    if one.top1 is None:
        return [more, "", ""]
    return [more, f"{one.top1[0]:.2f}", f"{sum(one.top1) / len(one.top1):.2f}"]
