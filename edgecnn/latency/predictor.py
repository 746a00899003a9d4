"""Predicting with a table: a spec in microseconds, any graph operator by operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.encoding import Encoder, Place, Signature, placed, touched_bytes
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


@dataclass
class _Rows:
    """Milliseconds of rows by their number, and of those of their operators that are outside."""

    ms: dict[int, float] = field(default_factory=dict)
    outside_ms: dict[int, float] = field(default_factory=dict)


class Predictor:
    """A table at work. It remembers each row of a network that it has seen."""

    def __init__(self, table: Table, name: str = "") -> None:
        """Take a table; `name` is how results call it."""
        self.table, self.name = table, name or str(table)
        self._encoder = Encoder(table.runtime, table.target)
        self._run_ms = table.model.run_ms
        self._touched_bytes: list[int] = []
        self._weight_bytes: list[int] = []
        self._rows: dict[Place, _Rows] = defaultdict(_Rows)
        self._operators: dict[Signature, tuple[float, float]] = {}

    def predict(self, spec: ModelSpec) -> float:
        """Milliseconds, without an interval: for looking at very many networks.

        Raises:
            OutsideTableError: it has operators that the table does not know, or too large or small.
            SpecError: a feature map is too small for a row.
        """
        rows = self._encoder.rows(spec)
        place = self._place(rows)
        try:
            return self._sum(spec, rows, place)
        except KeyError:
            self._learn([(place, rows)])
            return self._sum(spec, rows, place)

    def predict_all(self, specs: Sequence[ModelSpec]) -> list[float | EdgecnnError]:
        """The same for many, or why one has no prediction; what is new is learnt in one go."""
        networks: list[tuple[Place, list[int]] | SpecError] = []
        for spec in specs:
            try:
                rows = self._encoder.rows(spec)
                networks.append((self._place(rows), rows))
            except SpecError as error:
                networks.append(error)
        self._learn([one for one in networks if not isinstance(one, SpecError)])
        found: list[float | EdgecnnError] = []
        for spec, network in zip(specs, networks, strict=True):
            if isinstance(network, SpecError):
                found.append(network)
                continue
            try:
                found.append(self._sum(spec, network[1], network[0]))
            except OutsideTableError as error:
                found.append(error)
        return found

    def interval(self, latency_ms: float) -> tuple[float, float]:
        """The interval that holds `LEVEL` of the latencies, by the errors on held-out networks."""
        width = self.table.errors.expected.quantile
        return latency_ms / (1 + width), latency_ms * (1 + width)

    def _place(self, rows: Sequence[int]) -> Place:
        """That of the operators of a network of these rows, see `encoding.placed`."""
        encoder, touched, weights = self._encoder, self._touched_bytes, self._weight_bytes
        for row in encoder.operators[len(touched) :]:
            signatures = [encoder.signatures[number] for number in row]
            of_all, of_weights = touched_bytes(signatures, self.table.precision)
            touched.append(of_all)
            weights.append(of_weights)
        return Place.of(sum([touched[row] for row in rows]), sum([weights[row] for row in rows]))

    def _sum(self, spec: ModelSpec, rows: Sequence[int], place: Place) -> float:
        """Milliseconds of known rows. Raises KeyError where one is not, OutsideTableError."""
        known = self._rows[place]
        ms, outside_ms = known.ms, known.outside_ms
        found = sum([ms[row] for row in rows], self._run_ms)
        if outside_ms:
            outside = sum([outside_ms[row] for row in rows if row in outside_ms])
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
        network = [self._encoder.signatures[number] for number in numbers]
        signatures = placed(network, self.table.precision)
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

    def _learn(self, networks: Iterable[tuple[Place, Sequence[int]]]) -> None:
        """Work out the rows that are new, each at the place of its network."""
        new = {
            (place, row)
            for place, rows in networks
            for row in rows
            if row not in self._rows[place].ms
        }
        of_rows = {key: self._placed(*key) for key in sorted(new)}
        self._learn_operators(
            dict.fromkeys(
                one for row in of_rows.values() for one in row if one not in self._operators
            )
        )
        for (place, row), signatures in of_rows.items():
            pairs = [self._operators[one] for one in signatures]
            self._rows[place].ms[row] = sum(ms for ms, _ in pairs)
            if outside_ms := sum(outside for _, outside in pairs):
                self._rows[place].outside_ms[row] = outside_ms

    def _placed(self, place: Place, row: int) -> list[Signature]:
        numbers = self._encoder.operators[row]
        return [self._encoder.signatures[number]._replace(place=place) for number in numbers]

    def _learn_operators(self, new: Iterable[Signature]) -> None:
        signatures, model = list(new), self.table.model
        if not signatures:
            return
        times, outside = model.operators_ms(signatures), model.outside(signatures)
        for one, ms, is_outside in zip(signatures, times, outside, strict=True):
            # One of an unknown kind has no time: it counts as more than everything.
            weight = float(ms) if model.knows(one) else inf
            self._operators[one] = (float(ms), weight if is_outside else 0.0)

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
