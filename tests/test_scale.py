"""Compound scaling: published families, equation 3, the grid search, the member for a target."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import families, scale, workload
from edgecnn.errors import UsageError, VerdictError
from edgecnn.scale import EFFICIENTNET, Coefficients, Grid
from edgecnn.spec import ModelSpec

B0 = families.get("efficientnet_b0")
LITE0 = families.get("efficientnet_lite0")
V2 = families.get("mobilenet_v2")


def area(spec: ModelSpec) -> float:
    """A cost that is quick and grows in all three: layers times channels squared times pixels."""
    return float(sum(b.repeats * b.channels**2 for b in spec.blocks) * spec.resolution**2)


@pytest.mark.parametrize(
    ("base", "steps", "pattern"),
    [
        (B0, scale.EFFICIENTNET_STEPS, "efficientnet_b{}"),
        (LITE0, scale.EFFICIENTNET_LITE_STEPS, "efficientnet_lite{}"),
        (families.get("efficientnet_v2_b0"), scale.EFFICIENTNET_STEPS[:4], "efficientnet_v2_b{}"),
    ],
)
def test_published_members(base: ModelSpec, steps: tuple[scale.Scaling, ...], pattern: str) -> None:
    members = scale.published_family(base, steps)
    for index, member in enumerate(members):
        known = families.get(pattern.format(index))
        assert member.spec.blocks == known.blocks
        assert member.spec.resolution == known.resolution
    assert pattern.format(len(members)) not in families.all()


def test_the_first_published_steps_are_equation_3_rounded() -> None:
    for step in scale.EFFICIENTNET_STEPS[:4]:
        assert step.width == round(1.1**step.phi, 1)
        assert step.depth == round(1.2**step.phi, 1)
        if step.phi:
            assert step.resolution == 20 * round(224 * 1.15**step.phi / 20)


def test_no_phi_gives_the_later_ones() -> None:
    """Why the published steps are data: in B4 to B7 the three dimensions ask for different phi."""
    phis = [k / 100 for k in range(1001)]
    b4 = scale.EFFICIENTNET_STEPS[4]
    rows = [p for p in phis if _same(B0.scaled(1.1**p, 1.2**p), b4.apply(B0), "channels")]
    assert rows
    assert max(224 * 1.15**phi for phi in rows) < b4.resolution - 10
    for step in scale.EFFICIENTNET_STEPS[5:]:
        known = step.apply(B0)
        depths = [p for p in phis if _same(B0.scaled(1, 1.2**p), known, "repeats")]
        widths = [p for p in phis if _same(B0.scaled(1.1**p), known, "channels")]
        assert max(depths) < min(widths)


def _same(one: ModelSpec, other: ModelSpec, field: str) -> bool:
    pairs = zip(one.blocks, other.blocks, strict=True)
    return all(getattr(a, field) == getattr(b, field) for a, b in pairs)


def test_equation_3() -> None:
    assert EFFICIENTNET.nominal_ratio == pytest.approx(1.2 * 1.1**2 * 1.15**2)
    assert EFFICIENTNET.nominal_ratio == pytest.approx(2, rel=0.05)
    assert EFFICIENTNET.scaling(0, 224) == scale.Scaling(0, 1, 1, 224)
    assert EFFICIENTNET.scaling(1, 224) == scale.Scaling(1, 1.1, 1.2, 256)  # 257.6 px
    assert EFFICIENTNET.scaling(2, 224) == scale.Scaling(2, 1.21, 1.44, 296)  # 296.24 px
    assert EFFICIENTNET.scaling(-1, 224) == scale.Scaling(-1, 0.909, 0.833, 192)  # 194.8 px


coefficients = st.builds(Coefficients, *[st.floats(1, 1.5)] * 3)


@given(coefficients, st.floats(-2, 3), st.floats(-2, 3), st.integers(64, 400))
def test_a_larger_phi_is_never_smaller(
    growth: Coefficients, one: float, other: float, resolution: int
) -> None:
    low, high = (growth.scaling(phi, resolution) for phi in sorted((one, other)))
    assert low.width <= high.width
    assert low.depth <= high.depth
    assert low.resolution <= high.resolution


@settings(deadline=None)
@given(coefficients, st.floats(-2, 3))
def test_the_name_of_a_member_gives_it_back(growth: Coefficients, phi: float) -> None:
    (member,) = scale.family(V2, growth, [phi])
    again = families.get(member.spec.name)
    assert (again.blocks, again.resolution) == (member.spec.blocks, member.spec.resolution)


@pytest.mark.parametrize("values", [(0.9, 1, 1), (1, 1, 17), (1, math.nan, 1)])
def test_coefficients_without_sense(values: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Coefficients(*values)


@pytest.mark.parametrize("phi", [30, -30, math.inf, math.nan])
def test_phi_out_of_bounds(phi: float) -> None:
    with pytest.raises(UsageError, match="out of bounds"):
        scale.family(B0, EFFICIENTNET, [phi])


def test_the_nominal_grid_is_all_of_it() -> None:
    grid = Grid(step=0.1, tolerance=0.05, highest=2.2)
    axis = [1 + k / 10 for k in range(13)]
    brute = {
        (round(a, 9), round(b, 9), round(c, 9))
        for a in axis
        for b in axis
        for c in axis
        if 1.9 <= a * b**2 * c**2 <= 2.1
    }
    found = {c.values for c, ratio in grid.points()}
    assert found == brute
    assert len(found) > 10


def test_the_default_grid_holds_the_papers_coefficients() -> None:
    """By the product of equation 3, and by the real multiply-adds of B0."""
    assert EFFICIENTNET in {c for c, _ in Grid().points()}
    grown = scale.multiply_adds(EFFICIENTNET.scaling(1, 224).apply(B0))
    grid = Grid()
    low, high = (grid.target * (1 + sign * grid.tolerance) for sign in (-1, 1))
    assert low <= grown / scale.multiply_adds(B0) <= high


@pytest.mark.parametrize(
    "settings_", [{"step": 0}, {"tolerance": 1}, {"target": 1}, {"target": 3}, {"highest": 99}]
)
def test_a_grid_without_sense(settings_: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="allowed"):
        Grid(**settings_)


@pytest.mark.parametrize("cost", [None, area])
def test_search_keeps_the_band_and_ranks(cost: scale.Cost | None) -> None:
    def accuracy(spec: ModelSpec) -> float | None:
        return None if spec.resolution > 256 else spec.resolution / 4

    found = scale.search(V2, cost, accuracy, Grid(step=0.1))
    assert found
    assert all(1.7 <= c.cost_ratio <= 2.3 for c in found)
    known = [c.accuracy for c in found if c.accuracy is not None]
    assert known == sorted(known, reverse=True)
    assert [c.accuracy for c in found[len(known) :]] == [None] * (len(found) - len(known))
    assert 0 < len(known) < len(found)
    for candidate in found:
        assert candidate.spec == candidate.coefficients.scaling(1, 224).apply(V2)
        if cost:
            assert candidate.cost == area(candidate.spec)
            assert candidate.cost_ratio == area(candidate.spec) / area(V2)


def test_another_cost_gives_other_coefficients() -> None:
    """Where depth costs nothing, the network grows in depth; where it does, in pixels."""

    def layers(spec: ModelSpec) -> float:
        return float(sum(b.repeats for b in spec.blocks))

    def depth_is_free(spec: ModelSpec) -> float:
        return float(spec.resolution**2)

    def depth_is_dear(spec: ModelSpec) -> float:
        return layers(spec) ** 2 * spec.resolution

    def accuracy(spec: ModelSpec) -> float:
        return math.log(layers(spec)) + math.log(spec.resolution)

    grid = Grid(step=0.2)
    costs = (depth_is_free, depth_is_dear)
    free, dear = (scale.search(V2, cost, accuracy, grid)[0].coefficients for cost in costs)
    assert free.depth > dear.depth
    assert free.resolution < dear.resolution


def test_each_network_is_judged_once() -> None:
    asked: Counter[tuple[object, ...]] = Counter()

    def accuracy(spec: ModelSpec) -> float:
        asked[spec.resolution, spec.blocks] += 1
        return 50.0

    found = scale.search(V2, None, accuracy, Grid(step=0.02))
    assert set(asked.values()) == {1}
    assert len(asked) < len(found)


def test_rounding_makes_b0_grow_faster_than_equation_3() -> None:
    """What the docstring of `search` says."""
    grown = workload.from_spec(EFFICIENTNET.scaling(1, 224).apply(B0)).macs
    assert scale.multiply_adds(B0) == workload.from_spec(B0).macs
    assert grown / scale.multiply_adds(B0) == pytest.approx(2.2, abs=0.05)


def test_a_cost_without_sense() -> None:
    with pytest.raises(UsageError, match="above 0"):
        scale.search(V2, lambda spec: 0.0)


def test_the_member_for_a_target_is_the_largest() -> None:
    target_ms = 1.7 * area(B0)
    fit = scale.member_for(target_ms, area, B0)
    assert fit.next_member is not None
    assert fit.latency_ms == area(fit.member.spec) <= target_ms
    assert fit.next_latency_ms == area(fit.next_member.spec) > target_ms
    assert fit.next_member.scaling.phi == pytest.approx(fit.member.scaling.phi + 0.05)
    every = scale.family(B0, EFFICIENTNET, [k * 0.05 for k in range(-80, 161)])
    within = [m for m in every if area(m.spec) <= target_ms]
    assert fit.member.spec == within[-1].spec


def test_a_target_below_the_base_gets_a_smaller_member() -> None:
    fit = scale.member_for(0.5 * area(B0), area, B0)
    assert fit.member.scaling.phi < 0
    assert fit.member.spec.resolution < B0.resolution


def test_a_target_above_everything_reaches_the_bound() -> None:
    fit = scale.member_for(1e30, area, B0, highest_phi=2)
    assert fit.member.scaling.phi == 2
    assert fit.next_member is None
    assert fit.next_latency_ms is None


def test_an_impossible_target() -> None:
    with pytest.raises(VerdictError, match=r"efficientnet_b0@w0\.683.*predicted.*1e-06 ms"):
        scale.member_for(1e-6, area, B0)
    with pytest.raises(VerdictError, match=r"ms \(measured\)"):
        scale.member_for(1e-6, area, B0, kind="measured")


@pytest.mark.parametrize("target_ms", [0, -3, math.nan])
def test_a_target_without_sense(target_ms: float) -> None:
    with pytest.raises(UsageError, match="target"):
        scale.member_for(target_ms, area, B0)


def test_a_range_without_members() -> None:
    with pytest.raises(UsageError, match="no member"):
        scale.member_for(5, area, B0, lowest_phi=90, highest_phi=99)


@settings(max_examples=25, deadline=None)
@given(coefficients, st.floats(0.3, 30))
def test_the_next_member_misses_the_target(growth: Coefficients, factor: float) -> None:
    target_ms = factor * area(V2)
    try:
        fit = scale.member_for(target_ms, area, V2, growth)
    except VerdictError:
        return
    assert fit.latency_ms <= target_ms
    assert fit.next_latency_ms is None or fit.next_latency_ms > target_ms
