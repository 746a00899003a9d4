"""Predicting with a table: a spec in microseconds, any graph operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.encoding import Encoder
from edgecnn.errors import DataError, EdgecnnError, SpecError
from edgecnn.fusion import fused
from edgecnn.latency.table import LEVEL, Table
from edgecnn.spec import ModelSpec
from edgecnn.workload import Workload, from_spec

OUTSIDE_SHARE = 0.1
"""Of the predicted time: so much may be of operators beyond what the table has seen."""
_NAMED = 5
_SHIPPED = Path(__file__).parents[1] / "tables"


class OutsideTableError(EdgecnnError):
    """A network is outside what a table knows."""


@dataclass(frozen=True)
class LayerEstimate:
    """The predicted time of an operator; `outside` where it is beyond what was measured."""

    name: str
    op: str
    ms: float
    outside: bool = False


@dataclass(frozen=True)
class Estimate:
    """A predicted latency. `interval_ms` is to hold the measured median in `level` of the cases.

    `unknown_ops` are operators that the table has no figures for; the estimate lacks their time,
    and `unknown_share` is their part of all results computed. `outside_share` is the part of the
    predicted time that belongs to operators beyond the sizes that were measured.
    """

    model: str
    table: str
    device: str
    runtime: str
    precision: str
    threads: int
    latency_kind: str
    latency_ms: float
    interval_ms: tuple[float, float]
    level: float
    layers: tuple[LayerEstimate, ...]
    unknown_ops: tuple[str, ...]
    unknown_share: float
    outside_share: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return asdict(self)


class Predictor:
    """A table at work. It remembers each row of a network that it has seen."""

    def __init__(self, table: Table, name: str = "") -> None:
        """Take a table; `name` is how results call it."""
        self.table, self.name = table, name or str(table)
        self._encoder = Encoder(table.runtime, table.target)
        self._row_ms: list[float] = []
        self._row_outside_ms: list[float] = []
        self._operator_ms = np.empty(0)
        self._outside_ms = np.empty(0)

    def predict(self, spec: ModelSpec) -> float:
        """Milliseconds, without an interval: for looking at very many networks.

        Raises:
            OutsideTableError: it has operators that the table does not know, or too large or small.
            SpecError: a feature map is too small for a row.
        """
        rows = self._encoder.rows(spec)
        self._learn()
        return self._sum(spec, rows)

    def predict_all(self, specs: Sequence[ModelSpec]) -> list[float | EdgecnnError]:
        """The same for many, or why one has no prediction; what is new is learnt in one go."""
        rows: list[list[int] | SpecError] = []
        for spec in specs:
            try:
                rows.append(self._encoder.rows(spec))
            except SpecError as error:
                rows.append(error)
        self._learn()
        found: list[float | EdgecnnError] = []
        for spec, of_spec in zip(specs, rows, strict=True):
            try:
                found.append(
                    of_spec if isinstance(of_spec, SpecError) else self._sum(spec, of_spec)
                )
            except OutsideTableError as error:
                found.append(error)
        return found

    def interval(self, latency_ms: float) -> tuple[float, float]:
        """The interval that holds `LEVEL` of the latencies, by the errors on held-out networks."""
        width = self.table.errors.expected.quantile
        return latency_ms / (1 + width), latency_ms * (1 + width)

    def _sum(self, spec: ModelSpec, rows: Sequence[int]) -> float:
        found = sum([self._row_ms[row] for row in rows], self.table.model.run_ms)
        outside = sum([self._row_outside_ms[row] for row in rows])
        if outside > OUTSIDE_SHARE * found:
            self._refuse(self.estimate(spec, force=True))
        return found

    def estimate(self, model: ModelSpec | Workload, *, force: bool = False) -> Estimate:
        """Predict with an interval and operator by operator.

        Raises:
            OutsideTableError: see `predict`; not where `force` is set.
            UsageError: nothing is known of what the runtime fuses in this precision.
        """
        of = from_spec(model) if isinstance(model, ModelSpec) else model
        executed = fused(of, self.table.runtime, self.table.target)
        numbers = self._encoder.workload(of)
        signatures = [self._encoder.signatures[number] for number in numbers]
        known = np.array([self.table.model.knows(one) for one in signatures], bool)
        outside = self.table.model.outside(signatures) if signatures else known
        members = self.table.model.members_ms(signatures)
        times = members.mean(axis=0)
        total = float(times.sum()) + self.table.model.run_ms
        written = np.array([max(1, int(np.prod(one.out_shape))) for one in signatures], float)
        layers = tuple(
            LayerEstimate(one.name, one.node or one.op, float(ms), bool(out))
            for one, ms, out in zip(executed.operators, times, outside, strict=True)
        )
        estimate = Estimate(
            model=of.name,
            table=self.name,
            device=self.table.device,
            runtime=self.table.runtime,
            precision=self.table.precision,
            threads=self.table.threads,
            latency_kind=self.table.kind,
            latency_ms=total,
            interval_ms=self._interval(total, members.sum(axis=1)),
            level=LEVEL,
            layers=layers,
            unknown_ops=_unique(
                one.op for one, is_known in zip(executed.operators, known, strict=True)
                if not is_known
            ),
            unknown_share=float(written[~known].sum() / written.sum()) if len(written) else 0.0,
            outside_share=float(times[outside].sum()) / total if total else 0.0,
        )  # fmt: skip
        if not force and (estimate.unknown_ops or estimate.outside_share > OUTSIDE_SHARE):
            self._refuse(estimate)
        return estimate

    def _interval(self, total_ms: float, members_ms: Sequence[float]) -> tuple[float, float]:
        """Wider than the errors seen where the members disagree more than they did there."""
        width = self.table.errors.expected.quantile
        usual = self.table.errors.spread
        if usual > 0:
            width *= max(1.0, relative_spread(members_ms) / usual)
        return total_ms / (1 + width), total_ms * (1 + width)

    def _learn(self) -> None:
        """Work out the rows that the encoder has numbered since."""
        if len(self._encoder.operators) == len(self._row_ms):
            return
        known = len(self._operator_ms)
        new = self._encoder.signatures[known:]
        if new:
            model = self.table.model
            self._operator_ms = np.append(self._operator_ms, model.operators_ms(new))
            beyond = model.outside(new)
            # One of an unknown kind has no time: it counts as more than everything.
            unknown = np.array([not model.knows(one) for one in new])
            weight = np.where(unknown, np.inf, self._operator_ms[known:])
            self._outside_ms = np.append(self._outside_ms, np.where(beyond, weight, 0.0))
        for operators in self._encoder.operators[len(self._row_ms) :]:
            numbers = list(operators)
            self._row_ms.append(float(self._operator_ms[numbers].sum()))
            self._row_outside_ms.append(float(self._outside_ms[numbers].sum()))

    def _refuse(self, estimate: Estimate) -> None:
        if estimate.unknown_ops:
            why = f"the table knows no {', '.join(estimate.unknown_ops)}"
        else:
            largest = sorted((o for o in estimate.layers if o.outside), key=lambda o: -o.ms)
            named = ", ".join(f"{one.name} ({one.op})" for one in largest[:_NAMED])
            why = (
                f"{estimate.outside_share:.0%} of its time is in operators beyond the sizes that "
                f"were measured: {named}"
            )
        raise OutsideTableError(
            f"{estimate.model} is outside what {estimate.table} knows: {why}. Measure it instead, "
            "calibrate with what it needs, or force the prediction."
        )


def relative_spread(members_ms: Sequence[float]) -> float:
    """How far the members of a model disagree on a network: deviation over mean."""
    values = np.asarray(members_ms)
    return float(values.std() / values.mean()) if values.mean() > 0 else 0.0


def load(path: Path) -> Predictor:
    """Open a table: a file, or by its name one of those that come with edgecnn (`shipped`).

    Raises:
        DataError: it cannot be read, or is none.
    """
    if not path.exists() and str(path) in shipped():
        return Predictor(Table.load(_SHIPPED / f"{path}.json"), str(path))
    if not path.exists():
        raise DataError(
            f"{path}: there is no such table. Make one with `edgecnn calibrate`, or take one of "
            f"those fitted to published latencies: {', '.join(shipped())}."
        )
    return Predictor(Table.load(path), path.name)


def shipped() -> tuple[str, ...]:
    """The names of the tables that come with edgecnn; they are fitted to published latencies."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.json")))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
