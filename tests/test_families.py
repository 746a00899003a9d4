"""The zoo against its golden figures, and against timm and torchvision as references."""

from math import floor, prod
from typing import Any

import pytest

from edgecnn import families, workload
from edgecnn.errors import SpecError
from edgecnn.families import (
    _sources,
    efficientnet,
    efficientnet_lite,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v4,
)
from edgecnn.spec import Checkpoint, ModelSpec
from edgecnn.workload import Workload

ZOO = tuple(families.all().values())
VARIANTS = {
    **mobilenet_v1.PUBLISHED,
    **mobilenet_v2.PUBLISHED,
    **mnasnet.PUBLISHED,
}
REFERENCES = [
    (spec, checkpoint)
    for spec in ZOO
    for checkpoint in spec.checkpoints
    if not checkpoint.source.startswith("package:")
]


def _reference_id(value: ModelSpec | Checkpoint) -> str:
    return value.name if isinstance(value, ModelSpec) else value.source


@pytest.mark.parametrize("spec", ZOO, ids=lambda spec: spec.name)
def test_parameters_are_exact_and_multiply_adds_published(spec: ModelSpec) -> None:
    found = workload.from_spec(spec)
    assert spec.published is not None
    assert found.params == spec.published.params
    _require_explained(found, spec.published.macs, spec.published.note)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_published_variants(name: str) -> None:
    spec = families.get(name)
    assert spec.published is not None
    assert spec.name == name
    found = workload.from_spec(spec)
    assert found.params == spec.published.params
    _require_explained(found, spec.published.macs, spec.published.note)


def _require_explained(found: Workload, published: int | None, note: str | None) -> None:
    if published is None:
        assert note, f"{found.name}: neither multiply-adds nor a note"
        return
    off = found.macs / published - 1
    assert abs(off) <= 0.01 or note, f"{found.name}: {100 * off:+.2f} % and no note"


@pytest.mark.parametrize(("spec", "checkpoint"), REFERENCES, ids=_reference_id)
def test_parameters_equal_the_reference_implementation(
    spec: ModelSpec, checkpoint: Checkpoint
) -> None:
    torch = pytest.importorskip("torch")
    kind, _, name = checkpoint.source.partition(":")
    with torch.device("meta"):
        if kind == "timm":
            reference = pytest.importorskip("timm").create_model(name)
        else:
            reference = pytest.importorskip("torchvision").models.get_model(name)
    expected = sum(
        parameter.numel()
        for path, parameter in reference.named_parameters()
        if path.partition(".")[0] not in checkpoint.left_out
    )
    assert workload.from_spec(spec).params == expected


@pytest.mark.parametrize(("spec", "checkpoint"), REFERENCES, ids=_reference_id)
def test_conventions_are_those_of_the_checkpoint(spec: ModelSpec, checkpoint: Checkpoint) -> None:
    if spec.family == "efficientnet_lite":
        pytest.skip("the zoo follows Google's (x - 127) / 128, timm uses 127.5")
    if spec.family in ("googlenet", "inception_v3"):
        pytest.skip("torchvision's weights change the normalization inside (transform_input)")
    kind, _, name = checkpoint.source.partition(":")
    stated = _timm_says(name) if kind == "timm" else _torchvision_says(name)
    ours = checkpoint.conventions
    assert ours.mean == pytest.approx([255 * v for v in stated["mean"]])
    assert ours.std == pytest.approx([255 * v for v in stated["std"]])
    assert ours.crop_pct == pytest.approx(stated["crop_pct"], abs=1.1e-3)  # timm cuts digits
    assert ours.interpolation == stated["interpolation"]


def _timm_says(name: str) -> dict[str, Any]:
    config = pytest.importorskip("timm").get_pretrained_cfg(name)
    return {k: getattr(config, k) for k in ("mean", "std", "crop_pct", "interpolation")}


def _torchvision_says(name: str) -> dict[str, Any]:
    models = pytest.importorskip("torchvision").models
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    return {
        "mean": transforms.mean,
        "std": transforms.std,
        "crop_pct": transforms.crop_size[0] / transforms.resize_size[0],
        "interpolation": transforms.interpolation.value,
    }


@pytest.mark.parametrize(
    ("model", "published_g"),
    # results/benchmark-infer-amp-nchw-*.csv of timm, which round to 0.01 G
    [
        ("mobilenet_v4_conv_small", 0.25),
        ("mobilenet_v4_conv_medium", 1.10),
        ("mobilenet_v4_conv_large", 2.86),
        ("mobilenet_v3_small_minimalistic", 0.06),
        ("mobilenet_v3_small@w0.75", 0.05),
        ("efficientnet_lite0", 0.40),
        ("efficientnet_lite3@r300", 1.65),
        ("efficientnet_b0", 0.40),
    ],
)
def test_the_note_on_timms_counting_holds(model: str, published_g: float) -> None:
    """2 per element of batch normalization and 1 per pooled element make up the difference."""
    found = workload.from_spec(families.get(model))
    total = found.macs + 2 * _elements(found, "batch_norm")
    total += sum(prod(o.in_shape) for o in found.operators if o.op == "global_pool")
    assert total / 1e9 == pytest.approx(published_g, abs=0.0051)


@pytest.mark.parametrize("spec", efficientnet_lite.MODELS, ids=lambda spec: spec.name)
def test_the_note_on_lites_counting_holds(spec: ModelSpec) -> None:
    found = workload.from_spec(spec)
    extra = 2 * _elements(found, "batch_norm") + _elements(found, "relu6")
    total = found.macs + extra + _elements(found, "add")
    assert spec.published is not None
    assert total == pytest.approx(spec.published.macs, rel=0.005)


def _elements(found: Workload, op: str) -> int:
    return sum(prod(o.out_shape) for o in found.operators if o.op == op)


@pytest.mark.parametrize("key", sorted(mobilenet_v2.NOTES))
def test_the_note_on_cut_fractions_holds(key: tuple[float, int]) -> None:
    spec = mobilenet_v2.BASE.scaled(key[0], resolution=key[1])
    found = workload.from_spec(spec)
    assert floor(found.macs / 1e6) * 1_000_000 == mobilenet_v2.PUBLISHED[spec.name].macs


def test_the_notes_on_mobilenet_v1_hold() -> None:
    wide = workload.from_spec(families.get("mobilenet_v1@w0.75"))
    assert round(wide.macs / 1e6) == 325  # the paper's Table 6, not the README's 317
    narrow = workload.from_spec(families.get("mobilenet_v1@w0.25,r192"))
    assert narrow.macs == pytest.approx(41e6 * (192 / 224) ** 2, rel=0.01)


def test_the_note_on_mobilenet_v3_small_holds() -> None:
    """With a last convolution of 1280 instead of 1024 channels: 44 M and 2.4 M parameters."""
    found = workload.from_spec(families.get("mobilenet_v3_small@w0.75"))
    more = (1280 - 1024) * (432 + 1000)
    assert round((found.macs + more) / 1e6) == 44
    assert round((found.params + more) / 1e6, 1) == 2.4


UNMEASURED = ("neocognitron",)
"""Families older than the pictures that others are measured on."""


@pytest.mark.parametrize("spec", ZOO, ids=lambda spec: spec.name)
def test_accuracy_has_a_source(spec: ModelSpec) -> None:
    assert spec.published is not None
    figures = [(c.top1, c.top1_source) for c in spec.checkpoints]
    if spec.published.top1 is not None:
        figures.append((spec.published.top1, spec.published.top1_source))
    assert figures or spec.family in UNMEASURED, "no accuracy at all"
    lowest, highest = (90, 100) if spec.published.val_set == _sources.MNIST else (40, 90)
    for top1, source in figures:
        assert top1 is not None
        assert lowest < top1 < highest
        assert source


@pytest.mark.parametrize("spec", ZOO, ids=lambda spec: spec.name)
def test_a_listed_accuracy_is_of_the_listed_resolution(spec: ModelSpec) -> None:
    """On ImageNet: digits recognized are no accuracy to compare with that."""
    assert (spec.accuracy is not None) == (spec.num_classes == 1000)
    smaller = spec.scaled(resolution=64)
    assert smaller.accuracy is None, "accuracy must not survive a change of resolution"


def test_mobile_models_leave_the_classic_ones_out() -> None:
    mobile = {spec.family for spec in families.mobile()}
    assert mobile == {
        "efficientnet", "efficientnet_lite", "efficientnet_v2", "mnasnet", "mobilenet_v1",
        "mobilenet_v2", "mobilenet_v3", "mobilenet_v4",
    }  # fmt: skip
    names = {spec.name for spec in families.mobile()}
    assert names < set(families.all())
    assert not {name for name in names if "fused" in name}


def test_a_variant_brings_its_published_accuracy() -> None:
    assert families.get("mobilenet_v2@w0.75,r160").accuracy == (66.4, _sources.SLIM)
    assert families.get("mobilenet_v2@r224").name == "mobilenet_v2"
    assert families.get("mobilenet_v2@w0.75").checkpoints == ()


def test_efficientnets_are_scaled_from_b0() -> None:
    """Table of the reference: B3 is width 1.2, depth 1.4; B7 width 2.0, depth 3.1."""
    b3, b7 = families.get("efficientnet_b3"), families.get("efficientnet_b7")
    assert b3.blocks == efficientnet.BASE.scaled(1.2, 1.4).blocks
    assert b7.blocks == efficientnet.BASE.scaled(2.0, 3.1).blocks
    assert [b.channels for b in b7.blocks[:3]] == [64, 32, 48]


def test_crops_follow_the_reference() -> None:
    assert [_sources.crop_pct(r) for r in (224, 240, 380, 600)] == [0.875, 0.882, 0.922, 0.949]


def test_families_are_the_files() -> None:
    assert {spec.family for spec in ZOO} == set(families.names())
    assert mobilenet_v4.MODELS[0].family in families.names()


def test_unknown_names_suggest() -> None:
    with pytest.raises(SpecError, match="did you mean mobilenet_v2"):
        families.get("mobilenetv2")
    with pytest.raises(SpecError, match="is a family"):
        families.get("mobilenet_v4")
    with pytest.raises(SpecError, match=r"Families: .*mnasnet"):
        families.get("zzz")


def test_the_zoo_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from edgecnn import families, workload; "
        "workload.from_spec(families.get('efficientnet_b0')); "
        "sys.exit(sorted({'torch', 'onnx', 'cv2', 'numpy'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
