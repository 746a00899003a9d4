"""``edgecnn predict``: the latency of a network on a device that is not there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import activation_option, imgsz_option
from edgecnn.cli._output import common_options, print_json, print_table
from edgecnn.cli._tables import check_file

if TYPE_CHECKING:
    from edgecnn.latency import Estimate


@click.command(short_help="The latency that a table predicts for a network.")
@click.argument("model")
@click.option(
    "--table",
    "tables",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    multiple=True,
    help="From `edgecnn calibrate`. Repeat it to compare devices.",
)
@imgsz_option
@activation_option
@click.option("--per-layer", is_flag=True, help="A row for every operator.")
@click.option("--target-ms", type=float, help="A limit; exits with 4 where it is missed.")
@click.option("--force", is_flag=True, help="Predict also what the tables do not know.")
@common_options
def command(
    model: str,
    tables: tuple[Path, ...],
    imgsz: int | None,
    activation: str | None,
    per_layer: bool,
    target_ms: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Predict the latency of MODEL, with an interval, whole and operator by operator.

    MODEL is what `edgecnn describe` takes: a zoo name, timm:NAME, an .onnx or .tflite file. Refused
    where it has operators or sizes that the table has not seen.
    """
    from edgecnn import latency
    from edgecnn.describe import describe

    workload = describe(model, imgsz, activation).workload
    predictors = [latency.load(table) for table in tables]
    for predictor in predictors:
        check_file(model, workload, predictor)
    found = [predictor.estimate(workload, force=force) for predictor in predictors]
    if as_json:
        documents = [_document(one, target_ms) for one in found]
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        _print(found, per_layer)
    _judge(found, target_ms)


def _document(estimate: "Estimate", target_ms: float | None) -> dict[str, Any]:
    passed = None if target_ms is None else estimate.latency_ms <= target_ms
    return estimate.to_dict() | {"target_ms": target_ms, "passed": passed}


def _print(found: "list[Estimate]", per_layer: bool) -> None:
    for estimate in found if per_layer else ():
        print_table(
            ["layer", "operator", f"ms ({estimate.latency_kind})", "share", ""],
            [
                [one.name, one.op, f"{one.ms:.4f}", f"{one.ms / estimate.latency_ms:.1%}",
                 "beyond what was measured" if one.outside else ""]
                for one in estimate.layers
            ],
            title=f"{estimate.model} by {estimate.table}",
            text=["layer", "operator", ""],
        )  # fmt: skip
    first = found[0]
    print_table(
        ["table", "latency (ms)", f"{first.level:.0%} interval", "kind", "unknown operators",
         "beyond the table"],
        [
            [one.table, f"{one.latency_ms:.3g}",
             f"{one.interval_ms[0]:.3g} to {one.interval_ms[1]:.3g}", one.latency_kind,
             ", ".join(one.unknown_ops) or "none", f"{one.outside_share:.1%} of the time"]
            for one in found
        ],
        title=first.model,
        text=["table", "kind", "unknown operators"],
    )  # fmt: skip


def _judge(found: "list[Estimate]", target_ms: float | None) -> None:
    from edgecnn.errors import VerdictError

    missed = [one for one in found if target_ms is not None and one.latency_ms > target_ms]
    if missed:
        worst = max(missed, key=lambda one: one.latency_ms)
        raise VerdictError(
            f"{worst.model} misses {target_ms:g} ms: {worst.latency_ms:.3g} ms "
            f"({worst.latency_kind}) by {worst.table}."
        )
