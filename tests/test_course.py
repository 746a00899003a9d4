"""The figures that the course on convolutional networks tells, computed and not looked up."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import families, workload
from edgecnn.errors import SpecError
from edgecnn.families import efficientnet_v2
from edgecnn.spec import Block, Conventions, ModelSpec, parse_rows
from edgecnn.workload import Operator, Workload


def _work(rows: str, resolution: int = 32, channels: int = 3) -> Workload:
    mean = (0.0,) * channels
    conventions = Conventions(mean=mean, std=(1.0,) * channels)
    return workload.from_spec(
        ModelSpec(
            "course",
            "course",
            resolution,
            parse_rows(rows),
            conventions,
            input_channels=channels,
        )
    )


def _find(found: Workload, op: str) -> Operator:
    return next(o for o in found.operators if o.op == op)


# ------------------------------------------------------------------------------ output size, cost


@settings(deadline=None)
@given(
    size=st.integers(8, 64),
    kernel=st.integers(1, 11),
    stride=st.integers(1, 4),
    padding=st.integers(0, 5),
    dilation=st.integers(1, 4),
)
def test_output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """O = (I - F + Pstart + Pend) / S + 1; with dilation F = d (k - 1) + 1; windows are counted."""
    reach = dilation * (kernel - 1) + 1
    starts = [at for at in range(-padding, size + padding) if at + reach <= size + padding]
    expected = len(starts[::stride])
    row = str(Block("conv", 1, 1, kernel, stride, dilation=dilation, padding=padding))
    rows = f"{row} pool linear_c2"
    if not expected:
        with pytest.raises(SpecError, match="too small"):
            _work(rows, size)
        return
    assert _find(_work(rows, size), "conv").out_shape == (1, expected, expected)
    assert expected == (size - reach + 2 * padding) // stride + 1


@settings(deadline=None)
@given(
    size=st.integers(8, 64),
    kernel=st.integers(2, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 1),
    is_ceil=st.booleans(),
)
def test_output_size_of_pooling(
    size: int, kernel: int, stride: int, padding: int, is_ceil: bool
) -> None:
    """As a convolution's; rounded up, a last window may reach over the edge if it starts inside."""
    free = size - kernel + 2 * padding
    expected = free // stride + 1
    if is_ceil and ceil(free / stride) * stride < size + padding:
        expected = ceil(free / stride) + 1
    row = f"maxpool_k{kernel}_s{stride}_p{padding}{'_ceil' * is_ceil}"
    pool = _find(_work(f"{row} pool linear_c2", size), "max_pool")
    assert pool.out_shape == (3, expected, expected)
    assert pool.params == pool.macs == 0


def test_a_dilated_convolution_sees_more_for_the_same_cost() -> None:
    dense, dilated = (
        _find(_work(f"conv_r1_k3_s1_c8{d}_relu pool linear_c2"), "conv") for d in ("", "_d2")
    )
    assert (dense.macs, dense.params) == (dilated.macs, dilated.params)
    assert dense.out_shape == dilated.out_shape
    assert (dense.receptive_field, dilated.receptive_field) == (3, 5)


def test_parameters_of_each_kind_of_layer() -> None:
    """Convolution: (F F Cin + 1) K; pooling: none; fully connected: (Cin + 1) Cout."""
    found = _work("conv_r1_k5_s1_c6_tanh_p0_bias maxpool_k2_s2_p0 linear_c10", 32)
    conv, pool, linear = (_find(found, op) for op in ("conv", "max_pool", "linear"))
    assert conv.params == (5 * 5 * 3 + 1) * 6
    assert pool.params == 0
    assert linear.params == (14 * 14 * 6 + 1) * 10


def test_a_group_reads_its_own_channels() -> None:
    whole, grouped = (
        _work(f"stem_k1_s1_c32_none conv_r1_k3_s1_c64{g}_none pool linear_c2").operators[2]
        for g in ("", "_g4")
    )
    assert whole.macs == 4 * grouped.macs
    assert whole.params == 4 * grouped.params


# ---------------------------------------------------------------------------------- factorization


def _stack(kernels: Sequence[int], channels: int = 64) -> tuple[int, int]:
    """Parameters of convolutions in a row, and what the last of them sees."""
    rows = " ".join(f"conv_r1_k{k}_s1_c{channels}_none" for k in kernels)
    found = _work(f"stem_k1_s1_c{channels}_none {rows} pool linear_c2")
    convolutions = [o for o in found.operators if o.op == "conv"][1:]
    return sum(o.params for o in convolutions), convolutions[-1].receptive_field


@pytest.mark.parametrize(("size", "count", "saved_percent"), [(5, 2, 28), (7, 3, 45), (11, 5, 63)])
def test_small_filters_see_as_far_for_less(size: int, count: int, saved_percent: int) -> None:
    """VGG (arXiv 1409.1556, section 2.3) has the 7x7 the other way round: 81 % more."""
    large, small = _stack([size]), _stack([3] * count)
    assert large[1] == small[1] == size
    assert round(100 * (1 - small[0] / large[0])) == saved_percent


def test_a_strip_across_and_one_down_cost_two_sevenths_of_the_square() -> None:
    """Inception v3 (arXiv 1512.00567, section 3.2): n x n as 1 x n and n x 1."""
    square = _work("stem_k1_s1_c64_none mixed_s1_64x7_none pool linear_c2", 17)
    strips = _work("stem_k1_s1_c64_none mixed_s1_64x1x7.64x7x1_none pool linear_c2", 17)
    costs = [sum(o.macs for o in w.operators if o.area > 1) for w in (square, strips)]
    assert costs[1] / costs[0] == pytest.approx(2 / 7)
    ends = [_find(w, "concat").receptive_field for w in (square, strips)]
    assert ends[0] == 7
    assert ends[1] == 13  # the side of a square; strips see 7 across and 7 down


def test_googlenets_bottleneck() -> None:
    """480 maps of 14 x 14 to 48 by 5x5: 112.9 M; by way of 16 maps 5.3 M (arXiv 1409.4842)."""
    before = "stem_k1_s1_c480_none"
    direct, squeezed = (
        sum(o.macs for o in _work(f"{before} {row} pool linear_c2", 14).operators[2:-1])
        for row in ("mixed_s1_48x5_none", "mixed_s1_16x1.48x5_none")
    )
    assert round(direct / 1e6, 1) == 112.9
    assert round(squeezed / 1e6, 1) == 5.3


# ------------------------------------------------------------------------------------------ ResNet

PAPER_G = {"resnet18": 1.8, "resnet34": 3.6, "resnet50": 3.8, "resnet101": 7.6, "resnet152": 11.3}
"""Table 1 of arXiv 1512.03385, "FLOPs", in billions: multiply-adds."""


def _as_in_the_paper(spec: ModelSpec) -> ModelSpec:
    """With the stride of a bottleneck in its first convolution."""
    blocks = tuple(replace(b, flags=("first",)) if b.kind == "bottle" else b for b in spec.blocks)
    return replace(spec, blocks=blocks)


@pytest.mark.parametrize("name", PAPER_G)
def test_resnets_cost_what_the_paper_says(name: str) -> None:
    """To a tenth: ResNet-34's 3.66 and ResNet-50's 3.86 are cut off there, not rounded."""
    found = workload.from_spec(_as_in_the_paper(families.get(name)))
    assert (
        0 <= found.macs / 1e9 - PAPER_G[name] < 0.1 or round(found.macs / 1e9, 1) == PAPER_G[name]
    )


def test_why_resnet_50_is_3_8_in_the_paper_and_4_1_in_torchvision() -> None:
    """The stride in the first 1x1 in place of the 3x3: three units then cost less, by algebra.

    Where the stride is in the 3x3, the 1x1 before it runs on four times the pixels. The projections
    are part of both figures: without them the paper's network would be at 3.5.
    """
    ours = families.get("resnet50")
    late, early = (workload.from_spec(s).macs for s in (ours, _as_in_the_paper(ours)))
    reduced = [
        (side * side - (side // 2) ** 2) * before * inner
        for side, before, inner in ((56, 256, 128), (28, 512, 256), (14, 1024, 512))
    ]
    assert late - early == sum(reduced)
    assert round(late / 1e9, 1) == 4.1
    assert int(early / 1e8) / 10 == 3.8
    projections = [
        o.macs
        for o in workload.from_spec(_as_in_the_paper(ours)).operators
        if o.op == "conv" and ".shortcut." in o.name
    ]
    assert len(projections) == 4
    assert round((early - sum(projections)) / 1e9, 1) == 3.5


def test_the_note_on_se_resnet_holds() -> None:
    """3.87 in the paper, with its ResNet-50 at 3.86 (table 2): the stride, and nothing else."""
    found = workload.from_spec(_as_in_the_paper(families.get("seresnet50")))
    plain = workload.from_spec(_as_in_the_paper(families.get("resnet50")))
    assert round(found.macs / 1e9, 2) == pytest.approx(3.87, abs=0.011)
    assert round(plain.macs / 1e9, 2) == 3.86


# ------------------------------------------------------------------------ ConvNeXt, EfficientNetV2


def test_convnext_tiny() -> None:
    found = workload.from_spec(families.get("convnext_tiny"))
    assert round(found.params / 1e6, 1) == 28.6
    assert round(found.macs / 1e9, 1) == 4.5


def test_why_efficientnet_v2_s_has_24_million_parameters_in_the_paper() -> None:
    """arXiv 2104.00298v1 has 272 channels in the last stage and 1792 in the head.

    The released network, with weights, has 256 and 1280: 21.5 M, and 8.4 G multiply-adds.
    """
    released = families.get("efficientnet_v2_s")
    blocks = list(released.blocks)
    blocks[-4] = replace(blocks[-4], channels=272)
    blocks[-3] = replace(blocks[-3], channels=1792)
    found = workload.from_spec(replace(released, blocks=tuple(blocks)))
    assert round(found.params / 1e6) == 24
    assert round(workload.from_spec(released).params / 1e6, 1) == 21.5


ABLATION = {
    "efficientnet_v2_fused_none": (19.3, 4.5),
    "efficientnet_v2_fused_1_3": (20.0, 7.5),
    "efficientnet_v2_fused_1_5": (43.4, 21.3),
    "efficientnet_v2_fused_1_7": (132.0, 34.4),
}
"""arXiv 2104.00298, table 3: parameters in millions, FLOPs in billions."""


@pytest.mark.parametrize("name", ABLATION)
def test_the_ablation(name: str) -> None:
    """See the notes in the family's file: rows are not published."""
    params_m, flops_g = ABLATION[name]
    found = workload.from_spec(families.get(name))
    normalized = sum(prod(o.out_shape) for o in found.operators if o.op == "batch_norm")
    assert found.params / 1e6 == pytest.approx(params_m, rel=0.005)
    assert (found.macs + 2 * normalized) / 1e9 == pytest.approx(flops_g, rel=0.027)


def test_fusing_trades_parameters_for_fewer_operators() -> None:
    found = [workload.from_spec(spec) for spec in efficientnet_v2.ABLATION]
    assert [w.params for w in found] == sorted(w.params for w in found)
    depthwise = [sum(o.op == "depthwise_conv" for o in w.operators) for w in found]
    assert depthwise == [32, 22, 10, 0]


def test_efficientnet_b4_is_the_unfused_one() -> None:
    unfused = families.get("efficientnet_v2_fused_none")
    assert unfused.blocks == families.get("efficientnet_b4").blocks


# ------------------------------------------------------------------------------------------ LeNets


def test_lenet_5_by_algebra() -> None:
    """With the paper's table of 60 connected pairs of maps it would have its 60,000 parameters."""
    found = workload.from_spec(families.get("lenet5"))
    by_row = [
        (5 * 5 * 1 + 1) * 6, 2 * 6, (5 * 5 * 6 + 1) * 16, 2 * 16, (5 * 5 * 16 + 1) * 120,
        (120 + 1) * 84, (84 + 1) * 10,
    ]  # fmt: skip
    assert found.params == sum(by_row)
    left_out = (6 * 16 - 60) * 25
    fixed = (84 + 1) * 10  # the output's distances are to fixed patterns
    assert found.params - left_out - fixed == 60_000


def test_the_paper_counts_lenet_5s_connections() -> None:
    """340,908: a bias and each subsampled pixel are connections, too."""
    found = {o.name: o for o in workload.from_spec(families.get("lenet5")).operators}
    c1, c3, c5 = (found[f"conv{i}.0.conv"] for i in (0, 2, 4))
    biases = sum(prod(o.out_shape) for o in (c1, c3, c5))
    table = 10 * 10 * (6 * 16 - 60) * 25
    subsampled = sum(5 * prod(found[f"subsample{i}.pool"].out_shape) for i in (1, 3))
    dense = found["dense5.linear"]
    rest = dense.macs + 84 + found["linear6.linear"].macs
    assert c1.macs + c3.macs - table + c5.macs + biases + subsampled + rest == 340_908


def test_lenet_1_has_2600_parameters_with_its_table() -> None:
    found = workload.from_spec(families.get("lenet1"))
    assert found.params - (4 * 12 - 20) * 25 == pytest.approx(2600, rel=0.01)


def test_a_perceptron_sees_everything() -> None:
    found = workload.from_spec(families.get("perceptron"))
    assert found.params == (28 * 28 + 1) * 10
    assert found.operators[-1].receptive_field == 28


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("mlp_300", (300,)), ("mlp_1000", (1000,)), ("mlp_300_100", (300, 100)),
     ("mlp_1000_150", (1000, 150))],
)  # fmt: skip
def test_perceptrons_of_layers_by_algebra(name: str, hidden: tuple[int, ...]) -> None:
    widths = (28 * 28, *hidden, 10)
    pairs = list(pairwise(widths))
    found = workload.from_spec(families.get(name))
    assert found.params == sum((a + 1) * b for a, b in pairs)
    assert found.macs == sum(a * b for a, b in pairs)


def test_the_neocognitrons_maps_are_the_papers() -> None:
    found = workload.from_spec(families.get("neocognitron"))
    maps = [o.out_shape for o in found.operators if o.op in ("conv", "avg_pool", "global_pool")]
    assert maps == [(24, size, size) for size in (16, 10, 8, 6, 2, 1)]


# --------------------------------------------------------------------------------- receptive fields


def test_receptive_fields_of_branches_are_the_widest() -> None:
    found = _work("mixed_s1_8x1_8x1.8x3_8x1.8x5_max3.8x1_relu pool linear_c2")
    assert _find(found, "concat").receptive_field == 5
    assert _find(found, "concat").out_shape == (32, 32, 32)


def test_vgg_16_sees_212_pixels() -> None:
    """By 1 + sum of (k - 1) times the strides before: 13 convolutions and 5 poolings."""
    field, jump = 1, 1
    for count in (2, 2, 3, 3, 3):
        field += 2 * count * jump
        field, jump = field + jump, 2 * jump
    found = workload.from_spec(families.get("vgg16"))
    last = [o for o in found.operators if o.op == "max_pool"][-1]
    assert (last.receptive_field, last.jump) == (field, jump) == (212, 32)
