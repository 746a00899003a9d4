"""``edgecnn export``: from a model to a file that was proven equal to it."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import (
    activation_option,
    contract_options,
    force_option,
    imgsz_option,
    labels_option,
    pictures,
    pictures_option,
    weights_option,
)
from edgecnn.cli._output import common_options, console, print_json, stages

if TYPE_CHECKING:
    from edgecnn.artifact import Artifact
    from edgecnn.contract import Parity
    from edgecnn.sources import Source

NEEDS = ("export",)
WRITTEN_OUT = 200
"""Pictures of a data set that is no folder; export takes about 100."""


@click.command(short_help="Convert, quantize, and prove the file equal.")
@click.argument("model")
@click.option("--format", "format_name", required=True, help="onnx, tflite, ncnn or pt2.")
@click.option("--precision", default="fp32", show_default=True, help="fp32, fp16, w8a8 or w8a32.")
@pictures_option("train")
@weights_option
@activation_option
@click.option(
    "--keep-weights",
    is_flag=True,
    help="With --activation: weights that were trained with the model's own.",
)
@imgsz_option
@click.option("--num-classes", type=click.IntRange(1), help="Where it differs from the model's.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to make.")
@labels_option
@click.option("--uint8-input", is_flag=True, help="Take uint8 HWC pixels and normalize inside.")
@click.option("--calibration-images", type=click.IntRange(1), help="How many of --data to use.")
@click.option("--force-calibration", is_flag=True, help="Calibrate on few or doubtful images.")
@contract_options
@force_option
@common_options
def command(
    model: str,
    format_name: str,
    precision: str,
    data: str | None,
    weights: str,
    activation: str | None,
    keep_weights: bool,
    imgsz: int | None,
    num_classes: int | None,
    output: Path | None,
    labels: Path | None,
    uint8_input: bool,
    calibration_images: int | None,
    force_calibration: bool,
    force: bool,
    as_json: bool,
    **preprocessing: Any,
) -> None:
    """Export MODEL to a file, and prove that the file computes the same.

    MODEL is a zoo name (mobilenet_v2, mobilenet_v2@w0.75,r192), timm:NAME, torchvision:NAME,
    FILE.py:CALLABLE, a .pt2 or an .onnx file. w8a8 is calibrated on the photographs of --data.
    """
    from edgecnn import export, sources
    from edgecnn.contract import Recipe

    started = time.monotonic()
    exporter = export.required(format_name)
    recipe = Recipe.parse(precision)
    with stages() as progress:
        progress(f"loading {model}")
        source = sources.resolve(
            model,
            weights,
            imgsz,
            num_classes,
            activation=activation,
            keep_weights=keep_weights,
        )
        source = _with_preprocessing(source, preprocessing)
        artifact = export.export(
            source,
            exporter.name,
            recipe,
            output or _default_output(source.name, format_name, precision, uint8_input),
            calibration_folder=pictures(data, "train", calibration_images or WRITTEN_OUT),
            calibration_images=calibration_images,
            uint8_input=uint8_input,
            labels=_labels(labels, source),
            force=force,
            force_calibration=force_calibration,
            progress=progress,
        )
    _report(artifact, time.monotonic() - started, as_json)


def _with_preprocessing(source: "Source", given: dict[str, Any]) -> "Source":
    return replace(source, **{key: value for key, value in given.items() if value})


def _default_output(name: str, format_name: str, precision: str, uint8_input: bool) -> Path:
    from edgecnn import formats

    safe = "".join(c if c.isalnum() or c in "-_.,@" else "_" for c in name)
    pixels = "-uint8" if uint8_input else ""
    return Path(f"{safe}-{precision}{pixels}{formats.get(format_name).suffix}")


def _labels(file: Path | None, source: "Source") -> tuple[str, ...]:
    from edgecnn import images

    if file is not None:
        return images.display_labels(file)
    if source.labels:
        return source.labels
    return images.imagenet_labels() if source.num_classes == images.IMAGENET_CLASSES else ()


def _report(artifact: "Artifact", seconds: float, as_json: bool) -> None:
    from edgecnn.errors import VerdictError

    contract = artifact.required_contract()
    parity = contract.parity
    if as_json:
        print_json(
            {
                "artifact": str(artifact.path),
                "format": artifact.format,
                "precision": contract.precision,
                "bytes": artifact.bytes,
                "parity": None if parity is None else asdict(parity),
                "seconds": round(seconds, 2),
                "sha256": artifact.sha256,
                "weights": contract.weights,
            }
        )
    else:
        size = f"{artifact.bytes / 1e6:.2f} MB"
        console().print(f"[bold]{artifact.path}[/bold]  {size}, {seconds:.1f} s")
        console().print(f"weights  {contract.weights}")
        if contract.quantization is not None:
            console().print(f"scheme   {contract.quantization.scheme}")
        if parity is not None:
            console().print(f"parity   {_parity_line(parity)}")
    if parity is not None and not parity.passed:
        raise VerdictError(f"{artifact.path}: not equal to the original: {parity.reason}")


def _parity_line(parity: "Parity") -> str:
    verdict = "[green]passed[/green]" if parity.passed else "[red]failed[/red]"
    return (
        f"{verdict} on {parity.images} images ({parity.inputs}): "
        f"logits differ by {parity.max_abs:.2g} at most, {parity.mean_abs:.2g} on average; "
        f"smallest cosine {parity.cosine:.6f}; same top-1 on {parity.top1_agreement:.1%}"
    )
