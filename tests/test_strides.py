"""Networks for small pictures: which strides go, and that spaces and networks agree."""

from random import Random

import pytest

from edgecnn import families, strides
from edgecnn.errors import SpecError
from edgecnn.layers import lower
from edgecnn.space import Space
from edgecnn.space import names as spaces


@pytest.mark.parametrize(
    ("resolution", "stride"), [(224, 32), (128, 32), (127, 16), (64, 16), (32, 8), (16, 4), (4, 1)]
)
def test_as_few_strides_go_as_leave_a_map_of_four_pixels(resolution: int, stride: int) -> None:
    assert strides.suited([2, 1, 2, 2, 2, 1, 2], resolution) == stride
    assert strides.suited([3, 2, 2], 24) == 4  # 24 // 12 is too small, 24 // 4 is not


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small@w0.75,r160", "mnasnet_a1"])
def test_the_first_strides_go_and_the_rest_stays(name: str) -> None:
    spec = families.get(name)
    made = strides.with_output_stride(spec, 8)
    assert strides.output_stride(spec) == 32 and strides.output_stride(made) == 8
    assert made.name == f"{name.partition('@')[0]}-os8{''.join(name.partition('@')[1:])}"
    changed = [i for i, (a, b) in enumerate(zip(spec.blocks, made.blocks, strict=True)) if a != b]
    strided = [i for i, block in enumerate(spec.blocks) if block.stride > 1]
    assert changed == strided[:2]
    assert (made.accuracy, made.checkpoints) == (None, ())
    assert len(lower(made)) == len(lower(spec))
    assert strides.with_output_stride(spec, 32) is spec


def test_an_output_stride_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(SpecError, match=r"of 12 cannot be had; allowed: 1, 2, 4, 8, 16, 32"):
        strides.with_output_stride(families.get("mobilenet_v2"), 12)


@pytest.mark.parametrize("name", spaces())
def test_a_space_and_its_networks_drop_the_same_strides(name: str) -> None:
    space = Space.load(name).with_resolution(32)
    small = space.with_output_stride(space.suited_stride)
    assert (space.suited_stride, small.name, small.size()) == (8, f"{name}-os8", space.size())
    for seed in range(5):
        choices = space.sample(Random(seed))
        whole, made = space.decode(choices), small.decode(choices)
        assert made.blocks == strides.with_output_stride(whole, 8).blocks
        assert small.encode(made) == choices
        assert made.name.startswith(f"{name}-os8-")
    assert space.with_output_stride(32) is space
    assert strides.output_stride(small.first) == 8


def test_a_space_that_chooses_its_strides_is_left_alone() -> None:
    text = 'family = "x"\nresolution = 32\nrows = ["stem_k3_{s:s1|s2}_c8_relu", "linear_c10"]'
    with pytest.raises(SpecError, match="chooses its stride itself"):
        Space.parse(text, "free").with_output_stride(1)
