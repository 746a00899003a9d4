"""EfficientNet-Lite0 with its ImageNet weights, exported and checked on photographs."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from test_export_metadata import media_pipe_top1, our_top1

from edgecnn import export, images, preprocess, sources
from edgecnn.artifact import Artifact
from edgecnn.contract import Recipe
from edgecnn.export.parity import LIMITS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lite0_weights")]

CASES = [(name, precision) for name in ("onnx", "tflite") for precision in ("fp32", "w8a8")]


@functools.cache
def lite0() -> sources.Source:
    return sources.resolve("efficientnet_lite0")


Exported = Callable[[str, str, bool], Artifact]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, imagenet_sample: Path) -> Exported:
    """The network in a format and a precision, with uint8 pixels or not; each is made once."""
    folder = tmp_path_factory.mktemp("lite0")

    @functools.cache
    def made(name: str, precision: str, uint8_input: bool) -> Artifact:
        return export.export(
            lite0(),
            name,
            Recipe.parse(precision),
            folder / f"{precision}-{uint8_input}.{name}",
            calibration_folder=imagenet_sample,
            uint8_input=uint8_input,
            labels=images.imagenet_labels(),
        )

    return made


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_parity_on_photographs(exported: Exported, name: str, precision: str) -> None:
    made = exported(name, precision, False)
    parity = made.required_contract().parity
    assert parity is not None and parity.passed, parity
    assert parity.images == LIMITS[precision].images
    assert parity.cosine > (0.9999 if precision == "fp32" else 0.99)
    assert parity.top1_agreement >= (1.0 if precision == "fp32" else 0.95)


def test_parity_without_photographs_of_the_user(tmp_path: Path) -> None:
    made = export.export(lite0(), "onnx", Recipe.parse("w8a32"), tmp_path / "lite0.onnx")
    parity = made.required_contract().parity
    assert parity is not None and parity.passed, parity
    assert "scikit-image" in parity.inputs or "synthetic" in parity.inputs


@pytest.mark.parametrize(
    ("precision", "uint8_input"), [("fp32", False), ("w8a8", False), ("w8a8", True)]
)
def test_media_pipe_gives_our_top1(
    exported: Exported, imagenet_sample: Path, precision: str, uint8_input: bool
) -> None:
    made = exported("tflite", precision, uint8_input)
    pixels = photographs(made, imagenet_sample, 24)
    ours = our_top1(made, pixels)
    assert len(set(ours)) > 20
    assert media_pipe_top1(made, pixels) == ours


def photographs(made: Artifact, folder: Path, count: int) -> list[preprocess.Image]:
    """Cut photographs to the input: MediaPipe's own resizing crops and filters differently."""
    image = made.required_contract().input
    chosen = images.calibration_subset(images.list_images(folder), count)
    return [
        preprocess.resize_and_crop(
            preprocess.read_image(path), image.imgsz, image.crop_pct, image.interpolation
        )
        for path in chosen
    ]
