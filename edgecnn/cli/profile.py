"""``edgecnn profile``: the latency of a file, measured here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._options import (
    artifact_argument,
    device_option,
    runtime_option,
    threads_option,
)
from edgecnn.cli._output import common_options, console, print_json, print_table, progress

if TYPE_CHECKING:
    from edgecnn.comparison import Comparison
    from edgecnn.profile import Profile


@click.command(short_help="Latency, measured here.")
@artifact_argument
@device_option
@runtime_option
@threads_option
@click.option("--per-layer", is_flag=True, help="Times of the executed nodes, where known.")
@click.option("--sustained", type=float, metavar="SECONDS", help="Run back to back for so long.")
@click.option("--target-ms", type=float, help="Fail where the 95th percentile is above this.")
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="At least.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="At least.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Save every sample as JSON."
)
@common_options
def command(
    artifact: Path,
    device: str,
    runtime: str,
    threads: int,
    per_layer: bool,
    sustained: float | None,
    target_ms: float | None,
    runs: int,
    seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure the latency of ARTIFACT in a process of its own.

    `--runtime auto` measures every installed runtime that opens the file, in turns, and ranks
    them. Every sample is kept. Nothing here is predicted.
    """
    from edgecnn import measure
    from edgecnn.artifact import Artifact
    from edgecnn.comparison import Plan
    from edgecnn.device import Device
    from edgecnn.profile import Target

    plan = Plan(
        min_runs=runs,
        min_seconds=seconds,
        per_layer=per_layer,
        sustained_s=sustained,
        target=Target(p95_ms=target_ms),
    )
    candidates = measure.candidates(Artifact.load(artifact), runtime, Device.parse(device), threads)
    with progress() as report:
        comparison = measure.interleave(candidates, plan, progress=report).require_any()
    best = comparison.ranked()[0]
    if output is not None:
        best.save(output)
    if as_json:
        print_json(_document(comparison))
    else:
        _print_ranking(comparison)
        _print_profile(best)
    _judge(comparison, best)


def _judge(comparison: "Comparison", best: "Profile") -> None:
    from edgecnn.errors import VerdictError

    if comparison.interrupted:
        raise KeyboardInterrupt
    if best.passed is False:
        raise VerdictError(
            f"p95 is {best.latency.p95:.2f} ms on {best.runtime}; the target is "
            f"{best.target.p95_ms:g} ms."
        )


def _document(comparison: "Comparison") -> dict[str, Any]:
    ranked = comparison.ranked()
    return ranked[0].to_dict() | {
        "ranking": [
            {"runtime": p.runtime, "threads": p.threads, "latency_ms": p.to_dict()["latency_ms"]}
            for p in ranked
        ],
        "unavailable": [
            {"runtime": f.candidate.runtime, "reason": str(f.error)} for f in comparison.failures
        ],
    }


def _print_ranking(comparison: "Comparison") -> None:
    from edgecnn.comparison import paired_ratio

    ranked = comparison.ranked()
    if len(ranked) > 1:
        ratios = [paired_ratio(profile, ranked[0]) for profile in ranked]
        print_table(
            ["runtime", "threads", "p50 (ms)", "p95 (ms)", "times the fastest", "peak RSS (MB)"],
            [
                [
                    p.runtime,
                    p.threads,
                    f"{p.latency.p50:.2f}",
                    f"{p.latency.p95:.2f}",
                    f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})",
                    f"{p.peak_rss_bytes / 1e6:.0f}",
                ]
                for p, ratio in zip(ranked, ratios, strict=True)
            ],
            title="Measured in turns, in one run",
            text=["runtime"],
        )
    for failure in comparison.failures:
        click.echo(f"{failure.candidate.runtime}: not measured: {failure.error}", err=True)


def _print_profile(profile: "Profile") -> None:
    out = console()
    latency = profile.latency
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    out.print(
        f"[bold]{Path(profile.artifact).name}[/bold] on {profile.device}, {profile.runtime}, "
        f"{threads}"
    )
    out.print(f"  CPU        {profile.environment.cpu_model}", highlight=False)
    out.print(
        f"  latency    p50 {latency.p50:.2f}  p90 {latency.p90:.2f}  p95 {latency.p95:.2f}  "
        f"p99 {latency.p99:.2f}  min {latency.min:.2f}  max {latency.max:.2f} ms  "
        f"({len(profile.samples_ns)} runs, {profile.warmup_runs} to warm up)"
    )
    out.print(f"  opening    {profile.init_ms:.0f} ms, first run {profile.first_run_ms:.1f} ms")
    if profile.pre_ms is not None and profile.pre_frame is not None:
        height, width = profile.pre_frame
        out.print(
            f"  before     {profile.pre_ms:.2f} ms to resize and normalize {width} x {height}"
        )
    if profile.post_ms is not None:
        out.print(f"  after      {profile.post_ms:.3f} ms for the five best classes")
    above = (profile.peak_rss_bytes - profile.baseline_rss_bytes) / 1e6
    out.print(
        f"  memory     {profile.peak_rss_bytes / 1e6:.0f} MB at most, {above:.0f} MB of it for "
        "runtime and model"
    )
    _print_sustained(profile)
    for note in profile.notes:
        out.print(f"  [yellow]note[/yellow]       {note}")
    if profile.layers:
        print_table(
            ["node", "op", "ms", "share"],
            [
                [layer.name, layer.op, f"{layer.ms:.3f}", f"{share:.1%}"]
                for layer, share in _shares(profile)
            ],
            text=["node", "op"],
        )


def _shares(profile: "Profile") -> "list[tuple[Any, float]]":
    total = sum(layer.ms for layer in profile.layers)
    return [(layer, layer.ms / total if total else 0.0) for layer in profile.layers]


def _print_sustained(profile: "Profile") -> None:
    sustained = profile.sustained
    if sustained is None:
        return
    console().print(
        f"  sustained  {sustained.seconds:.0f} s: p50 {sustained.burst_p50_ms:.2f} ms in the first "
        f"{sustained.window_s:.0f} s, {sustained.steady_p50_ms:.2f} ms in the last "
        f"({sustained.slowdown:.2f} times)"
    )
