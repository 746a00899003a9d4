"""What tables say of very many candidates in seconds: nothing is exported, nothing measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from edgecnn import families, runtimes
from edgecnn.choice import Choice, Row, Top1Kind, by_promise, choose
from edgecnn.errors import EdgecnnError, SpecError, UsageError
from edgecnn.latency import Predictor, Table
from edgecnn.profile import Target
from edgecnn.spec import ModelSpec

LARGEST = 1 << 20
"""Candidates."""


@dataclass(frozen=True)
class Grid:
    """Networks of the zoo, each in all widths and resolutions; without any, as they are."""

    models: tuple[str, ...]
    widths: tuple[float, ...] = (1.0,)
    resolutions: tuple[int, ...] = ()

    def specs(self) -> tuple[ModelSpec, ...]:
        """The networks, each once. One that is scaled already keeps its width.

        Raises:
            SpecError: a model is not of the zoo, or cannot be scaled so far.
            UsageError: there are more than a million.
        """
        found: dict[str, ModelSpec] = {}
        for name, width, resolution in product(
            self.models, self.widths, self.resolutions or (None,)
        ):
            spec = families.get(name)
            try:
                scaled = spec.scaled(width, 1.0, resolution)
            except SpecError:
                if width == 1:
                    raise
                continue
            found[scaled.name] = scaled
            if len(found) > LARGEST:
                raise UsageError(f"more than {LARGEST} networks; take fewer widths or resolutions.")
        return tuple(found.values())


@dataclass(frozen=True)
class Shortlist:
    """All candidates with predicted latencies, the choice among them, and those worth measuring."""

    choice: Choice
    finalists: tuple[Row, ...]
    tables: tuple[Table, ...]


def shortlist(
    grid: Grid, predictors: Sequence[Predictor], target: Target, finalists: int
) -> Shortlist:
    """Predict every network with every table, and choose.

    Finalists are the most accurate candidates whose interval reaches below the target.

    Raises:
        UsageError: no table is given.
        SpecError: see `Grid.specs`.
    """
    if not predictors:
        raise UsageError("no tables to predict with; pass --table.")
    specs = grid.specs()
    rows = [row for predictor in predictors for row in _rows(specs, predictor)]
    choice = choose(rows, target)
    best = by_promise(choice.candidates, target)[:finalists]
    return Shortlist(choice, best, tuple(predictor.table for predictor in predictors))


def _rows(specs: Sequence[ModelSpec], predictor: Predictor) -> Iterator[Row]:
    table = predictor.table
    format_name = runtimes.get(table.runtime).formats[0]
    for spec, found in zip(specs, predictor.predict_all(specs), strict=True):
        row = _published(
            Row(spec.name, format_name, table.precision, table.runtime, table.threads), spec
        )
        if isinstance(found, EdgecnnError):
            yield replace(row, problem=str(found))
            continue
        yield replace(
            row,
            latency_ms=found,
            latency_kind=table.kind,
            p50_ms=found,
            interval_ms=predictor.interval(found),
            latency_source=str(table),
        )


def _published(row: Row, spec: ModelSpec) -> Row:
    if spec.accuracy is None:
        return row
    top1, source = spec.accuracy
    kind: Top1Kind = "published" if row.precision == "fp32" else "published fp32"
    return replace(row, top1=top1, top1_kind=kind, top1_source=source)
