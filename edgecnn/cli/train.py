"""``edgecnn train``: from pictures to a checkpoint, interrupted at will."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecnn.cli._options import force_option, imgsz_option
from edgecnn.cli._output import common_options, console, print_json, progress

if TYPE_CHECKING:
    from edgecnn.training.result import Epoch, Result

NEEDS = ("train",)
F = TypeVar("F", bound=Callable[..., Any])


def _recipe_options(function: F) -> F:
    """Add the options that make the recipe; their names are its fields."""
    for option in (
        click.option("--epochs", type=click.IntRange(1), default=30, show_default=True),
        click.option("--batch", type=click.IntRange(2), default=128, show_default=True),
        click.option("--optimizer", default="sgd", show_default=True, metavar="sgd|adamw"),
        click.option("--learning-rate", type=float, default=0.1, show_default=True),
        click.option("--weight-decay", type=float, default=5e-4, show_default=True),
        click.option("--warmup", type=float, default=0.1, show_default=True, help="Of all steps."),
        click.option("--label-smoothing", type=float, default=0.1, show_default=True),
        click.option(
            "--augment",
            metavar="LIST|none",
            help="Of mirror, shift:PIXELS, rotate:DEGREES, zoom:SHARE, cutout:PIXELS. Without it "
            "the pictures decide (digits are not mirrored), and it is told at the start.",
        ),
        click.option("--limit", type=click.IntRange(1), help="Train on so many pictures at most."),
        click.option(
            "--held-out",
            type=click.IntRange(0),
            default=5000,
            show_default=True,
            help="Choose the best epoch by so many training pictures, at most a fifth, which are "
            "not trained on. 0: train on all, and take the last epoch.",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
        click.option("--threads", type=click.IntRange(1), help="Of torch.  [default: all cores]"),
        click.option("--device", default="cpu", show_default=True, metavar="cpu|cuda"),
        click.option("--amp", is_flag=True, help="Mixed precision, on a GPU."),
        click.option("--quantize", metavar="w8a8", help="Tune --weights under 8-bit rounding."),
        click.option("--temperature", type=float, default=4.0, show_default=True,
                     help="Of the softened logits of a teacher."),
        click.option("--soft-weight", type=float, default=0.9, show_default=True,
                     help="Share of the teacher in the loss."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command(short_help="Train a network, also under 8-bit rounding or a teacher.")
@click.argument("model")
@click.option("--data", required=True, metavar="DIR|FILE.zip|mnist|cifar10", help="See below.")
@imgsz_option
@click.option(
    "--output-stride", type=click.IntRange(1), help="Drop the first strides down to this."
)
@click.option(
    "--weights",
    default="random",
    show_default=True,
    metavar="FILE|auto|random",
    help="What to start from; another number of classes gets a new last layer.",
)
@click.option("--teacher", metavar="MODEL|FILE", help="Learn from its logits; the same classes.")
@_recipe_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to make.  [default: trained/MODEL-DATA]",
)
@click.option("--min-top1", type=float, help="Fail where top-1 (%) is below this.")
@force_option
@common_options
def command(
    model: str,
    data: str,
    imgsz: int | None,
    output_stride: int | None,
    weights: str,
    teacher: str | None,
    output: Path | None,
    min_top1: float | None,
    force: bool,
    as_json: bool,
    **recipe: Any,
) -> None:
    """Train MODEL on pictures. The same command goes on after an interruption.

    MODEL is a zoo name, also with changes: mobilenet_v2@w0.75,r192,gelu. `edgecnn export` takes the
    same name with the checkpoint.

    --data is a folder of class folders, or of train/ and test/ with class folders in each, a zip
    file of either, MNIST's files, or the name of a data set in $EDGECNN_DATA or ../shared/data.
    With a test part, top-1 is told on it; else on the pictures held out.

    The folder gets best.pt and last.pt (pass either as --weights, to `edgecnn export` too),
    run.json, curves.svg and .png, and events for TensorBoard. With several processes: torchrun
    --nproc-per-node N -m edgecnn train ...
    """
    from edgecnn import sources
    from edgecnn.training.run import Callbacks, Task, run

    task = Task(
        base=sources.rows(model),
        data=data,
        output=output or Path("trained") / f"{model}-{Path(data).stem}",
        recipe=_recipe(**recipe),
        imgsz=imgsz,
        output_stride=output_stride,
        weights=weights,
        teacher=teacher,
        min_top1=min_top1,
        force=force,
    )
    with progress() as report:
        result = run(task, Callbacks(report, _tell_epoch, _tell))
    if result is None:  # another process of torchrun's tells it
        return
    if as_json:
        print_json(result.to_dict())
    else:
        _print(result)
    _judge(result, min_top1)


def _recipe(augment: str | None, threads: int | None, **fields: Any) -> Any:
    from edgecnn.training.augment import Augment
    from edgecnn.training.recipe import Recipe, usable_cores

    chosen = None if augment is None else Augment.parse(augment)
    return Recipe(**fields, augment=chosen, threads=threads or usable_cores())


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _tell_epoch(epoch: "Epoch") -> None:
    _tell(
        f"epoch {epoch.number}: loss {epoch.loss:.4f}, top-1 {epoch.top1:.2f} %, "
        f"{epoch.seconds:.0f} s"
    )


def _print(result: "Result") -> None:
    low, high = result.top1_ci95
    out = console()
    out.print(f"[bold]{result.checkpoint}[/bold]  epoch {result.best_epoch} of {result.model}")
    out.print(f"  top-1      {result.top1:.2f} %  (95 % interval {low:.2f} to {high:.2f})")
    if result.top1_w8a8 is not None:
        out.print(f"  simulated  {result.top1_w8a8:.2f} % under w8a8's rounding")
    out.print(f"  tested on  {result.tested} pictures: {result.tested_on}")
    if result.passed is not None:
        out.print("  [green]passed[/green]" if result.passed else "  [red]failed[/red]")


def _judge(result: "Result", min_top1: float | None) -> None:
    from edgecnn.errors import VerdictError

    if result.passed is False:
        found = result.top1 if result.top1_w8a8 is None else result.top1_w8a8
        raise VerdictError(f"top-1 is {found:.2f} %, below {min_top1:g} %. The files are kept.")
