"""``edgecnn scale``: a network grown or shrunk until it just meets a deadline."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _proxy, _scale_grid, _scale_latency
from edgecnn.cli._output import common_options, print_json, print_table

if TYPE_CHECKING:
    from edgecnn.cli._scale_latency import Source
    from edgecnn.scale import Coefficients, Fit, Member
    from edgecnn.spec import ModelSpec

NEEDS = ("search",)
PHIS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@click.command(short_help="A network grown or shrunk until it just meets a deadline.")
@click.argument("base")
@click.option("--target-ms", type=float, help="Median latency of the member.")
@click.option(
    "--table",
    "tables",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="What predicts; from `edgecnn calibrate`. Repeat it for several side by side.",
)
@click.option("--device", help="Without --table: measure there.")
@click.option("--runtime", default="ort", show_default=True, help="With --device.")
@click.option("--precision", default="w8a8", show_default=True, help="With --device.")
@click.option(
    "--num-threads", "threads", type=click.IntRange(1), default=1, show_default=True,
    help="With --device.",
)  # fmt: skip
@click.option(
    "--coefficients",
    nargs=3,
    type=float,
    metavar="DEPTH WIDTH RESOLUTION",
    help="Growth for each unit of phi.  [default: EfficientNet's 1.2 1.1 1.15]",
)
@click.option("--imgsz", type=click.IntRange(8, 4096), help="Resolution of BASE.")
@click.option(
    "--output-stride", type=click.IntRange(1), help="Of BASE; the first strides are dropped for it."
)
@_scale_grid.options
@_proxy.options
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgecnn"),
    show_default=True,
    help="Keeps what was trained and measured.",
)
@common_options
def command(
    base: str,
    target_ms: float | None,
    tables: tuple[Path, ...],
    device: str | None,
    runtime: str,
    precision: str,
    threads: int,
    coefficients: tuple[float, float, float] | None,
    imgsz: int | None,
    output_stride: int | None,
    grid: bool,
    workdir: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Scale BASE, a network of the zoo, by EfficientNet's rule: depth, width and resolution grow
    together. The largest member that meets the target is chosen, for each table given.

    With --grid the coefficients are searched for first, as in the paper: all on a grid that about
    double the multiply-adds, or a table's latency, each trained on --data. Exits with 4 where even
    the smallest member takes longer.
    """
    from edgecnn import scale
    from edgecnn.errors import UsageError

    if target_ms is None and not grid:
        raise UsageError("pass --target-ms T, or --grid to search for coefficients.")
    if grid and coefficients:
        raise UsageError("--grid searches for the coefficients: leave --coefficients out.")
    with ExitStack() as stack:
        sources = _scale_latency.sources(
            stack, tables, device, (runtime, precision, threads), workdir
        )
        network = _base(base, imgsz, output_stride)
        chosen = [scale.Coefficients(*coefficients) if coefficients else scale.EFFICIENTNET]
        document: dict[str, Any] = {"base": base, "target_ms": target_ms}
        if grid:
            found = _scale_grid.searched(network, sources, workdir, **given)
            document |= _scale_grid.document(found)
            if not as_json:
                _scale_grid.print_grids(network, found)
            chosen = [one.best.coefficients for one in found]
        if target_ms is not None:
            chosen = chosen * len(sources) if len(chosen) == 1 else chosen
            fits = [
                _fit(network, target_ms, source, c)
                for source, c in zip(sources, chosen, strict=True)
            ]
            document |= _fitted(fits)
            if not as_json:
                _print_fits(network, target_ms, fits)
    if as_json:
        print_json(document)


def _base(name: str, imgsz: int | None, output_stride: int | None) -> "ModelSpec":
    from edgecnn import families, strides

    found = families.get(name)
    found = found if imgsz is None else found.scaled(resolution=imgsz)
    return found if output_stride is None else strides.with_output_stride(found, output_stride)


def _fit(
    base: "ModelSpec", target_ms: float, source: "Source", coefficients: "Coefficients"
) -> dict[str, Any]:
    """The member for a target, the next larger one, and the family around the base."""
    from edgecnn import scale
    from edgecnn.errors import VerdictError

    try:
        fit = scale.member_for(target_ms, source.known_ms, base, coefficients, kind=source.kind)
    except VerdictError:
        source.refuse_unknown(base)
        raise
    return {
        "table": source.name,
        "coefficients": list(coefficients.values),
        "member": _row(fit.member, fit.latency_ms, source),
        "next": _next(fit, source),
        "family": [] if source.measured else _family(base, coefficients, source),
    }


def _next(fit: "Fit", source: "Source") -> dict[str, Any] | None:
    if fit.next_member is None or fit.next_latency_ms is None:
        return None
    return _row(fit.next_member, fit.next_latency_ms, source)


def _family(base: "ModelSpec", chosen: "Coefficients", source: "Source") -> list[dict[str, Any]]:
    from edgecnn import scale

    published = base.name == "efficientnet_b0" and chosen == scale.EFFICIENTNET
    members = scale.published_family(base) if published else tuple(_members(base, chosen))
    return [_row(member, source.known_ms(member.spec), source) for member in members]


def _members(base: "ModelSpec", chosen: "Coefficients") -> "Iterator[Member]":
    """Those of `PHIS` that are within bounds: there is nothing below a base of 32 pixels."""
    from edgecnn import scale
    from edgecnn.errors import UsageError

    for phi in PHIS:
        with suppress(UsageError):
            yield from scale.family(base, chosen, [phi])


def _row(member: "Member", latency_ms: float, source: "Source") -> dict[str, Any]:
    step = member.scaling
    return {
        "name": member.spec.name,
        "phi": step.phi,
        "width": step.width,
        "depth": step.depth,
        "imgsz": step.resolution,
        "latency_ms": latency_ms if math.isfinite(latency_ms) else None,
        "latency_kind": source.kind,
    }


def _fitted(fits: list[dict[str, Any]]) -> dict[str, Any]:
    """One table's answer stands at the top of the document; all of them in `members`."""
    first = {key: fits[0][key] for key in ("coefficients", "member", "next", "family")}
    return first | {"members": fits}


def _print_fits(base: "ModelSpec", target_ms: float, fits: list[dict[str, Any]]) -> None:
    for fit in fits:
        named = {row["name"]: row for row in fit["family"]}
        named |= {row["name"]: row for row in (fit["member"], fit["next"]) if row is not None}
        rows = sorted(named.values(), key=lambda row: row["phi"])
        chosen = fit["member"]["name"]
        print_table(
            ["", "network", "phi", "width", "depth", "px",
             f"latency (ms), {fit['member']['latency_kind']}", "meets"],
            [[">" if row["name"] == chosen else "", *_cells(row, target_ms)] for row in rows],
            title=f"{base.name} by {fit['table']}: target {target_ms:g} ms, growth of depth, "
            f"width, resolution {', '.join(f'{c:g}' for c in fit['coefficients'])}",
            text=["", "network", "meets"],
        )  # fmt: skip


def _cells(row: dict[str, Any], target_ms: float) -> list[object]:
    latency_ms = row["latency_ms"]
    figures = [f"{row[key]:g}" for key in ("phi", "width", "depth")]
    if latency_ms is None:
        return [row["name"], *figures, row["imgsz"], "outside the table", ""]
    meets = "yes" if latency_ms <= target_ms else "no"
    return [row["name"], *figures, row["imgsz"], f"{latency_ms:.3g}", meets]
