"""How ``edgecnn profile`` shows what came of it: JSON, a report, or a table of several devices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli._output import console, print_table

if TYPE_CHECKING:
    from edgecnn.environment import Environment
    from edgecnn.fleet import Outcome
    from edgecnn.profile import LayerTime, Profile, Sustained
    from edgecnn.rehearsal import Rehearsal


TRACE_ROWS = 10


def document(outcomes: "Sequence[Outcome]") -> dict[str, Any]:
    """Return the JSON document: one device's own, or ``{"devices": [...]}`` of several."""
    if len(outcomes) == 1 and len(outcomes[0].devices) == 1:
        return _of_outcome(outcomes[0])
    return {"devices": [_of_outcome(outcome) for outcome in outcomes]}


def _of_outcome(outcome: "Outcome") -> dict[str, Any]:
    found: list[Profile | Rehearsal] = [*outcome.ranked(), *outcome.rehearsals]
    if not found:
        return {"device": outcome.label, "error": str(outcome.error)}
    return found[0].to_dict() | {
        "ranking": [
            {
                "device": one.device,
                "runtime": one.runtime,
                "threads": one.threads,
                "latency_ms": one.to_dict()["latency_ms"],
            }
            for one in found
        ],
        "unavailable": [
            {"runtime": f.candidate.runtime, "reason": str(f.error)} for f in outcome.failures
        ],
    }


def print_outcomes(outcomes: "Sequence[Outcome]") -> None:
    """Print a table of what several devices did, or all that is known of one."""
    if len(outcomes) > 1 or len(outcomes[0].devices) > 1:
        _print_devices(outcomes)
    else:
        _print_one(outcomes[0])
    for outcome in outcomes:
        for failure in outcome.failures:
            if failure.error is outcome.error:
                # The command ends with it.
                continue
            where = f"{failure.candidate.runtime} on {failure.candidate.device.label}"
            reason = str(failure.error).splitlines()[0]
            click.echo(f"{where}: not measured: {reason}", err=True)


def _print_devices(outcomes: "Sequence[Outcome]") -> None:
    rows = [row for outcome in outcomes for row in _rows(outcome)]
    print_table(
        ["device", "runtime", "p50 (ms)", "p95 (ms)", "golden sample", "verdict"],
        rows,
        title="Measured where it says so; devices of one machine in turns",
        text=["device", "runtime", "golden sample", "verdict"],
    )


def _rows(outcome: "Outcome") -> Iterator[list[str]]:
    labels = {str(device): device.label for device in outcome.devices}
    for profile in outcome.ranked():
        latency = profile.latency
        yield [labels[profile.device], profile.runtime, f"{latency.p50:.2f}", f"{latency.p95:.2f}",
               str(profile.golden or "none"), _verdict(profile)]  # fmt: skip
    for rehearsal in outcome.rehearsals:
        yield [labels[rehearsal.device], rehearsal.runtime, "emulated", "emulated",
               str(rehearsal.golden or "none"), "-"]  # fmt: skip
    if outcome.error is not None:
        reason = str(outcome.error).splitlines()[0]
        yield [outcome.label, "-", "-", "-", "-", f"failed: {reason}"]


def _verdict(profile: "Profile") -> str:
    if profile.void is not None:
        return f"void: {profile.void}"
    if profile.passed is None:
        return "-" if profile.complete else "incomplete"
    return "passed" if profile.passed else "failed"


def _print_one(outcome: "Outcome") -> None:
    ranked = outcome.ranked()
    if len(ranked) > 1:
        _print_ranking(ranked)
    if ranked:
        _print_profile(ranked[0])
    if outcome.rehearsals:
        _print_rehearsals(outcome.rehearsals)


def _print_ranking(ranked: "Sequence[Profile]") -> None:
    from edgecnn.comparison import paired_ratio

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


def _print_rehearsals(rehearsals: "Sequence[Rehearsal]") -> None:
    first = rehearsals[0]
    console().print(
        f"[bold]{Path(first.artifact).name}[/bold] on {first.device}: an emulated processor, so "
        "nothing was timed"
    )
    print_table(
        ["runtime", "version", "golden sample"],
        [
            [one.runtime, _versions(one.environment.versions), str(one.golden or "none")]
            for one in rehearsals
        ],
        text=["runtime", "version", "golden sample"],
    )


def _versions(versions: Any) -> str:
    own = {name: version for name, version in versions.items() if name not in ("edgecnn", "numpy")}
    return ", ".join(f"{name} {version}" for name, version in own.items())


def _print_profile(profile: "Profile") -> None:
    out = console()
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    out.print(
        f"[bold]{Path(profile.artifact).name}[/bold] on {profile.device}, {profile.runtime}, "
        f"{threads}"
    )
    for name, text in _facts(profile):
        out.print(f"  {name:<10} {text}", highlight=name != "CPU")
    if profile.void is not None:
        out.print(f"  [red]void[/red]       {profile.void}")
    for note in profile.notes:
        out.print(f"  [yellow]note[/yellow]       {note}")
    _print_trace(profile.sustained)
    _print_layers(profile.layers)


def _facts(profile: "Profile") -> Iterator[tuple[str, str]]:
    """Yield the lines of a report, those that there is something to say in."""
    environment, latency = profile.environment, profile.latency
    yield "CPU", " ".join(filter(None, (environment.model, environment.cpu_model)))
    yield from _state(environment)
    yield (
        "latency",
        (
            f"p50 {latency.p50:.2f}  p90 {latency.p90:.2f}  p95 {latency.p95:.2f}  "
            f"p99 {latency.p99:.2f}  min {latency.min:.2f}  max {latency.max:.2f} ms  "
            f"({len(profile.samples_ns)} runs, {profile.warmup_runs} to warm up)"
        ),
    )
    if profile.golden is not None:
        yield "golden", f"{profile.golden}: computes what it did where it was exported"
    yield "opening", f"{profile.init_ms:.0f} ms, first run {profile.first_run_ms:.1f} ms"
    if profile.pre_ms is not None and profile.pre_frame is not None:
        height, width = profile.pre_frame
        yield "before", f"{profile.pre_ms:.2f} ms to resize and normalize {width} x {height}"
    if profile.post_ms is not None:
        yield "after", f"{profile.post_ms:.3f} ms for the five best classes"
    yield from _costs(profile)


def _state(environment: "Environment") -> Iterator[tuple[str, str]]:
    """Yield what the machine tells of its clock, heat and limits, before and after."""
    from edgecnn.machine.clusters import spell

    before, after = environment.before, environment.after
    parts = []
    if environment.pinned:
        parts.append(f"processors {spell(environment.pinned)}")
    if environment.governor:
        parts.append(f"governor {environment.governor}")
    if before.clock_mhz is not None and after.clock_mhz is not None:
        parts.append(f"{before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz")
    if before.temperature_c is not None and after.temperature_c is not None:
        parts.append(f"{before.temperature_c:.0f} to {after.temperature_c:.0f} °C")
    if after.throttled is not None:
        parts.append(f"throttle bits 0x{after.throttled:x}")
    if parts:
        yield "state", ", ".join(parts)


def _costs(profile: "Profile") -> Iterator[tuple[str, str]]:
    if profile.transfers is not None:
        parts = profile.transfers
        yield (
            "transfer",
            (
                f"{parts.in_ms:.3f} ms in, {parts.compute_ms:.3f} ms of work, "
                f"{parts.out_ms:.3f} ms out"
            ),
        )
    above = (profile.peak_rss_bytes - profile.baseline_rss_bytes) / 1e6
    yield (
        "memory",
        (
            f"{profile.peak_rss_bytes / 1e6:.0f} MB at most, {above:.0f} MB of it for runtime and "
            "model"
        ),
    )
    energy = profile.energy
    if energy is None:
        yield "energy", "not measured: no power meter can be read"
    else:
        yield (
            "energy",
            (
                f"{1000 * energy.joules_per_run:.1f} mJ a run, {energy.busy_w:.2f} W at work, "
                f"{energy.idle_w:.2f} W at rest ({energy.source})"
            ),
        )
    sustained = profile.sustained
    if sustained is not None:
        yield (
            "sustained",
            (
                f"{sustained.seconds:.0f} s: p50 {sustained.burst_p50_ms:.2f} ms in the first "
                f"{sustained.window_s:.0f} s, {sustained.steady_p50_ms:.2f} ms in the last "
                f"({sustained.slowdown:.2f} times)"
            ),
        )


def _print_trace(sustained: "Sustained | None") -> None:
    """Print about ten points of a sustained run; the JSON document holds all."""
    if sustained is None:
        return
    step = -(-len(sustained.trace) // TRACE_ROWS)
    print_table(
        ["after (s)", "p50 (ms)", "clock (MHz)", "heat (°C)", "throttle bits"],
        [
            [
                f"{point.at_s:.0f}",
                f"{point.p50_ms:.2f}",
                "-" if point.clock_mhz is None else f"{point.clock_mhz:.0f}",
                "-" if point.temperature_c is None else f"{point.temperature_c:.0f}",
                "-" if point.throttled is None else f"0x{point.throttled:x}",
            ]
            for point in sustained.trace[step - 1 :: step]
        ],
    )


def _print_layers(layers: "Sequence[LayerTime]") -> None:
    total = sum(layer.ms for layer in layers)
    if not layers:
        return
    print_table(
        ["node", "op", "ms", "share"],
        [
            [layer.name, layer.op, f"{layer.ms:.3f}", f"{layer.ms / total if total else 0.0:.1%}"]
            for layer in layers
        ],
        text=["node", "op"],
    )
