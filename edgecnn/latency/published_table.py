"""Tables of boards that are not at hand: fitted to latencies that others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Signature
from edgecnn.latency.published import Fitted, fit
from edgecnn.latency.table import Check, Errors, HeldOut, Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PublishedModel:
    """A model out of published latencies, in the place of one that was measured."""

    fitted: Fitted

    @property
    def precision(self) -> str:
        """Of the published latencies."""
        return self.fitted.precision

    @property
    def run_ms(self) -> float:
        """The part of a run that belongs to no operator."""
        return self.fitted.run_ms

    def knows(self, of: Signature) -> bool:
        """Whether a published network has operators of this kind."""
        return self.fitted.knows(of)

    def outside(self, signatures: Sequence[Signature]) -> NDArray[np.bool_]:
        """Which operators are of a kind that no published network has, shape (n,)."""
        return np.array([not self.knows(one) for one in signatures], bool)

    def members_ms(self, signatures: Sequence[Signature]) -> Floats:
        """Milliseconds of each operator, shape (1, n); 0 where the kind is unknown."""
        return self.operators_ms(signatures)[None, :]

    def operators_ms(self, signatures: Sequence[Signature]) -> Floats:
        """Milliseconds of each operator, shape (n,); 0 where the kind is unknown."""
        fitted = self.fitted
        return np.array(
            [fitted.row_ms(one, fitted.precision) if fitted.knows(one) else 0.0
             for one in signatures]
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"published": self.fitted.to_dict()}


def published_table(name: str, threads: int = 1, precision: str | None = None) -> Table:
    """Fit the table of a board.

    Raises:
        UsageError: there is nothing published for this name, number of threads or precision.
    """
    fitted = fit(name, threads, precision)
    checks = tuple(
        Check(one.network, one.published_ms * (1 + one.unseen), one.published_ms)
        for one in fitted.errors
    )
    predicted, published = [c.predicted_ms for c in checks], [c.measured_ms for c in checks]
    here = [one.published_ms * (1 + one.here) for one in fitted.errors]
    return Table(
        source="published",
        device=fitted.device,
        runtime=fitted.runtime,
        runtime_version=fitted.runtime_version,
        precision=fitted.precision,
        threads=fitted.threads,
        governor=None,
        environment=None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=PublishedModel(fitted),
        errors=HeldOut(
            designed=Errors.of(here, published),
            networks=Errors.of(predicted, published),
            kinds=(),
            checks=checks,
            spread=0.0,
        ),
        samples=(),
        notes=(
            "fitted to what others published, of their boards, cooling and version of ncnn",
            *sorted({row.source.partition(" L")[0] for row in fitted.rows}),
        ),
    )
