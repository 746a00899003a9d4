"""``edgecnn filters``: what a network's first layer looks at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import contract_options, force_option, imgsz_option, weights_option
from edgecnn.cli._output import common_options, console, print_json
from edgecnn.cli._torch import torch_source

if TYPE_CHECKING:
    from edgecnn.filters import Filters

NEEDS = ("torch",)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="A layer's filters, their frequencies, its maps.")
@click.argument("model")
@weights_option
@click.option("--layer", metavar="NAME", help="A convolution, by default the first.")
@click.option("--image", type=_FILE, help="A picture to show the feature maps of.")
@click.option("--output", type=_FILE, required=True, help="The drawing, .png or .svg.")
@imgsz_option
@contract_options
@force_option
@common_options
def command(
    model: str,
    weights: str,
    layer: str | None,
    image: Path | None,
    output: Path,
    imgsz: int | None,
    force: bool,
    as_json: bool,
    **preprocessing: Any,
) -> None:
    """Draw the filters of MODEL's first convolution, or of another one.

    Beside each filter stands its frequency response, from still light in the middle to Nyquist's
    limit of 0.5 cycles per pixel; a dashed square marks what the layer's stride can carry. With
    --image: the maps that the layer makes of it.
    """
    from edgecnn import filters, preprocess
    from edgecnn.files import refuse_existing
    from edgecnn.report import filters as drawing
    from edgecnn.report import plots

    plots.check(output)
    refuse_existing(output, force)
    picture = None if image is None else preprocess.read_image(image)
    source = torch_source(model, weights, imgsz, preprocessing)
    found = filters.filters(source, layer, picture)
    plots.write(drawing.filters(found), output, plots.WIDE, drawing.KEY)
    if as_json:
        print_json(_document(found, output))
    else:
        _print(found, output)


def _document(found: "Filters", output: Path) -> dict[str, Any]:
    return {
        "model": found.model,
        "weights": found.weights,
        "layer": found.layer,
        "filters": len(found.taps),
        "size": found.taps.shape[-1],
        "stride": found.stride,
        "beyond_nyquist": [float(share) for share in found.beyond],
        "output": str(output),
    }


def _print(found: "Filters", output: Path) -> None:
    count, size = len(found.taps), found.taps.shape[-1]
    out = console()
    out.print(f"[bold]{output}[/bold]")
    out.print(f"  layer    {found.layer}: {count} filters of {size} x {size}")
    out.print(f"  weights  {found.weights}")
    if found.stride > 1:
        out.print(
            f"  aliasing {found.beyond.mean():.0%} of a filter's energy, on average, is for waves "
            f"above {0.5 / found.stride:g} cycles per pixel, which stride {found.stride} folds"
        )
