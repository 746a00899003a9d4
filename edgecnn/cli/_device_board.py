"""``edgecnn device check`` and ``setup``: looking at a device, and installing what it needs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgecnn.cli._output import common_options, console, print_json, print_table, stages

if TYPE_CHECKING:
    from edgecnn.inspection import Inspection


@click.command()
@click.argument("device")
@common_options
def check(device: str, as_json: bool) -> None:
    """Say what DEVICE is, which runtimes it has, and in what state it is.

    DEVICE is a name of yours, or what `--device` takes.
    """
    from edgecnn import devices
    from edgecnn.inspection import inspect

    with stages() as say:
        found = inspect(devices.parse(device), say)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


@click.command()
@click.argument("device")
@click.option(
    "--runtime", "runtimes", multiple=True, metavar="NAME", help="Install this one; repeatable."
)
@click.option(
    "--offline", is_flag=True, help="Send packages from here; the board needs no network."
)
@common_options
def setup(device: str, runtimes: tuple[str, ...], offline: bool, as_json: bool) -> None:
    """Install on DEVICE what edgecnn needs: runtimes, NumPy and OpenCV; no torch, no onnx.

    It all lies in one folder of the user there, and replaces what an earlier setup installed.
    Without --runtime: LiteRT and onnxruntime.
    """
    from edgecnn import devices
    from edgecnn.remote.setup import DEFAULT_RUNTIMES, Request

    place = devices.parse(device)
    request = Request(runtimes or DEFAULT_RUNTIMES, offline)
    with stages() as say:
        site = devices.get(place.kind).setup(place, request, say)
    if as_json:
        print_json({
            "device": str(place), "python": site.python, "machine": site.machine,
            "packages": dict(site.packages), "bytes": site.bytes,
        })  # fmt: skip
        return
    packages = ", ".join(f"{name} {version}" for name, version in site.packages.items())
    click.echo(
        f"{place.label} is set up: {packages} ({site.bytes / 1e6:.0f} MB, Python {site.python} on "
        f"{site.machine})."
    )


def _print(found: "Inspection") -> None:
    out = console()
    out.print(f"[bold]{found.device}[/bold]" + (f", a {found.board}" if found.board else ""))
    for name, text in _facts(found):
        out.print(f"  {name:<12} {text}", highlight=False)
    for remark in found.remarks:
        out.print(f"  [yellow]{'remark':<12}[/yellow] {remark}", highlight=False)
    for quirk in found.quirks:
        out.print(f"  {'known':<12} {quirk}", highlight=False)
    if found.runtimes:
        print_table(
            ["runtime", "state"],
            [[name, "ready" if problem is None else problem]
             for name, problem in found.runtimes.items()],
            text=["runtime", "state"],
        )  # fmt: skip


def _facts(found: "Inspection") -> Iterator[tuple[str, str]]:
    """Yield what the device tells of itself."""
    from edgecnn.machine import throttle

    machine = found.machine
    yield "model", machine.model or "not told"
    yield "system", ", ".join(filter(None, (
        machine.os, f"kernel {machine.kernel}", machine.arch, machine.libc,
        f"Python {machine.python}")))  # fmt: skip
    for cluster in machine.clusters:
        yield "processors", str(cluster)
    yield (
        "features",
        ", ".join(
            f"{feature} {'yes' if present else 'no'}"
            for feature, present in machine.features.items()
        ),
    )
    yield "governor", machine.governor or "not told"
    yield (
        "memory",
        (
            f"{_gigabytes(machine.memory_available_bytes)} of {_gigabytes(machine.memory_bytes)} "
            f"available; {_gigabytes(machine.disk_free_bytes)} free on disk"
        ),
    )
    yield (
        "temperature",
        ("not told" if machine.temperature_c is None else f"{machine.temperature_c:.0f} °C"),
    )
    bits = machine.throttled
    yield (
        "throttling",
        (
            "not told"
            if bits is None
            else f"{throttle.words(throttle.now(bits)) or 'none'} (0x{bits:x})"
        ),
    )
    yield "power meter", ", ".join(machine.meters) or "none that can be read"
    yield "clock", f"{found.clock_ahead_s:+.1f} s against this machine's"


def _gigabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e9:.1f} GB"
