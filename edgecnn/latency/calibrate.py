"""Calibrating: measure designed networks on a device until their latency can be predicted.

What is measured next is what the model is least sure of: of many random networks those on which
its members disagree most. The zoo is measured in between and never fitted: the error on it is that
of real networks, of families that took no part.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np

from edgecnn import devices, families, runtimes
from edgecnn.device import LOCAL, Device
from edgecnn.environment import Environment, package_versions
from edgecnn.errors import UsageError
from edgecnn.latency import design, graphs
from edgecnn.latency.journal import Journal
from edgecnn.latency.learnt import Learner, Learnt, held_out, require_enough
from edgecnn.latency.model import Model
from edgecnn.latency.nodes import are_of
from edgecnn.latency.operators import Operators
from edgecnn.latency.predictor import relative_spread
from edgecnn.latency.sample import Sample, calm
from edgecnn.latency.sampler import Sampler, reference
from edgecnn.latency.table import Table
from edgecnn.spec import ModelSpec, parse_name

FIRST_FIT = 240
GROWTH = 1.6
"""Fitted again when so many times the samples of the last fit are there."""
POOL = 4
"""Random networks looked at for each that is chosen."""
BY_CHANCE = 0.3
"""Share of networks not chosen by disagreement: it says nothing of what no member knows."""
SHARES = (0.15, 0.1, 0.3, 0.15, 0.3)
"""Of networks of one or two rows, whose few operators are told apart best; of those that are
mostly head, where weights are large and maps small; of whole networks; of wide ones like
MobileNetV1, which spend their time in dense and pointwise convolutions; and of stacks of inverted
residuals, as most mobile networks are. Without stacks, predictions of stacks were 6 % too slow and
of others 0 to 3 % (onnxruntime w8a8, 2 threads; 20 networks each, none of them fitted)."""
OPENING_RUNS_MS = 15.0
"""Writing, opening and the reference take as long as runs of a network of so many ms would."""
CHECK_EVERY = 10
CHECK_TIMES = 2
"""Of the usual bursts. What a prediction is held against should have little noise of its own; of
designed networks it is better to have more."""
MOST_ROUNDS = 100
BATCH = 40
_LARGEST_CHECK = 320
_CHECK_SEED = 5
_WIDTHS, _RESOLUTIONS = (0.5, 0.75, 1.25), (96, 128, 160, 192, 256)

_SMALL_NETWORKS = design.Ranges(
    rows=(1, 2),
    resolution=(8, 160),
    repeats=(1, 2, 3, 4),
    head=(8, 64),
    classes=(10, 10),
    row_macs=40_000_000,
)
_HEADS = design.Ranges(
    rows=(1, 2),
    resolution=(8, 40),
    channels=(64, 480),
    repeats=(1, 2),
    row_macs=40_000_000,
)
_WHOLE_NETWORKS = design.Ranges(
    rows=(4, 16),
    resolution=(48, 320),
    width=(0.15, 1.5),
    last_map=(4, 14),
    classes=(100, 1500),
    activations=("relu", "relu", "relu6", "swish", "hswish"),
)
_WIDE_NETWORKS = replace(
    _WHOLE_NETWORKS,
    width=(1.0, 4.0),
    channels=(8, 1280),
    kinds=("dws", "dws", "conv", "fused", "mbconv", "uib"),
    row_macs=300_000_000,
)
_STACKS = replace(
    _WHOLE_NETWORKS,
    rows=(4, 9),
    expand=(3.0, 6.0),
    kinds=("mbconv", "mbconv", "mbconv", "mbconv", "uib"),
    repeats=(2, 3, 4),
)

_RANGES = (_SMALL_NETWORKS, _HEADS, _WHOLE_NETWORKS, _WIDE_NETWORKS, _STACKS)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, seconds spent, and seconds in all."""


@dataclass(frozen=True)
class Request:
    """What to calibrate. `target_error` is of the median on designed networks, as a share.

    Once the minutes are over, each network of the zoo is measured until it was `check_rounds`
    times: the error on it is then that of its median, with little noise of its own.
    `start` is a measured table of the same runtime and precision, with other threads or of another
    device: what it knows does not have to be learnt again.
    """

    runtime: str
    precision: str = "fp32"
    threads: int = 1
    device: Device = LOCAL
    minutes: float = 20.0
    target_error: float = 0.0
    seed: int = 0
    start: Table | None = None
    check_rounds: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 24 * 60:
            raise UsageError(f"{self.minutes:g} minutes; allowed: above 0, up to a day.")
        if not 0 <= self.target_error < 1:
            raise UsageError(
                f"an error of {self.target_error:g}; allowed: from 0 to below 1, such as 0.03."
            )
        if not 0 <= self.check_rounds <= MOST_ROUNDS:
            raise UsageError(f"{self.check_rounds} rounds; allowed: 0 to {MOST_ROUNDS}.")
        graphs.format_for(self.runtime, self.precision)
        if self.start is not None:
            self._check(self.start)

    def _check(self, start: Table) -> None:
        if not isinstance(start.model, Model):
            raise UsageError(f"{start} is published; start from a measured table.")
        if start.model.prior is not None:
            raise UsageError(f"{start} started from another table; start from that one.")
        there, here = (start.runtime, start.precision), (self.runtime, self.precision)
        if there != here:
            raise UsageError(
                f"a table of {' '.join(there)} to start one of {' '.join(here)} from; allowed: the "
                "same runtime and precision, with other threads or of another device."
            )

    @property
    def prior(self) -> Model | None:
        """The model to start from."""
        model = None if self.start is None else self.start.model
        return model if isinstance(model, Model) else None


def calibrate(request: Request, journal_path: Path, progress: Progress | None = None) -> Table:
    """Measure and fit. The journal stays: the caller removes it once the table is saved.

    Called again with the same journal, it goes on; the time spent before counts.

    Raises:
        UsageError: the device is emulated, or the journal is of another calibration.
        MeasurementError: too little could be measured in the time.
        EdgecnnError: the device or the runtime is not available.
    """
    report = progress or _silent
    with devices.connect(request.device, "calibrate", lambda text: report(text, 0, 0)) as host:
        if host.timing == "emulated":
            raise UsageError(
                f"{request.device} has no latency to measure: its processor is emulated. "
                "Calibrate on the board itself (--device ssh://...)."
            )
        with Sampler(
            host, request.device, request.runtime, request.precision, request.threads
        ) as sampler:
            return calibrate_with(request, sampler, journal_path, report)


class Measures(Protocol):
    """What networks are measured with: a `Sampler`."""

    def environment(self) -> Environment:
        """The machine and the versions in use."""

    def measure(self, spec: ModelSpec, times: int) -> Sample:
        """Measure a network in so many times the usual bursts of runs."""


def calibrate_with(
    request: Request, sampler: Measures, journal_path: Path, report: Progress | None = None
) -> Table:
    """Measure with a sampler and fit; see `calibrate`."""
    environment = sampler.environment()
    with Journal(journal_path, _subject(request, environment)) as journal:
        found = _Calibration(request, environment, report or _silent).run(sampler, journal)
        return _table(request, environment, found, journal.samples)


def _subject(request: Request, environment: Environment) -> dict[str, Any]:
    """What all samples of a journal have in common."""
    return {
        "runtime": request.runtime,
        "precision": request.precision,
        "threads": request.threads,
        "device": str(request.device),
        "reference": str(reference()),
        "environment": [str(part) for part in environment.fingerprint],
    }


class _Calibration:
    """Measure, fit, choose what to measure next."""

    def __init__(self, request: Request, environment: Environment, report: Progress) -> None:
        self._request, self._report = request, report
        self._operators = Operators(request.runtime, request.precision, environment)
        self._learner = Learner(
            self._operators, request.prior, request.seed, lambda text: report(text, 0, 0)
        )

    def run(self, sampler: Measures, journal: Journal) -> Learnt:
        """Measure until the time is spent or the error is small enough; return the last fit."""
        limit_s, checks = 60 * self._request.minutes, check_networks()
        found: Learnt | None = None
        fitted, enough, queue = 0, FIRST_FIT, list[ModelSpec]()
        start = time.monotonic() - sum(sample.seconds for sample in journal.samples)
        while (spent := time.monotonic() - start) < limit_s:
            if len(journal.samples) >= enough:
                found, fitted = self._learner.learn(journal.samples), len(journal.samples)
                if found.errors.median <= self._request.target_error:
                    break
                enough, queue = round(GROWTH * len(journal.samples)), []
            self._report(_state(journal.samples, found), round(spent), round(limit_s))
            number, is_check = divmod(len(journal.samples), CHECK_EVERY)
            if is_check == 0 and checks:
                _measure(sampler, journal, checks[number % len(checks)], checks=True)
                continue
            queue = queue or self._next(len(journal.samples), found)
            _measure(sampler, journal, queue.pop(), checks=False)
        require_enough([one for one in calm(journal.samples) if not one.checks])
        self._check_in_rounds(sampler, journal, checks)
        if found is not None and fitted == len(journal.samples):
            return found
        return self._learner.learn(journal.samples)

    def _check_in_rounds(
        self, sampler: Measures, journal: Journal, checks: Sequence[ModelSpec]
    ) -> None:
        rounds = self._request.check_rounds
        times = Counter(sample.spec for sample in journal.samples if sample.checks)
        left = [spec for round_ in range(rounds) for spec in checks if times[str(spec)] <= round_]
        for done, spec in enumerate(left):
            self._report("measuring the zoo's networks again", done, len(left))
            journal.add(replace(sampler.measure(spec, CHECK_TIMES), checks=True))

    def _next(self, at: int, found: Learnt | None) -> list[ModelSpec]:
        """Networks to measure: of a few the one on which the members disagree most, some others."""
        random = Random(f"{self._request.seed} {at}")  # noqa: S311 (no secrets)
        drawn = random.choices(_RANGES, SHARES, k=BATCH)
        if found is None:
            return [design.random_spec(random, ranges) for ranges in drawn]
        chosen = round((1 - BY_CHANCE) * BATCH)
        pool = [design.random_spec(random, one) for one in drawn[:chosen] for _ in range(POOL)]
        told = np.array(self._told_each_second(pool, found)).reshape(chosen, POOL)
        best = [pool[at * POOL + one] for at, one in enumerate(told.argmax(axis=1))]
        return best + [design.random_spec(random, ranges) for ranges in drawn[chosen:]]

    def _told_each_second(self, specs: Sequence[ModelSpec], found: Learnt) -> list[float]:
        """How far the members disagree on networks, for the time that measuring them takes."""
        networks = [self._operators.of(spec) for spec in specs]
        used = sorted({number for network in networks for number in network})
        signatures = [self._operators.signatures[number] for number in used]
        members_ms = found.fitted.model.members_ms(signatures)
        at = {number: position for position, number in enumerate(used)}
        sums = [members_ms[:, [at[one] for one in network]].sum(axis=1) for network in networks]
        return [relative_spread(one) / (OPENING_RUNS_MS + one.mean()) for one in sums]


def _measure(sampler: Measures, journal: Journal, spec: ModelSpec, *, checks: bool) -> None:
    start = time.monotonic()
    found = sampler.measure(spec, CHECK_TIMES if checks else 1)
    journal.add(replace(found, checks=checks, seconds=time.monotonic() - start))


def _state(samples: Sequence[Sample], found: Learnt | None) -> str:
    error = "" if found is None else f", error {found.errors.median:.1%}"
    return f"{len(samples)} networks{error}"


def check_networks() -> list[ModelSpec]:
    """The zoo's mobile networks up to 320 pixels, and a variant of each; in random order.

    Variants are of another width and resolution. Of `families.mobile()`, because a table does not
    know the operators of the classic networks.
    """
    random = Random(_CHECK_SEED)  # noqa: S311 (no secrets)
    found = []
    for spec in families.mobile():
        if spec.resolution > _LARGEST_CHECK:
            continue
        found.append(spec)
        width, resolution = random.choice(_WIDTHS), random.choice(_RESOLUTIONS)
        if parse_name(spec.name)[1:3] == (1.0, 1.0):
            found.append(spec.scaled(width, 1.0, resolution))
    random.shuffle(found)
    return found


def _table(
    request: Request, environment: Environment, found: Learnt, samples: Sequence[Sample]
) -> Table:
    """The table of a calibration."""
    versions = environment.versions
    operators = Operators(request.runtime, request.precision, environment)
    names = package_versions(runtimes.get(request.runtime).requires)
    return Table(
        source="measured",
        device=str(request.device),
        runtime=request.runtime,
        runtime_version=" ".join(f"{name} {versions.get(name, '?')}" for name in names),
        precision=request.precision,
        threads=request.threads,
        governor=environment.governor,
        environment=environment,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=found.fitted.model,
        errors=held_out(found, samples, operators),
        samples=tuple(samples),
        notes=(*_start(request.start), *_notes(samples, operators)),
    )


def _start(table: Table | None) -> tuple[str, ...]:
    return () if table is None else (f"started from the table of {table}, made {table.created}",)


def _notes(samples: Sequence[Sample], operators: Operators) -> tuple[str, ...]:
    found = []
    left = len({one.spec for one in calm(samples)}) / len({one.spec for one in samples})
    if left <= 0.8:
        found.append(
            f"{1 - left:.0%} of the networks were left out: something else used the device "
            "meanwhile"
        )
    profiled = [one for one in samples if one.nodes]
    strange = [
        one
        for one in profiled
        if not are_of(one.nodes, operators.signatures_of(operators.of(one.network)))
    ]
    if strange:
        found.append(
            f"{len(strange)} of {len(profiled)} networks were executed with other nodes than "
            "edgecnn takes them for; of these only the latency was learnt from"
        )
    return tuple(found)


def _silent(what: str, done: int, total: int) -> None:
    return
