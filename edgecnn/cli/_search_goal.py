"""From the options of ``edgecnn search`` to what is searched for, and how latency is known."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgecnn.cli import _measuring, _proxy

if TYPE_CHECKING:
    from edgecnn.device import Device
    from edgecnn.host import Host
    from edgecnn.latency import Predictor
    from edgecnn.search import Accuracy, Goal
    from edgecnn.search.goal import Latency
    from edgecnn.search.latency import Running
    from edgecnn.space import Space

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_RUNTIME, _PRECISION, _THREADS = "ort", "w8a8", 1


def latency_options(function: F) -> F:
    """Add the options that say how latency is known."""
    for option in (
        click.option("--table", type=_FILE, help="What predicts; from `edgecnn calibrate`."),
        click.option(
            "--device",
            help="Without --table: measure each network there. With it: measure the best there in "
            "the end.  [default: the table's, where it is this machine]",
        ),
        click.option("--runtime", help=f"Without --table.  [default: {_RUNTIME}]"),
        click.option("--precision", help=f"Without --table.  [default: {_PRECISION}]"),
        click.option(
            "--num-threads",
            "threads",
            type=click.IntRange(1),
            help="Without --table.  [default: 1]",
        ),
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class Setting:
    """A goal, what its latencies are of, and where the end is measured."""

    goal: "Goal"
    running: "Running"
    told: str
    stock_ms: "Latency"
    device: "Device | None" = None
    host: "Host | None" = None

    def measuring(self, stack: ExitStack) -> "tuple[Device | None, Host | None]":
        """The device to measure on in the end, connected; None where there is none, which is said.

        Raises UnavailableError where it cannot be reached.
        """
        from edgecnn import devices

        if self.device is None:
            click.echo(
                f"not measured: the table is of {self.running.device}, not of this machine; pass "
                "--device to measure there. Latencies below are predicted.",
                err=True,
            )
            return None, None
        return self.device, self.host or stack.enter_context(devices.connect(self.device, "search"))


def setting(
    stack: ExitStack,
    target_ms: float,
    workdir: Path,
    *,
    space: str,
    imgsz: int | None,
    output_stride: int | None,
    table: Path | None,
    device: str | None,
    runtime: str | None,
    precision: str | None,
    threads: int | None,
    data: Path | None,
    aim: Any,
    **recipe: Any,
) -> Setting:
    """Read all of it; a device without a table is connected until the stack ends.

    Raises UsageError where options contradict each other, and as the parts do.
    """
    searched, told = _space(space, imgsz, output_stride)
    accuracy = _proxy.accuracy(data, workdir, **recipe)
    if table is not None:
        _refuse_beside_table(runtime=runtime, precision=precision, num_threads=threads)
        return _by_table(searched, told, target_ms, accuracy, aim, table, device)
    given = (runtime or _RUNTIME, precision or _PRECISION, threads or _THREADS)
    return _by_device(stack, searched, told, target_ms, accuracy, aim, device, given, workdir)


def _refuse_beside_table(**given: Any) -> None:
    from edgecnn.errors import UsageError

    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} is the table's own; leave it out.")


def _space(name: str, imgsz: int | None, wanted: int | None) -> "tuple[Space, str]":
    from edgecnn import strides
    from edgecnn.space import Space

    found = Space.load(name)
    found = found if imgsz is None else found.with_resolution(imgsz)
    own = strides.output_stride(found.first)
    wanted = found.suited_stride if wanted is None else wanted
    pixels = min(found.resolution.variants.values())
    told = f"space {found.name}: {found.size():.3g} networks at {pixels} px, output stride {wanted}"
    if wanted != own:
        told += f" (its own, {own}, would leave a map of {max(1, pixels // own)} px)"
    return found.with_output_stride(wanted), told


def _by_table(
    space: "Space",
    told: str,
    target_ms: float,
    accuracy: "Accuracy",
    aim: Any,
    table: Path,
    device: str | None,
) -> Setting:
    from edgecnn import devices, latency
    from edgecnn.search import Goal
    from edgecnn.search import latency as latencies

    found = latency.load(table)
    predict = latencies.predicted(found)
    digest = hashlib.sha256(table.read_bytes()).hexdigest()[:12]
    goal = Goal(space, target_ms, accuracy, predict, f"{table.name} {digest}", aim,
                found.table.kind)  # fmt: skip
    running = latencies.of_table(found)
    there = devices.parse(device) if device is not None else _this_machine(found)
    return Setting(goal, running, f"{told}; latency {found.table.kind} for {running}", predict,
                   there)  # fmt: skip


def _this_machine(found: "Predictor") -> "Device | None":
    """This machine, where the table was measured on it."""
    from edgecnn.device import LOCAL
    from edgecnn.environment import Environment

    table, here = found.table, Environment.now(())
    there = table.environment
    if there is None or table.device != str(LOCAL):
        return None
    same = (there.cpu_model, there.usable_cores) == (here.cpu_model, here.usable_cores)
    return LOCAL if same else None


def _by_device(
    stack: ExitStack,
    space: "Space",
    told: str,
    target_ms: float,
    accuracy: "Accuracy",
    aim: Any,
    device: str | None,
    given: tuple[str, str, int],
    workdir: Path,
) -> Setting:
    from edgecnn import devices
    from edgecnn.errors import UsageError
    from edgecnn.search import Goal
    from edgecnn.search import latency as latencies
    from edgecnn.search.goal import MEASURED

    if device is None:
        raise UsageError(
            "how fast is a network? Pass --table TABLE (from `edgecnn calibrate`), or --device D "
            "to measure each one there."
        )
    there = devices.parse(device)
    running = latencies.Running(str(there), *given)
    measured, host = _measuring.on(stack, there, running, "search", workdir)
    goal = Goal(space, target_ms, accuracy, measured, measured.identity, aim, MEASURED)
    return Setting(goal, running, f"{told}; latency measured for {running}", measured, there, host)
