"""``edgecnn describe``: a network layer by layer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import activation_option, imgsz_option
from edgecnn.cli._output import common_options, console, print_json, print_table
from edgecnn.cli._tables import check_file

if TYPE_CHECKING:
    from edgecnn.describe import Description
    from edgecnn.workload import Operator, Workload

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="A network layer by layer.")
@click.argument("model")
@imgsz_option
@activation_option
@click.option("--per-layer", is_flag=True, help="A row for every operator.")
@click.option("--plot", type=_FILE, help="Draw all of it along the network, .png or .svg.")
@click.option("--table", type=_FILE, help="Draw the latency that a table predicts, too.")
@click.option("--profile", type=_FILE, help="Or the one of `edgecnn profile --per-layer --output`.")
@click.option("--force", is_flag=True, help="Write over the plot; predict beyond the table.")
@common_options
def command(
    model: str,
    imgsz: int | None,
    activation: str | None,
    per_layer: bool,
    plot: Path | None,
    table: Path | None,
    profile: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show output shapes, parameters, multiply-adds, receptive field and activation memory.

    MODEL is a zoo name (mobilenet_v2, mobilenet_v2@w0.75,r192), timm:NAME, torchvision:NAME,
    FILE.py:CALLABLE, a .pt2 or an .onnx file. Weights do not matter here and are not looked for.
    """
    from edgecnn.describe import describe

    _check_plot(plot, table, profile, force)
    description = describe(model, imgsz, activation)
    if plot is not None:
        _draw(model, description.workload, plot, table, profile, force)
    if as_json:
        print_json(_document(description))
        return
    if per_layer:
        _print_layers(description.workload)
    _print_totals(description)


def _check_plot(plot: Path | None, table: Path | None, profile: Path | None, force: bool) -> None:
    from edgecnn.errors import UsageError

    if table is not None and profile is not None:
        raise UsageError("a plot shows one latency: pass --table or --profile, not both.")
    if plot is None:
        if table is not None or profile is not None:
            raise UsageError("--table and --profile are for the plot: pass --plot FILE, too.")
        return
    from edgecnn.files import refuse_existing
    from edgecnn.report import plots

    plots.check(plot)
    refuse_existing(plot, force)


def _draw(
    model: str,
    workload: "Workload",
    plot: Path,
    table: Path | None,
    profile: Path | None,
    force: bool,
) -> None:
    from edgecnn import anatomy, latency
    from edgecnn.profile import Profile
    from edgecnn.report import along, plots

    if table is not None:
        predictor = latency.load(table)
        check_file(model, workload, predictor)
        found = anatomy.predicted(workload, predictor, force=force)
    elif profile is not None:
        found = anatomy.measured(workload, Profile.load(profile))
    else:
        found = anatomy.plain(workload)
    plots.write(along.along(found), plot, along.width_for(found), along.KEY)


def _document(description: "Description") -> dict[str, Any]:
    workload = description.workload
    return {
        "name": workload.name,
        "imgsz": workload.input_shape[-1],
        "params": description.params,
        "macs": workload.macs,
        "activation_bytes": workload.activation_bytes,
        "peak_activation_bytes": workload.peak_activation_bytes,
        "note": description.note,
        "unknown_ops": list(workload.unknown),
        "layers": [_layer(operator, live) for operator, live in workload.liveness()],
    }


def _layer(operator: "Operator", live_bytes: int) -> dict[str, Any]:
    return {
        "name": operator.name,
        "op": operator.op,
        "out_shape": list(operator.out_shape),
        "params": operator.params,
        "macs": operator.macs,
        "receptive_field": operator.receptive_field,
        "activation_bytes": operator.out_bytes,
        "live_bytes": live_bytes,
    }


def _print_layers(workload: "Workload") -> None:
    peak = workload.peak_activation_bytes
    print_table(
        ["layer", "op", "output", "params", "multiply-adds", "receptive field", "live (kB)"],
        [
            [
                operator.name,
                operator.op + _settings(operator),
                " x ".join(map(str, operator.out_shape)),
                f"{operator.params:,}" if operator.params else "",
                f"{operator.macs:,}" if operator.macs else "",
                operator.receptive_field,
                f"{live / 1e3:,.0f}" + (" < peak" if live == peak else ""),
            ]
            for operator, live in workload.liveness()
        ],
        text=["layer", "op"],
    )


def _settings(operator: "Operator") -> str:
    if operator.op not in ("conv", "depthwise_conv"):
        return ""
    return f" {operator.kernel}x{operator.kernel}" + (
        f" /{operator.stride}" if operator.stride > 1 else ""
    )


def _print_totals(description: "Description") -> None:
    out, workload = console(), description.workload
    size = workload.input_shape[-1]
    out.print(f"[bold]{workload.name}[/bold] at {size} x {size}")
    out.print(f"  parameters         {description.params:,}")
    out.print(f"  multiply-adds      {workload.macs:,}")
    out.print(f"  activations, all   {workload.activation_bytes / 1e6:.2f} MB (float32)")
    out.print(f"  activations, peak  {workload.peak_activation_bytes / 1e6:.2f} MB (float32)")
    if description.note:
        out.print(f"  {description.note}")
    if workload.unknown:
        out.print(f"  [yellow]not counted: {', '.join(workload.unknown)}[/yellow]")
