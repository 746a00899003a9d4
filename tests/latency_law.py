"""A device that exists on paper: networks take the time that a law says."""

from pathlib import Path
from random import Random

from edgecnn.encoding import Encoder, Signature, features
from edgecnn.environment import Environment
from edgecnn.fusion import Target
from edgecnn.latency.calibrate import Request, calibrate_with
from edgecnn.latency.sample import NodeTime, Sample
from edgecnn.latency.table import Table
from edgecnn.spec import ModelSpec

RUN_MS, REFERENCE_MS = 0.05, 3.0


def operator_ms(of: Signature) -> float:
    """Throughput grows with the channels up to a limit, which no linear sum does."""
    f = features(of, "fp32")
    rate = min(1.0, 0.3 + f.channels_out / 128)
    return 0.002 + f.macs / 20e6 / rate + (f.input_bytes + f.output_bytes) / 12e6


class Paper:
    """In the place of a `Sampler`; `stop_after` so many measurements it is interrupted."""

    def __init__(self, runtime: str = "litert", stop_after: int | None = None) -> None:
        self.encoder = Encoder(runtime, Target("fp32"))
        self.measured: list[str] = []
        self.times: dict[str, int] = {}
        self.stop_after = stop_after
        self.random = Random(1)
        self.nodes: tuple[NodeTime, ...] = ()

    def environment(self) -> Environment:
        return Environment.now()

    def latency_ms(self, spec: ModelSpec) -> float:
        encoder = self.encoder
        numbers = [one for row in encoder.rows(spec) for one in encoder.operators[row]]
        return RUN_MS + sum(operator_ms(encoder.signatures[one]) for one in numbers)

    def measure(self, spec: ModelSpec, times: int = 1) -> Sample:
        if len(self.measured) == self.stop_after:
            raise KeyboardInterrupt
        self.measured.append(spec.name)
        self.times[spec.name] = times
        noise = self.random.uniform(0.99, 1.01)
        paces = (REFERENCE_MS * self.random.uniform(1, 1.02), REFERENCE_MS)
        return Sample.taken(spec, self.latency_ms(spec) * noise, paces, 20, self.nodes)


def table(
    folder: Path,
    sampler: Paper | None = None,
    minutes: float = 60,
    target_error: float = 0.5,
    check_rounds: int = 0,
) -> Table:
    """A table of the device on paper; by default of as many networks as the first fit takes."""
    request = Request(
        "litert", minutes=minutes, target_error=target_error, check_rounds=check_rounds
    )
    return calibrate_with(request, sampler or Paper(), folder / "samples")
