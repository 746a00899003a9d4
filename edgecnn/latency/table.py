"""The latency table of a device: what was measured, the model fitted to it, and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from edgecnn import documents, runtimes
from edgecnn.encoding import Signature
from edgecnn.environment import Environment, package_versions
from edgecnn.fusion import Target
from edgecnn.latency.model import Floats, Model
from edgecnn.latency.sample import Sample

SCHEMA = 1
Source = Literal["measured", "published"]
Kind = Literal["predicted", "fitted to published"]
LEVEL = 0.9
"""Share of networks that intervals are to hold."""


@dataclass(frozen=True)
class Errors:
    """How far predictions were off on networks that took no part in fitting; shares of latency."""

    networks: int
    median: float
    within_5: float
    within_10: float
    bias: float
    quantile: float
    """Of the absolute error, at `LEVEL`."""

    @classmethod
    def of(
        cls, predicted_ms: Sequence[float] | Floats, measured_ms: Sequence[float] | Floats
    ) -> Errors:
        """The errors of pairs; of none, NaN."""
        signed = np.asarray(predicted_ms) / np.asarray(measured_ms) - 1
        if not len(signed):
            return cls(0, *(float("nan"),) * 5)
        size = np.abs(signed)
        return cls(
            networks=len(signed),
            median=float(np.median(size)),
            within_5=float(np.mean(size <= 0.05)),
            within_10=float(np.mean(size <= 0.10)),
            bias=float(np.median(signed)),
            quantile=float(np.quantile(size, LEVEL)),
        )


@dataclass(frozen=True)
class KindErrors:
    """The same by kind of operator: errors of networks, weighted by the share the kind has."""

    kind: str
    share: float
    """Of the time of all networks."""
    error: float


@dataclass(frozen=True)
class Check:
    """A network that was measured and never fitted."""

    name: str
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True)
class HeldOut:
    """How well a table predicts what it was not fitted to.

    `designed` are networks made for calibration, each predicted by a model that did not see it, and
    `kinds` the errors on them by operator; `networks` are the `checks`, which no model saw, None
    where there are none. `spread` is how far the model's members disagree on a designed network, in
    the median, relative to its latency.
    """

    designed: Errors
    networks: Errors | None
    kinds: tuple[KindErrors, ...]
    checks: tuple[Check, ...]
    spread: float

    @property
    def expected(self) -> Errors:
        """The errors to expect of a network like those of the zoo."""
        return self.networks or self.designed

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> HeldOut:
        """Read what `asdict` made of one. Raises ValueError, KeyError or TypeError."""
        networks = data["networks"]
        return cls(
            designed=Errors(**data["designed"]),
            networks=None if networks is None else Errors(**networks),
            kinds=tuple(KindErrors(**one) for one in data["kinds"]),
            checks=tuple(Check(**one) for one in data["checks"]),
            spread=float(data["spread"]),
        )


class Predicts(Protocol):
    """A model of operators: `Model`, or one out of published latencies."""

    @property
    def precision(self) -> str: ...

    @property
    def run_ms(self) -> float: ...

    def knows(self, of: Signature) -> bool: ...

    def outside(self, signatures: Sequence[Signature]) -> NDArray[np.bool_]: ...

    def members_ms(self, signatures: Sequence[Signature]) -> Floats: ...

    def operators_ms(self, signatures: Sequence[Signature]) -> Floats: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Table:
    """A table. `governor` is that of the processor's clocks while it was measured.

    One of published latencies has no environment. Its `errors` are of published networks, left out
    on this board alone in the place of `designed`, and on all boards in that of `networks`.
    """

    source: Source
    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    governor: str | None
    environment: Environment | None
    created: str
    model: Predicts
    errors: HeldOut
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.device} {self.runtime} {self.precision} {threads}"

    @property
    def target(self) -> Target:
        """What the runtime's fusions depend on."""
        here = self.environment
        if here is None:
            return Target(self.precision, "aarch64", frozenset())
        return Target(self.precision, here.machine, frozenset(here.isa))

    @property
    def kind(self) -> Kind:
        """How a latency out of this table is marked."""
        return "predicted" if self.source == "measured" else "fitted to published"

    def differs(self, here: Environment) -> tuple[str, ...]:
        """What makes another machine, or other software, of `here`: predictions are not for it."""
        there = self.environment
        if there is None:
            return (f"published for {self.device}",)
        versions = {name: (there.versions.get(name), here.versions.get(name))
                    for name in package_versions(runtimes.get(self.runtime).requires)}  # fmt: skip
        pairs = {
            "board": (there.model, here.model),
            "processor": (there.cpu_model, here.cpu_model),
            "cores": (there.usable_cores, here.usable_cores),
            "governor": (self.governor, here.governor),
            **versions,
        }
        return tuple(
            f"{name}: {mine} in the table, {its} there"
            for name, (mine, its) in pairs.items()
            if mine != its
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self) | {
            "schema": SCHEMA,
            "environment": None if self.environment is None else asdict(self.environment),
            "model": self.model.to_dict(),
            "samples": [sample.to_dict() for sample in self.samples],
        }

    def save(self, path: Path) -> None:
        """Write the JSON document in one step."""
        documents.save(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing, too large, damaged, of another schema, or no table.
        """
        return documents.load(path, SCHEMA, _from_dict, "Calibrate again.")


def _environment(data: dict[str, Any] | None) -> Environment | None:
    return None if data is None else Environment.from_dict(data)


def _model(data: dict[str, Any]) -> Predicts:
    if "published" in data:
        from edgecnn.latency.published import Fitted
        from edgecnn.latency.published_table import PublishedModel

        return PublishedModel(Fitted.from_dict(data["published"]))
    return Model.from_dict(data)


def _from_dict(data: dict[str, Any]) -> Table:
    if data["source"] not in get_args(Source):
        raise ValueError(f"source {data['source']!r}, not one of {get_args(Source)}")
    found = Table(
        source=data["source"],
        device=str(data["device"]),
        runtime=str(data["runtime"]),
        runtime_version=str(data["runtime_version"]),
        precision=str(data["precision"]),
        threads=int(data["threads"]),
        governor=data["governor"],
        environment=_environment(data["environment"]),
        created=str(data["created"]),
        model=_model(data["model"]),
        errors=HeldOut.from_dict(data["errors"]),
        samples=tuple(Sample.from_dict(one) for one in data["samples"]),
        notes=tuple(map(str, data["notes"])),
    )
    if found.model.precision != found.precision:
        raise ValueError(f"a model of {found.model.precision} in a table of {found.precision}")
    return found
