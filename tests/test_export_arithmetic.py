"""The arithmetic behind an export: ranges, weight steps, Add scales, and the parity verdict."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgecnn.contract import Recipe
from edgecnn.errors import ExportError
from edgecnn.export._ranges import Histogram, measure
from edgecnn.export.parity import LIMITS, judge, lattice_step
from edgecnn.export.weight_levels import int8, int8_without_saturation, steps

FLOATS = st.floats(-1e4, 1e4, width=32)
WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(1, 3), st.integers(1, 3)),
    elements=st.floats(-8, 8, width=32),
)


@given(st.lists(hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS), min_size=1))
def test_whole_range_is_smallest_and_largest_value(batches: list[NDArray[np.float32]]) -> None:
    ranges = measure(({"x": values} for values in batches), whole=frozenset("x"))
    everything = np.concatenate(batches)
    assert ranges["x"] == (everything.min(), everything.max())


@given(st.integers(0, 2**31), st.floats(0.001, 0.05), st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_clipped_range_is_the_quantile(seed: int, share: float, scale: float) -> None:
    values = (np.random.default_rng(seed).standard_normal(20_000) * scale).astype(np.float32)
    histogram = Histogram()
    for batch in np.array_split(values, 7):
        histogram.add(batch)
    low, high = histogram.range(share)
    # One bin is at most 1/2048 of the largest magnitude, since the limit doubles.
    bin_width = float(np.abs(values).max()) / 2048
    assert low == pytest.approx(np.quantile(values, share), abs=2 * bin_width + scale * 0.02)
    assert high == pytest.approx(np.quantile(values, 1 - share), abs=2 * bin_width + scale * 0.02)
    assert (values < low).mean() <= share
    assert (values > high).mean() <= share


def test_a_large_tensor_is_counted_as_its_parts_are() -> None:
    values = np.random.default_rng(0).standard_normal(200_001).astype(np.float32)
    whole, parts = Histogram(), Histogram()
    whole.add(values.reshape(3, -1))
    for part in np.array_split(values, 11):
        parts.add(part)
    for share in (1e-5, 1e-3, 0.1):
        assert whole.range(share) == parts.range(share)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_tensor_that_is_not_finite_is_refused_by_name(value: float) -> None:
    values = np.array([1.0, value, 2.0], np.float32)
    with pytest.raises(ExportError, match=r"block3 has values from .*weights"):
        measure([{"stem": np.ones(3, np.float32), "block3": values}], whole=frozenset())


def test_constant_tensor_keeps_its_range() -> None:
    assert measure([{"x": np.full(1000, 3.0, np.float32)}], whole=frozenset())["x"] == (3.0, 3.0)


@given(WEIGHTS)
def test_no_pair_of_weights_saturates(weight: NDArray[np.float32]) -> None:
    step = steps(weight, int8_without_saturation).reshape(-1, 1, 1, 1)
    stored = np.rint(weight / step)
    flat = np.moveaxis(stored, 1, -1).reshape(len(weight), -1)
    flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
    sums = flat[:, 0::2] + flat[:, 1::2]
    assert np.abs(stored).max() <= 127
    assert (255 * sums).max() <= 32767
    assert (255 * sums).min() >= -32768


@given(WEIGHTS)
def test_steps_are_coarser_by_at_most_two(weight: NDArray[np.float32]) -> None:
    ratio = steps(weight, int8_without_saturation) / steps(weight, int8)
    assert ratio.min() >= 1.0 - 1e-6
    assert ratio.max() <= 127 / 64 + 1e-6


def test_a_large_layer_gets_the_levels_of_its_channels() -> None:
    weight = np.random.default_rng(0).standard_normal((700, 1001)).astype(np.float32)
    alone = [int8_without_saturation(channel[None]) for channel in weight]
    assert np.array_equal(int8_without_saturation(weight), np.concatenate(alone))


def test_depthwise_weights_keep_all_of_int8() -> None:
    weight = np.ones((5, 1, 3, 3), np.float32)
    assert int8_without_saturation(weight).tolist() == [127.0] * 5


def test_a_pair_that_needs_it_gets_seven_bits() -> None:
    weight = np.ones((1, 2, 1, 1), np.float32)
    assert int8_without_saturation(weight).tolist() == [64.0]


def add_scales(spans: list[float]) -> tuple[list[list[str]], dict[str, float], dict[str, float]]:
    """Return the Adds x0 + x1 = y0, y0 + x2 = y1, ..., the scales that they need, and those set."""
    import onnx
    from onnx import helper

    from edgecnn.export._onnx_static import _add_scales

    adds, previous = [], "x0"
    for index in range(1, len(spans) // 2):
        adds.append([previous, f"x{index}", f"y{index}"])
        previous = f"y{index}"
    nodes = [helper.make_node("Add", add[:2], add[2:]) for add in adds]
    names = dict.fromkeys(name for add in adds for name in add)
    ranges = {name: (0.0, spans[i % len(spans)]) for i, name in enumerate(names)}
    found = _add_scales(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)), ranges)
    needed = {name: high / 255 for name, (_, high) in ranges.items()}
    return adds, needed, {name: float(entry[0]["scale"]) for name, entry in found.items()}


@given(st.lists(st.floats(0.1, 10.0), min_size=4, max_size=12))
@settings(deadline=None)  # The first example imports onnx.
def test_sums_of_a_quantized_add_never_lie_on_half_a_step(spans: list[float]) -> None:
    adds, needed, scales = add_scales(spans)
    assert scales.keys() == needed.keys()
    for first, second, output in adds:
        for name in (first, second):
            parts = 127 * scales[name] / scales[output]
            assert parts == pytest.approx(round(parts), abs=1e-3 * max(1.0, parts))
    assert all(scales[name] >= needed[name] * (1 - 1e-6) for name in needed)


@given(st.lists(st.floats(1e-4, 1e4), min_size=4, max_size=12))
@settings(deadline=None)
def test_scales_of_an_add_never_cut_its_range(spans: list[float]) -> None:
    _, needed, scales = add_scales(spans)
    assert all(scales[name] >= needed[name] * (1 - 1e-6) for name in scales)


def logits(seed: int, images: int = 16, scale: float = 4.0) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return list((random.standard_normal((images, 1, 50)) * scale).astype(np.float32))


@pytest.mark.parametrize("precision", sorted(LIMITS))
def test_equal_logits_pass(precision: str) -> None:
    parity = judge(logits(0), logits(0), Recipe.parse(precision), "16 images")
    assert parity.passed
    assert (parity.max_abs, parity.top1_agreement, parity.images) == (0.0, 1.0, 16)
    assert parity.cosine == pytest.approx(1.0)


@pytest.mark.parametrize("precision", sorted(LIMITS))
def test_other_logits_fail(precision: str) -> None:
    parity = judge(logits(0), logits(1), Recipe.parse(precision), "16 images")
    assert not parity.passed
    assert "cosine" in parity.reason


def test_fp32_limit_is_a_share_of_the_span() -> None:
    reference = logits(0)
    span = np.ptp(np.stack(reference))
    limit = LIMITS["fp32"].span_share
    assert limit is not None
    for factor, passes in ((0.9, True), (1.1, False)):
        shifted = [values.copy() for values in reference]
        shifted[3][0, 7] += factor * limit * span
        assert judge(reference, shifted, Recipe.parse("fp32"), "").passed is passes


def test_swapped_winners_fail_int8_where_the_original_is_sure() -> None:
    reference = logits(0)
    for values in reference:
        values[0, 0], values[0, 1] = 40.0, 38.0
    swapped = [values.copy() for values in reference]
    for values in swapped[:4]:
        values[0, 0], values[0, 1] = 38.0, 40.0
    parity = judge(reference, swapped, Recipe.parse("w8a8"), "")
    assert parity.cosine > 0.99
    assert parity.top1_agreement == 0.75
    assert "75% of 16 images" in parity.reason


def test_swapped_winners_pass_where_the_original_is_not_sure() -> None:
    reference = [np.zeros((1, 50), np.float32) for _ in range(16)]
    exported = [values.copy() for values in reference]
    for a, b in zip(reference, exported, strict=True):
        a[0, :25] = b[0, :25] = 1.0
        a[0, 0] += 0.001
        b[0, 1] += 0.001
    assert judge(reference, exported, Recipe.parse("w8a8"), "").passed


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_fail(value: float) -> None:
    exported = logits(0)
    exported[2][0, 0] = value
    parity = judge(logits(0), exported, Recipe.parse("w8a8"), "")
    assert not parity.passed
    assert "not finite" in parity.reason
    assert math.isfinite(parity.max_abs)


def test_another_number_of_classes_fails() -> None:
    exported = [values[:, :49] for values in logits(0)]
    parity = judge(logits(0), exported, Recipe.parse("fp32"), "")
    assert not parity.passed
    assert "50 logits, the file 49" in parity.reason


@given(st.integers(0, 2**31), st.floats(1e-3, 10.0), st.integers(-128, 127))
def test_step_of_quantized_logits_is_found(seed: int, step: float, zero_point: int) -> None:
    stored = np.random.default_rng(seed).integers(-128, 128, 4000)
    values = ((stored - zero_point) * np.float32(step)).astype(np.float32)
    assert lattice_step([values]) == pytest.approx(step, rel=1e-3)


def test_float_logits_have_no_step() -> None:
    assert lattice_step(logits(0)) is None
    assert lattice_step([np.zeros(10, np.float32)]) is None
