"""Compound scaling: depth, width and resolution grow together, under one exponent.

EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946), section 3.3, equation 3: depth alpha^phi,
width beta^phi, resolution gamma^phi, with alpha * beta^2 * gamma^2 close to 2, so that phi + 1
about doubles the multiply-adds. Here the doubling can also be one of latency: `search` takes any
cost of a network, multiply-adds or a board's predicted milliseconds.

What the published members follow. B1 to B7 are not powers of 1.2, 1.1 and 1.15: rounded to one
decimal (resolution to the nearest 20), phi = 0.5, 1 and 2 give B1 to B3; from B4 on the published
depth stays below alpha^phi (B7: 3.1, not 3.6), and no single phi gives B4 to B7. Keras' guide says
the same: the members are hand-picked (keras.io, "Image classification via fine-tuning with
EfficientNet"). So they are data here, `EFFICIENTNET_STEPS` and `EFFICIENTNET_LITE_STEPS`, and
`Coefficients` is the rule for everything else.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product, takewhile
from typing import TypeVar

from edgecnn import workload
from edgecnn.block import Block
from edgecnn.errors import UsageError, VerdictError
from edgecnn.spec import MAX_RESOLUTION, ModelSpec

Cost = Callable[[ModelSpec], float]
"""Multiply-adds, or a latency in ms: above 0, the same for the same rows and resolution."""
Accuracy = Callable[[ModelSpec], float | None]
"""Top-1 in percent; None where it is not known."""
T = TypeVar("T")

PIXEL_MULTIPLE = 8
MIN_RESOLUTION = 32
MIN_STEP = 1e-3
MAX_FACTOR = 16.0  # what `ModelSpec.scaled` allows for width and depth


@dataclass(frozen=True)
class Scaling:
    """What is done to a base network: width and depth factors, and the new resolution in pixels.

    `phi` is the compound exponent that it stands for; the published steps only come near it.
    """

    phi: float
    width: float
    depth: float
    resolution: int

    def apply(self, base: ModelSpec) -> ModelSpec:
        """The scaled network. Raises SpecError where `base` was scaled already."""
        return base.scaled(self.width, self.depth, self.resolution)


@dataclass(frozen=True)
class Coefficients:
    """Growth per unit of phi: `depth` is the paper's alpha, `width` beta, `resolution` gamma."""

    depth: float
    width: float
    resolution: float

    def __post_init__(self) -> None:
        if not all(1 <= value <= MAX_FACTOR for value in self.values):
            raise UsageError(
                f"coefficients {self.values}: each is at least 1 (equation 3) and at most "
                f"{MAX_FACTOR:g}."
            )

    @property
    def values(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma)."""
        return self.depth, self.width, self.resolution

    @property
    def nominal_ratio(self) -> float:
        """alpha * beta^2 * gamma^2: growth of the multiply-adds at phi = 1, before rounding."""
        return self.depth * self.width**2 * self.resolution**2

    def scaling(self, phi: float, resolution: int) -> Scaling:
        """The step `phi` (negative: smaller) from a base at `resolution` pixels.

        Width and depth are rounded to 0.001, so that the name of the network says them in full.
        The resolution is rounded to the nearest multiple of 8, as others pad feature maps for
        nothing (the Keras guide named above), but never past the base's own. At phi = 0 nothing
        changes, and a larger phi never makes anything smaller.
        """
        width, depth = (round(factor**phi, 3) for factor in (self.width, self.depth))
        pixels = resolution * self.resolution**phi
        rounded = int(pixels / PIXEL_MULTIPLE + 0.5) * PIXEL_MULTIPLE
        if math.isclose(pixels, resolution):
            return Scaling(phi, width, depth, resolution)
        nearest = max(rounded, resolution) if pixels > resolution else min(rounded, resolution)
        return Scaling(phi, width, depth, nearest)


EFFICIENTNET = Coefficients(depth=1.2, width=1.1, resolution=1.15)
"""The paper's, from a grid search at phi = 1 on B0 (section 3.3, step 1)."""

# phi, width, depth, resolution of B0 to B7: tensorflow/tpu
# models/official/efficientnet/efficientnet_builder.py@082b226. The phi are nominal, as the thread
# tensorflow/tpu#390 found them by fitting.
EFFICIENTNET_STEPS = (
    Scaling(0, 1.0, 1.0, 224),
    Scaling(0.5, 1.0, 1.1, 240),
    Scaling(1, 1.1, 1.2, 260),
    Scaling(2, 1.2, 1.4, 300),
    Scaling(3.5, 1.4, 1.8, 380),
    Scaling(5, 1.6, 2.2, 456),
    Scaling(6, 1.8, 2.6, 528),
    Scaling(7, 2.0, 3.1, 600),
)
# Lite0 to Lite4: lite/efficientnet_lite_builder.py@22d5cab; smaller images than B3 and B4.
EFFICIENTNET_LITE_STEPS = (
    *EFFICIENTNET_STEPS[:3],
    Scaling(2, 1.2, 1.4, 280),
    Scaling(3.5, 1.4, 1.8, 300),
)


@dataclass(frozen=True)
class Member:
    """One network of a scaled family."""

    scaling: Scaling
    spec: ModelSpec


def published_family(
    base: ModelSpec, steps: Iterable[Scaling] = EFFICIENTNET_STEPS
) -> tuple[Member, ...]:
    """`base` at published steps; with `efficientnet_b0` the rows and resolutions of B0 to B7."""
    return tuple(Member(step, step.apply(base)) for step in steps)


def family(
    base: ModelSpec, coefficients: Coefficients, phis: Iterable[float]
) -> tuple[Member, ...]:
    """`base` at each phi, by equation 3.

    Raises UsageError where a phi leads below 32 pixels or above what a network may have.
    """
    return tuple(_member(base, coefficients, phi) for phi in phis)


def _member(base: ModelSpec, coefficients: Coefficients, phi: float) -> Member:
    if not _allowed(base, coefficients, phi):
        raise UsageError(
            f"phi {phi:g} with {coefficients.values} leads {base.name} out of bounds: "
            f"{MIN_RESOLUTION} to {MAX_RESOLUTION} pixels, width and depth up to {MAX_FACTOR:g}."
        )
    scaling = coefficients.scaling(phi, base.resolution)
    return Member(scaling, scaling.apply(base))


def _allowed(base: ModelSpec, coefficients: Coefficients, phi: float) -> bool:
    # In logarithms: a power of a large phi would overflow.
    if not math.isfinite(phi):
        return False
    depth, width, resolution = (phi * math.log(value) for value in coefficients.values)
    pixels = math.log(base.resolution) + resolution
    lowest = math.log(min(MIN_RESOLUTION, base.resolution))
    highest = math.log(max(MAX_RESOLUTION - PIXEL_MULTIPLE, base.resolution))
    most = math.log(MAX_FACTOR)
    return lowest <= pixels <= highest and max(abs(depth), abs(width)) <= most


@dataclass(frozen=True)
class Candidate:
    """Coefficients that the cost allows, tried at phi = 1.

    `cost` is in the cost function's unit, None where only equation 3 was asked; `cost_ratio` is
    cost(phi = 1) / cost(phi = 0). `accuracy` is top-1 in percent, None where it is not known.
    """

    coefficients: Coefficients
    spec: ModelSpec
    cost_ratio: float
    cost: float | None = None
    accuracy: float | None = None


def multiply_adds(spec: ModelSpec) -> float:
    """The cost of the paper: multiply-adds for one image, of the rounded network."""
    return float(workload.from_spec(spec).macs)


@dataclass(frozen=True)
class Grid:
    """The coefficients to try: 1, 1 + `step`, ... `highest`, where the ratio is near `target`.

    `tolerance` is relative (0.15: from 1.7 to 2.3 for 2). The paper states neither a step nor a
    tolerance; its own coefficients lie on a grid of 0.05, and in the band both by their product
    (1.92) and by B0's real multiply-adds (2.23). Raises UsageError on a setting without sense.
    """

    step: float = 0.05
    target: float = 2.0
    tolerance: float = 0.15
    highest: float = 2.5

    def __post_init__(self) -> None:
        sound = self.step >= MIN_STEP and 0 <= self.tolerance < 1
        if not (sound and 1 < self.target <= self.highest <= MAX_FACTOR):
            raise UsageError(
                f"{self}: allowed are a step of at least {MIN_STEP:g}, a tolerance from 0 up to 1, "
                f"a target above 1, and a highest coefficient from the target to {MAX_FACTOR:g}."
            )

    def points(
        self, ratio: Callable[[Coefficients], float] = lambda c: c.nominal_ratio
    ) -> Iterator[tuple[Coefficients, float]]:
        """All coefficients whose ratio is in the band, with it: by equation 3, or by `ratio`.

        `ratio` is taken to grow with the resolution: a line is left where it gets above the band.
        """
        low, high = self.target * (1 - self.tolerance), self.target * (1 + self.tolerance)
        count = int((self.highest - 1) / self.step + 1e-9) + 1
        axis = [round(1 + k * self.step, 9) for k in range(count)]
        for depth, width in product(axis, axis):
            line = (Coefficients(depth, width, resolution) for resolution in axis)
            rated = ((coefficients, ratio(coefficients)) for coefficients in line)
            below = takewhile(lambda pair: pair[1] <= high, rated)
            yield from (pair for pair in below if pair[1] >= low)


def search(
    base: ModelSpec,
    cost: Cost | None = None,
    accuracy: Accuracy = lambda spec: None,
    grid: Grid | None = None,
) -> tuple[Candidate, ...]:
    """The paper's grid search at phi = 1 on `base`, best first.

    `cost` bounds the real, rounded networks: `multiply_adds`, or a latency predictor in ms. None
    bounds equation 3's product instead, as the paper does. The two differ, because depths round
    up: at 1.2, 1.1, 1.15 the product is 1.92, and B0's multiply-adds grow 2.2 times.
    Ranked by accuracy, then by how close the ratio is to the target; candidates without a known
    accuracy come last. Each network is costed and judged once, however many coefficients lead to
    it. Raises UsageError where the cost of the base is not above 0.
    """
    grid = grid or Grid()
    judge = _once(accuracy)
    if cost is None:
        found = [
            Candidate(coefficients, spec := _at_one(base, coefficients), ratio, None, judge(spec))
            for coefficients, ratio in grid.points()
        ]
    else:
        found = list(_costed(base, _once(cost), judge, grid))
    return tuple(sorted(found, key=lambda candidate: _rank(candidate, grid.target)))


def _costed(base: ModelSpec, cost: Cost, judge: Accuracy, grid: Grid) -> Iterator[Candidate]:
    whole = cost(base)
    if not (math.isfinite(whole) and whole > 0):
        raise UsageError(f"the cost of {base.name} is {whole:g}; it has to be above 0.")
    for coefficients, ratio in grid.points(lambda c: cost(_at_one(base, c)) / whole):
        spec = _at_one(base, coefficients)
        yield Candidate(coefficients, spec, ratio, cost(spec), judge(spec))


def _at_one(base: ModelSpec, coefficients: Coefficients) -> ModelSpec:
    return _member(base, coefficients, 1).spec


def _rank(candidate: Candidate, target: float) -> tuple[bool, float, float]:
    unknown = candidate.accuracy is None
    return unknown, -(candidate.accuracy or 0.0), abs(candidate.cost_ratio - target)


def _once(function: Callable[[ModelSpec], T]) -> Callable[[ModelSpec], T]:
    """`function`, called once for each network: many coefficients round to the same rows."""
    known: dict[tuple[int, tuple[Block, ...]], T] = {}

    def remembered(spec: ModelSpec) -> T:
        key = spec.resolution, spec.blocks
        if key not in known:
            known[key] = function(spec)
        return known[key]

    return remembered


@dataclass(frozen=True)
class Fit:
    """The member that meets a target, and the next one that does not (None: the bound is reached).

    Latencies in ms, by the predictor that was given.
    """

    member: Member
    latency_ms: float
    next_member: Member | None = None
    next_latency_ms: float | None = None


def member_for(
    target_ms: float,
    predictor: Cost,
    base: ModelSpec,
    coefficients: Coefficients = EFFICIENTNET,
    *,
    kind: str = "predicted",
    lowest_phi: float = -4.0,
    highest_phi: float = 8.0,
    step: float = 0.05,
) -> Fit:
    """The largest member of the family of `base` that `predictor` (ms) puts within `target_ms`.

    `kind` is how a refusal marks the latency that it tells.

    Bisection over phi = `lowest_phi`, ... `highest_phi` in multiples of `step`, bounds of `family`
    kept: every member is at least as large as the one before. The one found meets the target and
    the next one does not; where a predictor is not monotone, a larger one may meet it again.
    Raises UsageError on a target or range without sense, VerdictError where even the smallest
    member takes longer.
    """
    if not (math.isfinite(target_ms) and target_ms > 0 and step >= MIN_STEP):
        raise UsageError(
            f"target {target_ms:g} ms, step {step:g}: allowed are a target above 0 and a step of "
            f"at least {MIN_STEP:g}."
        )
    phis = _phis(base, coefficients, lowest_phi, highest_phi, step)
    predict = _once(predictor)

    def latency_at(index: int) -> float:
        return predict(_member(base, coefficients, phis[index]).spec)

    over = bisect_left(range(len(phis)), True, key=lambda index: latency_at(index) > target_ms)
    if over == 0:
        smallest = _member(base, coefficients, phis[0]).spec
        raise VerdictError(
            f"even the smallest member, {smallest.name}, takes {latency_at(0):.3g} ms ({kind}); "
            f"the target is {target_ms:g} ms. Start from a smaller network than {base.name}."
        )
    member = _member(base, coefficients, phis[over - 1])
    if over == len(phis):
        return Fit(member, latency_at(over - 1))
    larger = _member(base, coefficients, phis[over])
    return Fit(member, latency_at(over - 1), larger, latency_at(over))


def _phis(
    base: ModelSpec, coefficients: Coefficients, lowest: float, highest: float, step: float
) -> list[float]:
    """The multiples of `step` between the two that keep the bounds, ascending."""
    first, last = math.ceil(lowest / step - 1e-9), math.floor(highest / step + 1e-9)
    every = (round(k * step, 9) for k in range(first, last + 1))
    phis = [phi for phi in every if _allowed(base, coefficients, phi)]
    if not phis:
        raise UsageError(
            f"{base.name} has no member between phi {lowest:g} and {highest:g} within "
            f"{MIN_RESOLUTION} to {MAX_RESOLUTION} pixels."
        )
    return phis
