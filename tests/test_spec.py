"""Rows and models as text: exact round trips, errors that name the token, the papers' scaling."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import branches, families
from edgecnn.block import ACTIVATIONS, FLAGS, KINDS, TOKENS, Block, parse_rows
from edgecnn.errors import SpecError
from edgecnn.spec import (
    Conventions,
    ModelSpec,
    parse_name,
    round_channels,
    scaled_name,
)

ZOO = tuple(families.all().values())
B0 = families.get("efficientnet_b0")


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    kind_name = draw(st.sampled_from(sorted(KINDS)))
    kind = KINDS[kind_name]
    values = {}
    for name in kind.required:
        values[name] = draw(_values(name, kind_name))
    for name in kind.optional[: draw(st.integers(0, 1))]:
        values[name] = draw(_values(name, kind_name))
    flags = draw(st.sets(st.sampled_from(kind.flags))) if kind.flags else set()
    if kind_name == "uib" and not values["kernel"] and not values["start_kernel"]:
        values["stride"] = 1
    return Block(kind_name, flags=tuple(sorted(flags, key=FLAGS.index)), **values)


@st.composite
def steps(draw: st.DrawFn) -> branches.Step:
    pool = draw(st.sampled_from(["", "max", "avg"]))
    channels = 0 if pool else draw(st.integers(1, 512))
    size = draw(st.integers(1, 9))
    if not pool and draw(st.booleans()):
        return branches.Step(channels, size, size + 1, False, None)
    padding = draw(st.none() | st.integers(0, 3))
    return branches.Step(channels, size, size, draw(st.booleans()), padding, pool)


BRANCHES = st.lists(
    st.lists(st.lists(steps(), min_size=1, max_size=2).map(tuple), min_size=1, max_size=3)
    .map(tuple)
    .map(branches.written),
    min_size=1,
    max_size=4,
).map(tuple)


def _values(name: str, kind: str) -> st.SearchStrategy:
    if name == "activation":
        return st.sampled_from(ACTIVATIONS)
    if name == "branches":
        return BRANCHES
    token = TOKENS[name]
    if token.type is int:
        low = 1 if name == "kernel" and kind != "uib" else token.low
        return st.integers(int(low), int(token.high))
    return st.floats(token.low, token.high, allow_nan=False)


@given(blocks())
def test_a_row_survives_its_text(block: Block) -> None:
    text = str(block)
    assert Block.parse(text) == block
    assert str(Block.parse(text)) == text


@pytest.mark.parametrize("text", sorted({str(b) for spec in ZOO for b in spec.blocks}))
def test_rows_of_the_zoo_are_canonical(text: str) -> None:
    assert str(Block.parse(text)) == text


def test_tokens_may_stand_in_any_order() -> None:
    block = Block.parse("mbconv_swish_c24_e6_s2_k3_r2_se0.25")
    assert str(block) == "mbconv_r2_k3_s2_e6_c24_se0.25_swish"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mbconvv_r1_k3_s1_e1_c16_relu", "mbconvv"),
        ("mbconv_r1_k3_s1_e1_c16_relu_q9", "q9"),
        ("mbconv_r1_k3_s1_e1_c16_relu7", "relu7"),
        ("mbconv_r1_r2_k3_s1_e1_c16_relu", "r2"),
        ("mbconv_k3_s1_e1_c16_relu", "repeats"),
        ("mbconv_r1_k3_s1_e1_c16", "activation"),
        ("mbconv_r0_k3_s1_e1_c16_relu", "repeats"),
        ("mbconv_r1.5_k3_s1_e1_c16_relu", "r1.5"),
        ("mbconv_r1_k0_s1_e1_c16_relu", "kernel"),
        ("mbconv_r1_k3_s1_e1_c16_se0.25_hse0.25_relu", "not both"),
        ("mbconv_r1_k3_s1_e1_c16_relu_bias", "bias"),
        ("mbconv_r1_k3_s1_e1_c16_relu_noskip_noskip", "noskip"),
        ("uib_r1_a0_k0_s2_e4_c96_relu", "depthwise kernel"),
        ("pool_c8", "c8"),
        ("mixed_s1_64y1_relu", "64y1"),
        ("mixed_s1_64x1.96x1x_relu", "96x1x"),
        ("mixed_s1_64x3x3_relu", "is written '64x3'"),
        ("mixed_s1_relu", "lacks branches"),
        ("mixed_s1_64x1x7s_relu", "only square"),
        ("mixed_s1_64x0_relu", "kernel of '64x0'"),
        ("conv_r1_k3_s1_c8_relu_64x1", "64x1"),
        ("conv_r1_k3_s1_c8_g0_relu", "groups"),
        ("maxpool_k3_s2_p32", "padding"),
        ("linear", "channels"),
        ("", "unknown block kind"),
    ],
)
def test_a_wrong_row_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(SpecError, match=named):
        Block.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_row_or_a_spec_error(text: str) -> None:
    try:
        block = Block.parse(text)
    except SpecError:
        return
    assert Block.parse(str(block)) == block


def test_a_field_that_the_kind_does_not_have_is_refused() -> None:
    with pytest.raises(SpecError, match="expand"):
        Block("conv", 8, kernel=3, expand=6.0, activation="relu")


@given(
    st.lists(blocks(), max_size=6),
    st.integers(8, 4096),
    st.floats(1e-9, 0.5),
    st.sampled_from(["same", "symmetric"]),
    st.floats(0.01, 1.0),
    st.tuples(*[st.floats(0.1, 255)] * 3),
    st.integers(1, 64),
)
def test_a_model_survives_its_text(rows, resolution, eps, padding, crop, std, divisor) -> None:
    conventions = Conventions(padding, eps, std=std, crop_pct=crop)
    spec = ModelSpec(
        "m@w0.5",
        "f",
        resolution,
        (*rows, Block("linear", 10)),
        conventions,
        width_divisor=divisor,
    )
    assert ModelSpec.parse(str(spec)) == spec


@pytest.mark.parametrize("spec", ZOO, ids=lambda spec: spec.name)
def test_models_of_the_zoo_survive_their_text(spec: ModelSpec) -> None:
    assert ModelSpec.parse(str(spec)) == spec


def test_a_gray_model_survives_its_text_and_rgb_needs_no_line() -> None:
    gray = replace(
        B0,
        input_channels=1,
        conventions=replace(B0.conventions, mean=(33.3,), std=(78.6,)),
    )
    assert ModelSpec.parse(str(gray)) == gray
    assert "input_channels 1" in str(gray)
    assert "input_channels" not in str(B0)


def test_a_mean_for_each_input_channel() -> None:
    with pytest.raises(SpecError, match="one value for each"):
        replace(B0, input_channels=1)
    with pytest.raises(SpecError, match=r"input_channels is 2; allowed: 3 .*1"):
        replace(B0, input_channels=2)


def test_a_wrong_model_text_names_line_and_token() -> None:
    text = str(B0)
    with pytest.raises(SpecError, match=r"line 14: .*'k9z'"):
        ModelSpec.parse(text.replace("mbconv_r1_k3", "mbconv_r1_k9z"))
    with pytest.raises(SpecError, match=r"line 3: key 'resulotion'"):
        ModelSpec.parse(text.replace("resolution", "resulotion"))
    with pytest.raises(SpecError, match="lacks resolution"):
        ModelSpec.parse("\n".join(x for x in text.splitlines() if not x.startswith("resolution")))
    with pytest.raises(SpecError, match="resolution '22x4'"):
        ModelSpec.parse(text.replace("resolution 224", "resolution 22x4"))
    with pytest.raises(SpecError, match="last row must be a linear row"):
        ModelSpec.parse(text.replace("block linear_c1000\n", ""))


@pytest.mark.parametrize(
    ("channels", "rounded"),
    # 12 keeps 8 / 12 < 90 %, thus up; 18 keeps 16 / 18 = 89 %, up; 17.6 keeps 91 %, down
    [(8, 8), (3, 8), (12, 16), (18, 24), (17.6, 16), (20, 24), (35.2, 32), (52.8, 56)],
)
def test_channels_round_to_8_and_keep_90_percent(channels: float, rounded: int) -> None:
    assert round_channels(channels) == rounded


@given(st.floats(1, 5000))
def test_rounding_never_loses_a_tenth(channels: float) -> None:
    rounded = round_channels(channels)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * channels
    assert abs(rounded - channels) <= 8


def test_rounding_without_the_rule_and_plain_multiplication() -> None:
    assert round_channels(19.2, floor=0.0) == 16  # EfficientNetV2-B3's first stage
    assert round_channels(19.2) == 24
    assert round_channels(19.9, divisor=1) == 19
    assert round_channels(2.0, divisor=1) == 8


def test_depth_rounds_up_and_flags_exempt() -> None:
    spec = replace(
        B0,
        name="m",
        width_floor=0.9,
        blocks=parse_rows(
            "stem_k3_s2_c32_relu_fixw mbconv_r10_k3_s1_e1_c16_relu "
            "mbconv_r1_k3_s1_e1_c16_relu_fixd head_c1280_relu_upw pool linear_c10"
        ),
    )
    scaled = spec.scaled(width=0.5, depth=1.1)
    assert [str(b) for b in scaled.blocks] == [
        "stem_k3_s2_c32_relu_fixw",
        "mbconv_r11_k3_s1_e1_c8_relu",  # 10 x 1.1 is 11.000000000000002 in binary
        "mbconv_r1_k3_s1_e1_c8_relu_fixd",
        "head_c1280_relu_upw",
        "pool",
        "linear_c10",
    ]
    assert spec.scaled(width=2).blocks[3].channels == 2560
    assert scaled.name == "m@w0.5,d1.1"


def test_scaling_by_one_changes_nothing() -> None:
    for spec in ZOO:
        assert spec.scaled() is spec


@given(
    st.floats(0.05, 4).map(lambda w: float(f"{w:g}")),
    st.floats(0.05, 4).map(lambda d: float(f"{d:g}")),
    st.one_of(st.none(), st.integers(8, 4096)),
)
def test_names_decode(width: float, depth: float, resolution: int | None) -> None:
    name = scaled_name("base", width, depth, resolution)
    assert parse_name(name) == ("base", width, depth, resolution)


@pytest.mark.parametrize("suffix", ["", "x2", "w", "w0.5,w0.5", "w0.5;r3", "r2.5", "w-1", "w0,5"])
def test_a_wrong_scaling_is_refused(suffix: str) -> None:
    with pytest.raises(SpecError, match="mobilenet_v2@"):
        families.get(f"mobilenet_v2@{suffix}")


def test_scaling_twice_in_one_dimension_is_refused() -> None:
    half = families.get("mobilenet_v2@w0.5")
    with pytest.raises(SpecError, match="scaled already"):
        half.scaled(width=0.5)
    assert half.scaled(resolution=160).name == "mobilenet_v2@w0.5,r160"


def test_another_number_of_classes_has_no_checkpoint() -> None:
    spec = families.get("mobilenet_v2").with_classes(10)
    assert spec.num_classes == 10
    assert spec.checkpoints == ()
    assert spec.published is None


def test_impossible_values_are_refused() -> None:
    for bad in (
        {"padding": "valid"},
        {"crop_pct": 0.0},
        {"bn_eps": 0.0},
        {"std": (0, 1, 1)},
        {"mean": (1.0,)},
    ):
        with pytest.raises(SpecError):
            Conventions(**bad)
    with pytest.raises(SpecError, match="resolution"):
        replace(B0, resolution=4)
    with pytest.raises(SpecError, match="width"):
        B0.scaled(width=0)
