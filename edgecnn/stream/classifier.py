"""An opened artifact that says what a picture shows."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn import preprocess, runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import InputContract
from edgecnn.device import LOCAL
from edgecnn.errors import UsageError
from edgecnn.preprocess import Image
from edgecnn.runtimes import Session
from edgecnn.stream.frame import NS_PER_MS

WARM_UP_RUNS, COST_RUNS = 3, 7
WORTH = 0.9
"""A network that takes over costs at most this share of the one before it."""
USUAL_SIZE = (480, 640)
"""Height and width of the picture that costs are measured with before there is any."""


@dataclass(frozen=True)
class Classifier:
    """One artifact on one runtime.

    ``cost_ms`` is the median latency of preparing and running it when it was opened.
    """

    name: str
    runtime: str
    labels: tuple[str, ...]
    classes: int
    contract: InputContract
    session: Session
    cost_ms: float

    @classmethod
    def open(cls, artifact: Artifact, runtime: str | None, threads: int) -> "Classifier":
        """Open an artifact here, by default on the runtime made for its format, and warm it up.

        Raises:
            ArtifactError: it carries no contract, has no single input, or cannot be read.
            UnavailableError, UsageError: the runtime is absent, or does not read the format.
        """
        contract = artifact.required_contract()
        artifact.single_input()
        used = runtimes.get(runtime) if runtime else runtimes.made_for(artifact, LOCAL)
        session = runtimes.open_session(used, artifact, LOCAL, threads)
        picture = np.zeros((*USUAL_SIZE, 3), np.uint8)
        spec = session.inputs[0]

        def run_ms() -> float:
            start = perf_counter_ns()
            session.run(preprocess.prepare(picture, contract.input, spec))
            return (perf_counter_ns() - start) / NS_PER_MS

        for _ in range(WARM_UP_RUNS):
            run_ms()
        cost_ms = statistics.median(run_ms() for _ in range(COST_RUNS))
        return cls(artifact.path.stem, used.name, contract.output.labels, contract.output.classes,
                   contract.input, session, cost_ms)  # fmt: skip

    @property
    def needed(self) -> int:
        """The shorter side of the picture that it uses, in pixels."""
        return int(self.contract.imgsz / self.contract.crop_pct)

    def prepare(self, image: Image) -> NDArray[Any]:
        """Make its input from a picture of any size."""
        return preprocess.prepare(image, self.contract, self.session.inputs[0])

    def run(self, prepared: NDArray[Any]) -> NDArray[Any]:
        """Run it; return what it gives."""
        return self.session.run(prepared)

    def scores(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Return one softmax score per class of what it gave."""
        logits = preprocess.dequantize(output, self.session.outputs[0])
        return preprocess.softmax(logits.reshape(-1))

    def close(self) -> None:
        """Free what the runtime holds."""
        self.session.close()


def open_all(
    artifacts: Sequence[Artifact], runtime: str | None, threads: int
) -> tuple[Classifier, ...]:
    """Open artifacts that can stand in for each other, the largest first.

    Raises:
        UsageError: they have other classes, or one that is to take over costs more.
    """
    found: list[Classifier] = []
    with ExitStack() as opened:
        for artifact in artifacts:
            found.append(Classifier.open(artifact, runtime, threads))
            opened.callback(found[-1].close)
            _refuse_unlike(found)
        opened.pop_all()
    return tuple(found)


def _refuse_unlike(found: Sequence[Classifier]) -> None:
    first, last = found[0], found[-1]
    if (first.classes, first.labels) != (last.classes, last.labels):
        raise UsageError(
            f"{last.name} cannot stand in for {first.name}: it has other classes ("
            f"{last.classes} and {first.classes})."
        )
    if len(found) > 1 and last.cost_ms > WORTH * found[-2].cost_ms:
        raise UsageError(
            f"{last.name} takes {last.cost_ms:.1f} ms here and {found[-2].name} "
            f"{found[-2].cost_ms:.1f} ms; a --fallback takes at most {WORTH:.0%} of that. Give "
            "them from large to small."
        )
