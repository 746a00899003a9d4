"""The contract survives its way through a file, and refuses what it cannot mean."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.contract import (
    Contract,
    Golden,
    InputContract,
    OutputContract,
    Parity,
    Quantization,
    Recipe,
    image_layout,
)
from edgecnn.errors import ArtifactError, UsageError

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
positive = st.floats(0.5, 300.0)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    imgsz = draw(st.integers(8, 512))
    labels = tuple(draw(st.lists(st.text(max_size=8), max_size=5)))
    return Contract(
        name=draw(st.text(min_size=1, max_size=20)),
        source=draw(st.text(max_size=20)),
        source_sha256="0" * 64,
        weights=draw(st.text(max_size=20)),
        precision=draw(st.sampled_from(["fp32", "fp16", "w8a8", "w8a32"])),
        input=InputContract(
            name="image",
            shape=(1, 3, imgsz, imgsz),
            dtype="float32",
            layout="NCHW",
            imgsz=imgsz,
            mean=(draw(finite), draw(finite), draw(finite)),
            std=(draw(positive), draw(positive), draw(positive)),
            crop_pct=draw(st.floats(0.1, 1.0)),
            interpolation=draw(st.sampled_from(["bicubic", "bilinear", "area", "nearest"])),
        ),
        output=OutputContract("logits", len(labels) or 10, labels),
        quantization=draw(st.none() | st.just(Quantization("qdq", 100, "1" * 64))),
        golden=draw(st.none() | st.just(Golden("triangles-v1", (0.5, -1.0), 1e-4, "ort"))),
        parity=draw(st.none() | st.just(Parity(16, "photographs", 1e-5, 1e-6, 1.0, 1.0, True))),
        created_with={"torch": draw(st.text(max_size=8))},
    )


@given(contracts())
def test_round_trip(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json()) == contract


@given(contracts(), st.data())
def test_damage_is_an_error_and_nothing_else(contract: Contract, data: st.DataObject) -> None:
    text = contract.to_json()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(ArtifactError):
        Contract.from_json(cut)


@given(contracts(), st.data())
def test_a_missing_key_is_an_error(contract: Contract, data: st.DataObject) -> None:
    document = json.loads(contract.to_json())
    del document[data.draw(st.sampled_from(sorted(document)))]
    with pytest.raises(ArtifactError):
        Contract.from_json(json.dumps(document))


def test_another_schema_is_named() -> None:
    with pytest.raises(ArtifactError, match="schema 99"):
        Contract.from_json('{"schema": 99}', "x.onnx")


@pytest.mark.parametrize("name", ["fp32", "fp16", "w8a8", "w8a16", "w8a32"])
def test_recipe_names_decode(name: str) -> None:
    assert str(Recipe.parse(name)) == name


def test_recipes_know_what_they_need() -> None:
    names = ("fp32", "fp16", "w8a8", "w8a16", "w8a32")
    assert [n for n in names if Recipe.parse(n).needs_calibration] == ["w8a8", "w8a16"]


def test_impossible_recipes_are_refused() -> None:
    with pytest.raises(UsageError, match="allowed: fp32"):
        Recipe(4, 3)
    with pytest.raises(UsageError, match="int8"):
        Recipe.parse("int8")


def test_labels_must_match_the_classes() -> None:
    with pytest.raises(ArtifactError, match="2 labels for 10 classes"):
        OutputContract("logits", 10, ("a", "b"))


@given(contracts())
def test_impossible_inputs_are_refused(contract: Contract) -> None:
    for change in (
        {"interpolation": "magic"},
        {"crop_pct": 0.0},
        {"std": (1.0, 0.0, 1.0)},
        {"color": "CMYK"},
        {"color": "gray"},
        {"mean": (1.0,)},
    ):
        with pytest.raises(UsageError):
            replace(contract.input, **change)


def test_layout_is_never_guessed() -> None:
    assert image_layout((1, 3, 224, 224)) == "NCHW"
    assert image_layout((1, 224, 224, 3)) == "NHWC"
    assert image_layout((1, 1, 28, 28)) == "NCHW"
    assert image_layout((1, 28, 28, 1)) == "NHWC"
    assert image_layout((1, 3, 3, 3)) is None
    assert image_layout((1, 1000)) is None
