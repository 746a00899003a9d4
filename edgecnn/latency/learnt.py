"""What samples teach: a model, and how far it is off on networks that took no part.

A sample beside a busy neighbour is slower than the network is. How much of the reference's slowness
networks feel is learnt here too, and taken off before a model is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Signature
from edgecnn.errors import MeasurementError
from edgecnn.latency import figures, pace
from edgecnn.latency.fit import Fitted, fit, rough_ms
from edgecnn.latency.model import Model
from edgecnn.latency.nodes import are_of, as_parts
from edgecnn.latency.operators import Operators
from edgecnn.latency.predictor import relative_spread
from edgecnn.latency.sample import Sample, calm, quiet_pace, undisturbed
from edgecnn.latency.table import Check, Errors, HeldOut, KindErrors

FEWEST = 60
"""Networks to fit a model to."""
_ALIKE = 0.05
"""Shares of the pace that differ by less are taken for the same."""


@dataclass(frozen=True)
class Learnt:
    """A model, and the samples that it was fitted to.

    `felt` is how much of the reference's pace networks feel; the samples are rid of it.
    """

    fitted: Fitted
    samples: tuple[Sample, ...]
    felt: float

    @property
    def errors(self) -> Errors:
        """On designed networks, each predicted by a member that did not see it."""
        return Errors.of(self.fitted.held_out_ms, [one.latency_ms for one in self.samples])

    def felt_by_held_out(self, quiet_ms: float) -> float:
        """How much of the pace networks felt, by what members say that did not see them."""
        paces = [mean(one.reference_ms) for one in self.samples]
        measured_ms = [
            one.latency_ms * (pace_ms / quiet_ms) ** self.felt
            for one, pace_ms in zip(self.samples, paces, strict=True)
        ]
        return pace.felt(measured_ms, self.fitted.held_out_ms.tolist(), paces)


@dataclass(frozen=True)
class Learner:
    """Learns from samples. `prior` is a model to start from; `report` is told of each fit."""

    operators: Operators
    prior: Model | None
    seed: int
    report: Callable[[str], None]

    def learn(self, samples: Sequence[Sample]) -> Learnt:
        """Fit; and again where the fit says that networks felt another share of the pace.

        The first estimate is by a rough model, and takes for the pace what that does not know.

        Raises:
            MeasurementError: too few networks were measured undisturbed.
        """
        rough = self._felt([sample for sample in calm(samples) if not sample.checks])
        found = self._learn(samples, rough)
        told = found.felt_by_held_out(quiet_pace(samples))
        return found if abs(told - rough) < _ALIKE else self._learn(samples, told)

    def _learn(self, samples: Sequence[Sample], felt: float) -> Learnt:
        used = [sample for sample in undisturbed(samples, felt) if not sample.checks]
        require_enough(used)
        self.report(f"fitting {len(used)} networks")
        networks = [self.operators.of(sample.network) for sample in used]
        latencies_ms = [sample.latency_ms for sample in used]
        fitted = fit(
            networks, latencies_ms, self.operators.signatures, self.operators.precision,
            nodes_ms=as_parts(self._profiled(used, networks), latencies_ms),
            prior=self.prior, seed=self.seed, threads=1,
        )  # fmt: skip
        return Learnt(fitted, tuple(used), felt)

    def _felt(self, samples: Sequence[Sample]) -> float:
        """How much of the reference's pace these networks felt."""
        if len(samples) < FEWEST:
            return pace.USUAL
        networks = [self.operators.of(sample.network) for sample in samples]
        latencies_ms = [sample.latency_ms for sample in samples]
        signatures, precision = self.operators.signatures, self.operators.precision
        rough = rough_ms(networks, latencies_ms, signatures, precision, self.prior)
        paces = [mean(sample.reference_ms) for sample in samples]
        return pace.felt(latencies_ms, rough.tolist(), paces)

    def _profiled(
        self, samples: Sequence[Sample], networks: Sequence[Sequence[int]]
    ) -> list[list[float] | None]:
        """The nodes' times of each network, where its nodes are what we take it for."""
        return [
            [node.ms for node in sample.nodes]
            if are_of(sample.nodes, self.operators.signatures_of(network))
            else None
            for sample, network in zip(samples, networks, strict=True)
        ]


def require_enough(samples: Sequence[Sample]) -> None:
    """Raises MeasurementError where these are of too few networks to learn from."""
    networks = len({sample.spec for sample in samples})
    if networks < FEWEST:
        raise MeasurementError(
            f"{networks} networks could be measured undisturbed; at least {FEWEST} are needed. "
            "Leave the device alone and allow more minutes: the command goes on where it was."
        )


def held_out(found: Learnt, samples: Sequence[Sample], operators: Operators) -> HeldOut:
    """Errors on designed networks, on those of the zoo, and by kind of operator."""
    model = found.fitted.model
    networks = [operators.of(one.network) for one in found.samples]
    checked = [sample for sample in undisturbed(samples, found.felt) if sample.checks]
    of_checked = [operators.of(one.network) for one in checked]
    members_ms = model.members_ms(operators.signatures)
    times_ms = members_ms.mean(axis=0)
    checks = tuple(
        Check(sample.network.name, float(times_ms[numbers].sum()) + model.run_ms, sample.latency_ms)
        for sample, numbers in zip(checked, of_checked, strict=True)
    )
    spreads = [relative_spread(members_ms[:, numbers].sum(axis=1)) for numbers in networks]
    predicted, measured = [one.predicted_ms for one in checks], [one.measured_ms for one in checks]
    return HeldOut(
        designed=found.errors,
        networks=Errors.of(predicted, measured) if checks else None,
        kinds=_by_kind(found, networks, times_ms, operators.signatures),
        checks=checks,
        spread=float(np.median(spreads)),
    )


def _by_kind(
    found: Learnt,
    networks: Sequence[Sequence[int]],
    times: NDArray[np.float64],
    signatures: Sequence[Signature],
) -> tuple[KindErrors, ...]:
    """Held-out errors by kind: of networks, weighted by the share that the kind has in them."""
    sizes = [len(network) for network in networks]
    of = np.repeat(np.arange(len(networks)), sizes)
    numbers = np.array([number for network in networks for number in network])
    share = times[numbers] / np.bincount(of, times[numbers])[of]
    measured = np.array([sample.latency_ms for sample in found.samples])
    error = np.abs(found.fitted.held_out_ms / measured - 1)[of]
    kinds = np.array([figures.kind(signatures[number]) for number in numbers])
    return tuple(
        KindErrors(
            str(name),
            share=float(times[numbers][kinds == name].sum() / times[numbers].sum()),
            error=float(np.average(error[kinds == name], weights=share[kinds == name])),
        )
        for name in np.unique(kinds)
    )
