"""Search spaces: what they hold, coding there and back, mistakes in files."""

from itertools import islice, product
from math import prod
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import families, layers, workload
from edgecnn.errors import SpecError
from edgecnn.space import Space, names
from edgecnn.spec import ModelSpec

SPACES = {name: Space.load(name) for name in names()}
MNASNET = SPACES["mnasnet"]
V2 = families.get("mobilenet_v2")

SMALL = """
family = "test"
resolution = [32, 64]
rows = [
  "stem_k3_s2_c8_relu",
  "{conv}_r1_{kernel}_s1_{channels:c8|c16}_{se}_relu",
  "{conv}_r1_k3_s1_c16_relu_{skip:|noskip}",
  "pool",
  "linear_c10",
]
[choices]
conv = ["fused_e1", "mbconv_e1", "mbconv_e6"]
kernel = ["k3", "k5"]
se = ["", "se0.25"]
[excludes]
fused_e1 = ["se"]
"""
small = Space.parse(SMALL, "small")

seeds = st.integers(0, 2**32).map(Random)


@pytest.mark.parametrize(
    ("space", "model"),
    [
        ("mnasnet", "mnasnet_a1"),
        ("mnasnet", "mnasnet_b1"),
        ("efficientnet", "efficientnet_b0"),
        ("mobilenetv3", "mobilenet_v3_large"),
    ],
)
def test_published_networks_lie_inside(space: str, model: str) -> None:
    known = families.get(model)
    decoded = SPACES[space].decode(SPACES[space].encode(known))
    assert decoded.blocks == known.blocks
    assert decoded.resolution == known.resolution
    assert decoded.conventions == known.conventions
    assert decoded.family == known.family
    assert workload.from_spec(decoded).macs == workload.from_spec(known).macs


def test_the_choices_that_make_mnasnet_a1() -> None:
    """Figure 7 (a) of the paper: three layers of MBConv3 5x5, SE, with 40 channels."""
    chosen = MNASNET.encode(families.get("mnasnet_a1"))
    block3 = {name: option for name, option in chosen.items() if name.startswith("block3.")}
    assert block3 == {
        "block3.conv": "mbconv_e3",
        "block3.layers": "r3",
        "block3.kernel": "k5",
        "block3.channels": "c40",
        "block3.se": "se0.25",
        "block3.skip": "",
    }


def test_mnasnets_options_are_relative_to_mobilenet_v2() -> None:
    """Section 4.1: channels 0.75, 1, 1.25; layers -1, 0, +1; two kernels; strides as they are."""
    stages = [block for block in V2.blocks if block.kind == "mbconv"]
    for stage, row in zip(stages, MNASNET.rows[1:8], strict=True):
        blocks = list(row.variants.values())
        low, same, high = sorted({block.channels for block in blocks})
        assert same == stage.channels
        assert low / same == pytest.approx(0.75, abs=0.09)
        assert high / same == pytest.approx(1.25, abs=0.09)
        near = {stage.repeats - 1, stage.repeats, stage.repeats + 1} - {0}
        assert {block.repeats for block in blocks} == near
        assert {block.kernel for block in blocks} == {3, 5}
        assert {block.se for block in blocks} == {0, 0.25}
        assert {block.stride for block in blocks} == {stage.stride}
        assert {(b.kind, b.expand) for b in blocks} == {
            ("fused", 1),
            ("mbconv", 1),
            ("mbconv", 3),
            ("mbconv", 6),
        }


def test_the_size_of_mnasnets_space() -> None:
    """By hand: (conv 1 without, 3 with the choice of se) x kernel x skip x channels x layers."""
    block = (1 + 3 * 2) * 2 * 2 * 3
    assert MNASNET.size() == (block * 3) ** 5 * (block * 2) ** 2


def test_size_is_the_number_of_different_networks() -> None:
    every = {small.decode(choices) for choices in _all(small)}
    assert len(every) == small.size() == 2 * ((1 + 2 * 2) * 2 * 2) * (3 * 2)
    assert len({spec.name for spec in every}) == small.size()


def _all(space: Space) -> list[dict[str, str]]:
    """Every network, by trying all combinations of all parameters."""
    found = []
    parameters = space.parameters()
    for options in product(*(options for _, options in parameters)):
        choices = dict(zip([name for name, _ in parameters], options, strict=True))
        if choices["block1.conv"] == "fused_e1":
            del choices["block1.se"]
        found.append(choices)
    return list({tuple(sorted(choices.items())): choices for choices in found}.values())


@pytest.mark.parametrize("space", [*SPACES.values(), small], ids=lambda space: space.name)
@given(random=seeds)
@settings(max_examples=30, deadline=None)
def test_coding_there_and_back(space: Space, random: Random) -> None:
    choices = space.sample(random)
    spec = space.decode(choices)
    assert space.encode(spec) == choices
    assert space.decode(space.encode(spec)) == spec
    assert ModelSpec.parse(str(spec)) == spec
    assert spec in space
    assert space.encode(spec.with_classes(7)) == choices
    assert layers.lower(spec)


@pytest.mark.parametrize("space", [*SPACES.values(), small], ids=lambda space: space.name)
@given(random=seeds)
@settings(max_examples=10, deadline=None)
def test_mutation_takes_another_option_in_one_choice(space: Space, random: Random) -> None:
    choices = space.sample(random)
    mutated = space.mutate(choices, random)
    assert list(mutated) == [name for name, _ in space.parameters() if name in mutated]
    assert space.decode(mutated) != space.decode(choices)
    shared = choices.keys() & mutated.keys()
    assert len([name for name in shared if choices[name] != mutated[name]]) == 1
    assert mutated in list(space.neighbours(choices))


def test_neighbours_are_all_that_differ_in_one_choice() -> None:
    every = _all(small)
    for choices in islice(every, 0, None, 7):
        expected = [
            other
            for other in every
            if sum(choices[name] != other[name] for name in choices.keys() & other.keys()) == 1
        ]
        found = list(small.neighbours(choices))
        assert sorted(map(sorted, map(dict.items, found))) == sorted(
            map(sorted, map(dict.items, expected))
        )
        assert all(choices in list(small.neighbours(other)) for other in found)


def test_what_optuna_would_be_asked() -> None:
    asked: list[str] = []

    def first(name: str, options: tuple[str, ...]) -> str:
        asked.append(name)
        return options[0]

    choices = small.choose(first)
    assert asked == ["resolution", "block1.conv", "block1.kernel", "block1.channels",
                     "block2.conv", "block2.skip"]  # fmt: skip
    assert small.decode(choices).blocks == small.first.blocks
    assert small.parameters()[0] == ("resolution", ("32", "64"))
    assert ("block1.se", ("", "se0.25")) in small.parameters()


def test_sampling_is_by_seed() -> None:
    assert MNASNET.sample(Random(3)) == MNASNET.sample(Random(3))
    assert MNASNET.sample(Random(3)) != MNASNET.sample(Random(4))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"block1.kernel": "k7"}, r"block1\.kernel is 'k7'; allowed: 'k3', 'k5'"),
        ({"block1.kernel": None}, r"block1\.kernel is missing"),
        ({"block9.kernel": "k3"}, r"no choice 'block9\.kernel'"),
        ({"block1.conv": "fused_e1"}, r"block1\.se is given beside fused_e1"),
        ({"resolution": "48"}, r"resolution is '48'"),
    ],
)
def test_choices_that_do_not_fit(change: dict[str, str | None], named: str) -> None:
    choices = {"resolution": "32", "block1.conv": "mbconv_e6", "block1.kernel": "k3",
               "block1.channels": "c8", "block1.se": "", "block2.conv": "fused_e1",
               "block2.skip": ""}  # fmt: skip
    assert small.decode(choices)
    changed = {name: option for name, option in (choices | change).items() if option is not None}
    with pytest.raises(SpecError, match=named):
        small.decode(changed)
    with pytest.raises(SpecError, match=named):
        small.mutate(changed, Random(0))


def test_networks_outside() -> None:
    a1 = families.get("mnasnet_a1")
    assert V2 not in MNASNET
    with pytest.raises(SpecError, match=r"mobilenet_v2: row 0, stem_k3_s2_c32_relu6,.*nearest"):
        MNASNET.encode(V2)
    with pytest.raises(SpecError, match="12 rows"):
        MNASNET.encode(families.get("mobilenet_v3_small"))
    with pytest.raises(SpecError, match="resolution, 192"):
        MNASNET.encode(a1.scaled(resolution=192))
    assert a1.scaled(resolution=192) in MNASNET.with_resolution(160, 192)


def test_other_resolutions() -> None:
    one, two = MNASNET.with_resolution(96), MNASNET.with_resolution(128, 160)
    assert one.size() * 2 == two.size() == 2 * MNASNET.size()
    assert one.decode(one.sample(Random(0))).resolution == 96
    assert two.parameters()[0] == ("resolution", ("128", "160"))
    for wrong in ((), (96, 96), (4,)):
        with pytest.raises(SpecError, match="resolution"):
            MNASNET.with_resolution(*wrong)


@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ('family = "test"', "family =", 2, "TOML"),
        ('family = "test"', "family = 3", 2, "3 in family"),
        ('family = "test"', 'family = "test"\nfamiliy = "x"', 3, "'familiy'"),
        ('family = "test"', 'family = "test"\npadding = "odd"', 3, "'odd'"),
        ('family = "test"', 'family = "test"\ncrop_pct = 3', 3, "crop_pct is 3"),
        ('family = "test"', 'family = "test"\nmean = [1, 2]', 3, "mean"),
        ("[32, 64]", "[32, 32]", 3, "twice"),
        ("[32, 64]", "[32, 64.5]", 3, "64.5"),
        ("[32, 64]", "7", 3, "7"),
        ("[32, 64]", "[]", 3, "at least one"),
        ("{kernel}", "{kernels}", 6, "'kernels'"),
        ("{kernel}", "{kernel", 6, "'{kernel'"),
        ("{kernel}", "k{kernel}", 6, "'k{kernel}'"),
        ("{kernel}", "{conv}", 6, "'conv' stands twice"),
        ("{channels:c8|c16}", "{channels:c8}", 6, "at least two"),
        ("{channels:c8|c16}", "{channels:c8|c8}", 6, "'c8' stands there twice"),
        ("{channels:c8|c16}", "{channels:c8|d16}", 6, "'d16'"),
        ("{channels:c8|c16}", "{channels:c8|c08}", 6, "twice"),
        ("{channels:c8|c16}", "{channels:c8|c0}", 6, "channels of a fused row is 0"),
        ("stem_k3", "stemm_k3", 5, "'stemm'"),
        ('"linear_c10"', '"head_c10_relu"', 4, "linear"),
        ('"mbconv_e6"', '"mbconvv_e6"', 12, "'mbconvv'"),
        ('"k5"', '"k5", "k4x"', 13, "'k4x'"),
        ('"k5"', '"k3"', 13, "'k3' stands there twice"),
        ('"k5"', "5", 13, "5 in kernel"),
        ('["", "se0.25"]', '["", "se0.25"]\nact = ["relu", "swish"]', 15, "'act'"),
        ("kernel = [", "Kernel = [", 13, "'Kernel'"),
        ('fused_e1 = ["se"]', 'fused_e2 = ["se"]', 16, "'fused_e2'"),
        ('fused_e1 = ["se"]', 'fused_e1 = ["see"]', 16, "'see'"),
        ('fused_e1 = ["se"]', '"se0.25" = ["conv"]', 6, "left of it"),
    ],
)
def test_mistakes_name_line_and_token(old: str, new: str, line: int, named: str) -> None:
    assert old in SMALL
    with pytest.raises(SpecError) as caught:
        Space.parse(SMALL.replace(old, new, 1), "small", "small.toml")
    message = str(caught.value)
    assert message.startswith("small.toml")
    assert f"line {line}" in message
    assert named in message


@pytest.mark.parametrize("key", ["family", "resolution", "rows"])
def test_what_a_file_has_to_say(key: str) -> None:
    text = SMALL.replace(f"\n{key} =", f"\n# {key}\nsource =", 1)
    with pytest.raises(SpecError, match=f"lacks '{key}'"):
        Space.parse(text, "small")


def test_a_space_without_choices() -> None:
    rows = '["stem_k3_s2_c8_relu", "pool", "linear_c10"]'
    with pytest.raises(SpecError, match="nothing to search"):
        Space.parse(f'family = "x"\nresolution = 32\nrows = {rows}', "x")


def test_a_row_with_too_many_variants() -> None:
    many = "|".join(f"c{n}" for n in range(8, 8 + 10_001))
    with pytest.raises(SpecError, match=r"line 6: .* variants; allowed: 10000"):
        Space.parse(SMALL.replace("c8|c16", many), "small")


@pytest.mark.parametrize("name", ["a b", "a@w2", "", "-x"])
def test_a_name_that_networks_cannot_have(name: str) -> None:
    with pytest.raises(SpecError, match="file name"):
        Space.parse(SMALL, name)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_spec_error_or_a_space(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(SMALL)))
    length = data.draw(st.integers(0, 6))
    piece = data.draw(st.text('{}|:_"[]=, \n#csrkx0123.-', max_size=4))
    try:
        space = Space.parse(SMALL[:place] + piece + SMALL[place + length :], "small")
    except SpecError:
        return
    spec = space.decode(space.sample(Random(0)))
    assert space.decode(space.encode(spec)) == spec


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    assert Space.load(path) == Space.load(str(path))
    assert Space.load(path).decode(small.sample(Random(1))).name.startswith("mine-")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match=r"mine\.toml"):
        Space.load(path)
    with pytest.raises(SpecError, match=r"gone\.toml"):
        Space.load(tmp_path / "gone.toml")
    with pytest.raises(SpecError, match="did you mean mnasnet"):
        Space.load("mnasnett")


def test_every_shipped_space_says_where_it_comes_from() -> None:
    assert set(SPACES) == {"efficientnet", "mnasnet", "mobilenetv3"}
    for space in SPACES.values():
        assert "arXiv" in space.source
        assert prod(len(row.variants) for row in space.rows) == space.size()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPACES))
def test_networks_run_in_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    from edgecnn import network

    random = Random(7)
    space = SPACES[name].with_resolution(64)
    for _ in range(4):
        spec = space.decode(space.sample(random)).with_classes(5)
        module = network.build(spec).eval()
        with torch.no_grad():
            assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
        counted = sum(p.numel() for p in module.parameters())
        assert counted == workload.from_spec(spec).params
