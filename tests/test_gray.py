"""A network of one input channel: built, exported, and fed with the luma of a picture."""

from pathlib import Path

import numpy as np
import pytest
from export_cases import pictures

from edgecnn import export, preprocess, runtimes, workload
from edgecnn.artifact import Artifact, completed
from edgecnn.contract import Recipe
from edgecnn.device import LOCAL
from edgecnn.errors import ArtifactError
from edgecnn.images import list_images
from edgecnn.runtimes import missing_package
from edgecnn.sources import Source
from edgecnn.spec import Conventions, ModelSpec, parse_rows

torch = pytest.importorskip("torch")

from edgecnn import network  # noqa: E402  (needs torch)
from edgecnn.weights import Provenance  # noqa: E402

SPEC = ModelSpec(
    "gray",
    "test",
    28,
    parse_rows("stem_k3_s2_c8_relu conv_r1_k3_s2_c16_relu pool linear_c10"),
    Conventions(mean=(33.3,), std=(78.6,), crop_pct=1.0),
    input_channels=1,
)


def _source() -> Source:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = network.build(SPEC).eval()
        torch.nn.init.normal_(module[-1].linear.weight, 0.0, 0.5)
    c = SPEC.conventions
    return Source(
        name=SPEC.name,
        text=SPEC.name,
        provenance=Provenance("random", "seed 0", ""),
        num_classes=10,
        imgsz=SPEC.resolution,
        mean=c.mean,
        std=c.std,
        crop_pct=c.crop_pct,
        interpolation=c.interpolation,
        module=module,
        spec=SPEC,
    )


def test_the_first_convolution_has_one_channel() -> None:
    found = workload.from_spec(SPEC)
    assert found.input_shape == (1, 28, 28)
    assert found.operators[0].macs == 14 * 14 * 8 * 9
    assert network.build(SPEC)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def _exported(folder: Path, name: str, precision: str, uint8_input: bool) -> Artifact:
    missing = missing_package(*export.get(name).requires)
    if missing:
        pytest.skip(f"export to {name}: {missing}")
    return export.export(
        _source(),
        name,
        Recipe.parse(precision),
        folder / f"gray.{name}",
        calibration_folder=pictures(),
        uint8_input=uint8_input,
    )


@pytest.mark.parametrize(
    ("name", "precision", "uint8_input"),
    [
        ("onnx", "fp32", False),
        ("onnx", "w8a8", True),
        ("tflite", "fp32", True),
        ("tflite", "w8a8", False),
    ],
)
def test_an_exported_file_takes_the_luma(
    name: str, precision: str, uint8_input: bool, tmp_path: Path
) -> None:
    made = _exported(tmp_path, name, precision, uint8_input)
    contract = made.required_contract()
    assert contract.input.color == "gray"
    assert contract.input.shape == made.single_input().shape
    assert contract.parity is not None and contract.parity.passed, contract.parity
    picture = preprocess.read_image(list_images(pictures())[0])
    pixels = preprocess.resize_and_crop(picture, 28, 1.0, contract.input.interpolation)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    with torch.no_grad():
        image = torch.tensor((luma - 33.3) / 78.6, dtype=torch.float32)[None, None]
        expected = _source().module(image).numpy().reshape(-1)
    session = runtimes.open_session(runtimes.get(export.get(name).runtime), made, LOCAL, 1)
    try:
        array = preprocess.prepare(picture, contract.input, session.inputs[0])
        found = preprocess.dequantize(session.run(array), session.outputs[0]).reshape(-1)
    finally:
        session.close()
    # a level of rounding in fp32; 8-bit activations are off by a few hundredths of the span
    share = 0.005 if precision == "fp32" else 0.05
    assert np.abs(found - expected).max() <= share * np.ptp(expected)


def test_a_foreign_gray_file_takes_one_mean(tmp_path: Path) -> None:
    made = _exported(tmp_path, "onnx", "fp32", False)
    foreign = Artifact(**{**vars(made), "contract": None})
    given = {"crop_pct": 1.0, "interpolation": "bicubic"}
    seen = completed(foreign, mean=(33.3,), std=(78.6,), **given)
    assert seen.required_contract().input.color == "gray"
    with pytest.raises(ArtifactError, match="a mean for each channel"):
        completed(foreign, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0), **given)
