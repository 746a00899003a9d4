"""``edgecnn models``: the zoo."""

from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._output import common_options, print_json, print_table

if TYPE_CHECKING:
    from edgecnn.spec import ModelSpec


@click.command(short_help="The zoo: parameters, multiply-adds, published accuracy.")
@click.option("--family", help="Only the models of this family.")
@common_options
def command(family: str | None, as_json: bool) -> None:
    """List the models of the zoo with parameters, multiply-adds and published accuracy."""
    rows = [_row(spec) for spec in _chosen(family)]
    if as_json:
        print_json(rows)
        return
    _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    sources = list(dict.fromkeys(row["top1_source"] for row in rows if row["top1_source"]))
    print_table(
        ["name", "family", "params (M)", "multiply-adds (M)", "px", "top-1 (%)", "source"],
        [
            [
                row["name"],
                row["family"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs'] / 1e6:.0f}",
                row["imgsz"],
                "" if row["top1"] is None else f"{row['top1']:.1f}",
                sources.index(row["top1_source"]) + 1 if row["top1_source"] else "",
            ]
            for row in rows
        ],
        text=["name", "family"],
    )
    click.echo("Accuracy on ImageNet-1k as published, not measured here, by source:")
    for number, source in enumerate(sources, 1):
        click.echo(f"  {number}  {source}")
    click.echo("Any of them scales: mobilenet_v2@w0.75,d1.0,r192 (width, depth, resolution).")


def _chosen(family: str | None) -> "list[ModelSpec]":
    from edgecnn import families
    from edgecnn.errors import UsageError

    if family is not None and family not in families.names():
        raise UsageError(f"unknown family {family!r}; allowed: {', '.join(families.names())}.")
    return [spec for spec in families.all().values() if family in (None, spec.family)]


def _row(spec: "ModelSpec") -> dict[str, Any]:
    from edgecnn import workload

    work = workload.from_spec(spec)
    top1, source = spec.accuracy or (None, None)
    return {
        "name": spec.name,
        "family": spec.family,
        "params": work.params,
        "macs": work.macs,
        "imgsz": spec.resolution,
        "top1": top1,
        "top1_source": source,
    }
