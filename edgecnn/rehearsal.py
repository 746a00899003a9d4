"""What can be known of a board without timing it: does a file open, and compute the same?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from edgecnn.comparison import Candidate, Failure
from edgecnn.environment import Environment
from edgecnn.errors import EdgecnnError
from edgecnn.host import Host
from edgecnn.hosted import Hosted
from edgecnn.profile import SCHEMA, GoldenCheck

ENVIRONMENT_TIMEOUT_S = 120.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rehearsal:
    """A file that was opened and checked on an emulated board. It holds no latency.

    ``golden`` is None where the file has no golden sample to check against.
    """

    artifact: str
    sha256: str
    name: str
    format: str
    precision: str | None
    device: str
    runtime: str
    threads: int
    golden: GoldenCheck | None
    environment: Environment
    checked_at: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document: a profile's keys, with no latency."""
        return asdict(self) | {"schema": SCHEMA, "timing": "emulated", "latency_ms": None}


def rehearse(
    candidates: Sequence[Candidate], host: Host, progress: Progress
) -> tuple[tuple[Rehearsal, ...], tuple[Failure, ...]]:
    """Open each candidate and run its golden sample; failures do not stop the others."""
    done: list[Rehearsal] = []
    failures: list[Failure] = []
    for index, candidate in enumerate(candidates):
        progress(f"checking on {candidate.runtime}", index, len(candidates))
        try:
            done.append(_rehearse(candidate, host))
        except EdgecnnError as error:
            failures.append(Failure(candidate, error))
    return tuple(done), tuple(failures)


def _rehearse(candidate: Candidate, host: Host) -> Rehearsal:
    process = Hosted(
        host, candidate.artifact, candidate.runtime, candidate.device, candidate.threads,
        verify=True,
    )  # fmt: skip
    with process:
        process.open()
        environment = Environment.from_dict(process.ask("environment", ENVIRONMENT_TIMEOUT_S))
    return Rehearsal(
        **candidate.identity,
        golden=process.golden,
        environment=environment,
        checked_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
