"""One preprocessing implementation, held against PIL, which networks were trained behind."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

from edgecnn import preprocess
from edgecnn.contract import InputContract, TensorSpec
from edgecnn.errors import DataError, UsageError

PIL_FILTERS = {
    "bicubic": PilImage.Resampling.BICUBIC,
    "bilinear": PilImage.Resampling.BILINEAR,
}


def noise(height: int, width: int, seed: int = 0) -> preprocess.Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def pil_reference(image: preprocess.Image, imgsz: int, crop_pct: float, kind: str) -> np.ndarray:
    """torchvision's Resize(int(imgsz / crop_pct)) and CenterCrop(imgsz), by PIL alone."""
    picture = PilImage.fromarray(image)
    width, height = picture.size
    side = int(imgsz / crop_pct)
    size = (
        (side, int(side * height / width))
        if width <= height
        else (int(side * width / height), side)
    )
    resized = picture.resize(size, PIL_FILTERS[kind])
    left, top = (round((length - imgsz) / 2.0) for length in size)
    return np.asarray(resized.crop((left, top, left + imgsz, top + imgsz)))


def input_contract(**changes: object) -> InputContract:
    values: dict[str, object] = {
        "name": "image", "shape": (1, 3, 32, 32), "dtype": "float32", "layout": "NCHW",
        "imgsz": 32, "mean": (127.0, 127.0, 127.0), "std": (128.0, 128.0, 128.0),
        "crop_pct": 0.875, "interpolation": "bicubic",
    }  # fmt: skip
    return InputContract(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", PIL_FILTERS)
@settings(max_examples=50, deadline=None)
@given(
    height=st.integers(20, 190),
    width=st.integers(20, 190),
    imgsz=st.sampled_from([32, 57, 96]),
    crop_pct=st.sampled_from([0.875, 0.9, 1.0]),
)
def test_equals_pil_but_for_rounding(
    kind: str, height: int, width: int, imgsz: int, crop_pct: float
) -> None:
    """Two levels: Pillow resizes one side and rounds before the other, in an order of its own."""
    image = cv2.GaussianBlur(noise(height, width), (0, 0), 1.0)
    ours = preprocess.resize_and_crop(image, imgsz, crop_pct, kind).astype(int)
    assert np.abs(ours - pil_reference(image, imgsz, crop_pct, kind)).max() <= 2


def test_very_large_photographs_stay_close_to_pil() -> None:
    smooth = cv2.GaussianBlur(noise(2000, 3000), (0, 0), 9)
    ours = preprocess.resize_and_crop(smooth, 96, 0.875, "bicubic").astype(int)
    assert np.abs(ours - pil_reference(smooth, 96, 0.875, "bicubic")).max() <= 2


@pytest.mark.parametrize("kind", ["bicubic", "bilinear", "area", "nearest"])
def test_a_plain_picture_stays_plain(kind: str) -> None:
    plain = np.full((75, 133, 3), (10, 200, 77), np.uint8)
    cut = preprocess.resize_and_crop(plain, 32, 0.875, kind)
    assert cut.shape == (32, 32, 3)
    assert (cut == (10, 200, 77)).all()


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    image = noise(32, 32)
    assert (preprocess.resize_and_crop(image, 32, 1.0, "bicubic") == image).all()


def test_normalization_is_in_pixel_units_and_layouts_agree() -> None:
    image = noise(32, 32)
    nchw = TensorSpec("image", (1, 3, 32, 32), "float32", "NCHW")
    nhwc = TensorSpec("image", (1, 32, 32, 3), "float32", "NHWC")
    first = preprocess.from_pixels(image, input_contract(), nchw)
    second = preprocess.from_pixels(image, input_contract(layout="NHWC"), nhwc)
    assert first.shape == (1, 3, 32, 32) and first.dtype == np.float32
    np.testing.assert_allclose(first[0, 2], (image[..., 2] - 127.0) / 128.0, atol=1e-6)
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), second)


def test_a_uint8_input_gets_the_pixels_as_they_are() -> None:
    spec = TensorSpec("image", (1, 32, 32, 3), "uint8", "NHWC")
    image = noise(32, 32)
    given_pixels = preprocess.from_pixels(image, input_contract(dtype="uint8", layout="NHWC"), spec)
    np.testing.assert_array_equal(given_pixels[0], image)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gray_is_pils_luma(layout: str) -> None:
    shape = (1, 1, 32, 32) if layout == "NCHW" else (1, 32, 32, 1)
    contract = input_contract(shape=shape, layout=layout, mean=(33.0,), std=(78.0,), color="gray")
    image = noise(32, 32)
    found = preprocess.from_pixels(image, contract, TensorSpec("image", shape, "float32"))
    luma = np.asarray(PilImage.fromarray(image).convert("L"))
    assert found.shape == shape
    np.testing.assert_allclose(found.reshape(32, 32), (luma - 33.0) / 78.0, atol=1e-6)


def test_a_gray_picture_keeps_its_values() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    contract = input_contract(
        shape=(1, 16, 16, 1), layout="NHWC", dtype="uint8", mean=(0.0,), std=(1.0,), color="gray"
    )
    spec = TensorSpec("image", (1, 16, 16, 1), "uint8")
    found = preprocess.from_pixels(levels, contract, spec)
    np.testing.assert_array_equal(found[0], levels[..., :1])


@given(st.integers(-128, 127), st.floats(1e-3, 1.0), st.integers(-128, 127))
def test_quantize_inverts_dequantize(value: int, scale: float, zero_point: int) -> None:
    spec = TensorSpec("t", (1,), "int8", None, scale, zero_point)
    stored = np.array([value], np.int8)
    assert preprocess.quantize(preprocess.dequantize(stored, spec), spec) == stored


def test_quantize_saturates() -> None:
    spec = TensorSpec("t", (2,), "int8", None, 0.1, 5)
    np.testing.assert_array_equal(
        preprocess.quantize(np.array([1e6, -1e6], np.float32), spec), [127, -128]
    )


def test_top_k_is_sorted_and_sums_to_one() -> None:
    best = preprocess.top_k(np.array([[0.0, 2.0, 1.0]], np.float32), ["a", "b", "c"], 3)
    assert [label for label, _ in best] == ["b", "c", "a"]
    assert sum(score for _, score in best) == pytest.approx(1.0)
    assert preprocess.top_k(np.array([0.0, 2.0], np.float32), (), 1)[0][0] == "1"


def test_the_golden_image_never_changes() -> None:
    image = preprocess.golden_image(preprocess.GOLDEN_RECIPE, 224)
    assert image.shape == (224, 224, 3) and image.dtype == np.uint8
    assert image.min() == 0 and image.max() == 255
    # Computed by hand from the recipe: x=100, y=3, channel 1.
    ramp = (100 * 8 + 3 * 7 + (100 * 100 + 3 * 3) * 2 // 224) * 256 // 224 % 512
    assert image[3, 100, 1] == (ramp if ramp < 256 else 511 - ramp)
    with pytest.raises(UsageError, match="allowed: triangles-v1"):
        preprocess.golden_image("rings", 224)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, noise(40, 60))[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colours_are_rgb(tmp_path: Path, suffix: str) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    file = tmp_path / f"red{suffix}"
    file.write_bytes(cv2.imencode(suffix, red)[1].tobytes())
    np.testing.assert_array_equal(preprocess.read_image(file)[0, 0], [255, 0, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture"),
        (b"not a picture at all", "not a picture"),
        (encoded(".jpg")[:-200], "truncated"),
        (encoded(".png")[:50], "not a picture"),
    ],
)
def test_bad_pictures_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.jpg"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.jpg.*{message}"):
        preprocess.read_image(file)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg.*No such file"):
        preprocess.read_image(tmp_path / "gone.jpg")


@given(
    size=st.integers(40, 2000),
    target=st.integers(32, 400),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)
def test_resizing_is_exact_on_every_machine(size: int, target: int, interpolation: str) -> None:
    for band in preprocess._filter_bands(size, target, 32, interpolation):
        units = band.weights.astype(np.float64) * 2.0**15
        assert np.array_equal(units, np.rint(units))
        assert (units.sum(axis=1) == 2.0**15).all()
        # Every partial sum, in whatever order, is then a number that float32 holds.
        assert np.abs(units).sum(axis=1).max() * 255 < 2.0**24
