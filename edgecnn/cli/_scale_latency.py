"""Where ``edgecnn scale`` has latencies from: tables, or a device."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.cli import _measuring

if TYPE_CHECKING:
    from edgecnn.spec import ModelSpec


@dataclass(frozen=True)
class Source:
    """Latencies in ms of one table or device, and how they are marked."""

    name: str
    kind: str
    latency_ms: "Callable[[ModelSpec], float]"
    measured: bool = False

    def known_ms(self, spec: "ModelSpec") -> float:
        """The latency; infinite where the network is beyond what the source knows."""
        from edgecnn.search import CandidateError

        try:
            return self.latency_ms(spec)
        except CandidateError:
            return math.inf

    def refuse_unknown(self, spec: "ModelSpec") -> None:
        """Raise CandidateError with the reason where the network is beyond what is known."""
        self.latency_ms(spec)


def sources(
    stack: ExitStack,
    tables: tuple[Path, ...],
    device: str | None,
    running: tuple[str, str, int],
    workdir: Path,
) -> list[Source]:
    """The tables' predictions, or measurements on the device until the stack ends.

    Raises UsageError where both or none is given, DataError, UnavailableError.
    """
    from edgecnn import devices, latency
    from edgecnn.errors import UsageError
    from edgecnn.search import latency as latencies

    if bool(tables) == (device is not None):
        raise UsageError(
            "how fast is a network? Pass --table TABLE (from `edgecnn calibrate`), or --device D "
            "to measure there; one of them."
        )
    if device is None:
        loaded = [latency.load(path) for path in tables]
        return [
            Source(
                f"{one.name} ({latencies.of_table(one)})", one.table.kind, latencies.predicted(one)
            )
            for one in loaded
        ]
    there = devices.parse(device)
    ran = latencies.Running(str(there), *running)
    measured, _ = _measuring.on(stack, there, ran, "scale", workdir)
    return [Source(str(ran), "measured", measured, measured=True)]
