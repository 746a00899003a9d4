"""The fitted model of a device: milliseconds for an operator, and how sure that is.

A network takes the time of its operators, one after another, and a constant for the run. An
operator takes a sum that is linear in its arithmetic and its bytes, with coefficients of its kind,
times a correction by regression trees, which learn what the sum does not know: cache sizes, widths
of vectors, the kernels that a runtime chooses. Several such models, each fitted without a part of
the networks, are averaged; where they disagree, the table is unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Signature
from edgecnn.latency import figures
from edgecnn.latency.forest import Forest

Floats = NDArray[np.float64]
TERMS = (*figures.LINEAR, "prior")
"""What the linear part is a sum of: figures, and the milliseconds by an earlier model."""
SPAN_SLACK = 1.25
"""An operator is outside where a figure is beyond the seen range by more than this factor."""


@dataclass(frozen=True)
class Member:
    """One model: coefficients, shape (kinds, 16), milliseconds of a run, and corrections."""

    coefficients: Floats
    run_ms: float
    corrections: Forest

    def linear_ms(self, terms: Floats, kinds: NDArray[np.intp]) -> Floats:
        """The linear part for operators of these kinds, shape (n,)."""
        found: Floats = (terms * self.coefficients[kinds]).sum(axis=1)
        return found


@dataclass(frozen=True)
class Model:
    """What a table predicts with. `spans` are the smallest and largest figures seen, by kind.

    `prior` is the model that it starts from, where there is one: of the same runtime and precision,
    with other threads or on another device.
    """

    precision: str
    kinds: tuple[str, ...]
    activations: tuple[str, ...]
    spans: Floats
    members: tuple[Member, ...]
    prior: Model | None = None

    @cached_property
    def run_ms(self) -> float:
        """The part of a run that belongs to no operator."""
        return float(np.mean([member.run_ms for member in self.members]))

    @cached_property
    def _kind_at(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.kinds)}

    def knows(self, of: Signature) -> bool:
        """Whether operators of this kind were seen."""
        return figures.kind(of) in self._kind_at

    def outside(self, signatures: Sequence[Signature]) -> NDArray[np.bool_]:
        """Which operators are beyond what was seen, or of an unknown kind; shape (n,)."""
        known = np.array([self.knows(one) for one in signatures], bool)
        values = figures.spanned(signatures, self.precision)
        low, high = self.spans[self._kinds(signatures)].transpose(1, 0, 2)
        beyond = (values < low / SPAN_SLACK) | (values > high * SPAN_SLACK)
        found: NDArray[np.bool_] = ~known | beyond.any(axis=1)
        return found

    def members_ms(self, signatures: Sequence[Signature]) -> Floats:
        """Milliseconds of each operator by each member, shape (members, n).

        Operators of a kind that was not seen are given the coefficients of no kind: 0.
        """
        known = np.array([self.knows(one) for one in signatures], bool)
        linear = terms(signatures, self.precision, self.prior)
        rows = figures.trees(signatures, self.precision, self.kinds, self.activations)
        kinds = self._kinds(signatures)
        times = [
            one.linear_ms(linear, kinds) * np.exp(one.corrections.predict(rows))
            for one in self.members
        ]
        found: Floats = np.array(times).reshape(len(self.members), len(signatures)) * known
        return found

    def operators_ms(self, signatures: Sequence[Signature]) -> Floats:
        """Milliseconds of each operator, the mean over the members, shape (n,)."""
        mean: Floats = self.members_ms(signatures).mean(axis=0)
        return mean

    def _kinds(self, signatures: Sequence[Signature]) -> NDArray[np.intp]:
        return np.array([self._kind_at.get(figures.kind(one), 0) for one in signatures], np.intp)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "precision": self.precision,
            "kinds": list(self.kinds),
            "activations": list(self.activations),
            "linear": list(TERMS),
            "trees": list(figures.TREES),
            "spanned": list(figures.SPANNED),
            "spans": self.spans.tolist(),
            "members": [
                {
                    "coefficients": one.coefficients.tolist(),
                    "run_ms": one.run_ms,
                    "corrections": one.corrections.to_dict(),
                }
                for one in self.members
            ],
            "prior": None if self.prior is None else self.prior.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Model:
        """Read what `to_dict` wrote. Raises ValueError, KeyError or TypeError."""
        known = {"linear": TERMS, "trees": figures.TREES, "spanned": figures.SPANNED}
        for name, expected in known.items():
            if tuple(data[name]) != expected:
                raise ValueError(f"the table looks at other figures ({name}) than this edgecnn")
        kinds, activations = map(str, data["kinds"]), map(str, data["activations"])
        found = cls(
            str(data["precision"]),
            tuple(kinds),
            tuple(activations),
            np.array(data["spans"], np.float64),
            tuple(_member(one) for one in data["members"]),
            _prior(data["prior"]),
        )
        count = len(found.kinds)
        shapes = {one.coefficients.shape for one in found.members}
        if shapes != {(count, len(TERMS))} or found.spans.shape != (
            count, 2, len(figures.SPANNED)):  # fmt: skip
            raise ValueError("the coefficients do not belong to the kinds of operators")
        return found


def terms(signatures: Sequence[Signature], precision: str, prior: Model | None) -> Floats:
    """The figures of `TERMS`, shape (n, 16); the last are 0 without an earlier model."""
    prior_ms = np.zeros(len(signatures)) if prior is None else prior.operators_ms(signatures)
    return np.column_stack([figures.linear(signatures, precision), prior_ms])


def _prior(data: dict[str, Any] | None) -> Model | None:
    found = None if data is None else Model.from_dict(data)
    if found is not None and found.prior is not None:
        raise ValueError("the model starts from one that starts from another itself")
    return found


def _member(data: dict[str, Any]) -> Member:
    coefficients = np.array(data["coefficients"], np.float64)
    return Member(coefficients, float(data["run_ms"]), Forest.from_dict(data["corrections"]))
