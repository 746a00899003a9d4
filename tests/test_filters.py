"""Filters and their frequency responses by algebra, feature maps by PyTorch, aliasing by waves."""

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from export_cases import pictures

from edgecnn import aliasing, cli, preprocess
from edgecnn.errors import EXIT_USAGE, SourceError, UsageError
from edgecnn.report import tiles

torch = pytest.importorskip("torch")
from edgecnn import filters  # noqa: E402  (needs torch)

# ------------------------------------------------------------------------------- frequency response


def test_a_response_by_its_formula() -> None:
    """|H(f)| of [1, 2, 1] / 4 is cos(pi f)^2 (two averages of neighbours), of one tap it is 1."""
    row = np.outer([0.0, 1.0, 0.0], np.array([1.0, 2.0, 1.0]) / 4)
    across = filters.response(row[np.newaxis])
    expected = np.cos(np.pi * filters.frequencies()) ** 2
    assert np.allclose(across, np.tile(expected, (filters.RESPONSE_SIZE, 1)), atol=1e-12)
    one_tap = np.zeros((1, 3, 3))
    one_tap[0, 2, 0] = -2.0
    assert np.allclose(filters.response(one_tap), 2.0)


def test_still_light_is_in_the_middle() -> None:
    taps = np.ones((3, 3, 3)) / 9
    found = filters.response(taps)
    middle = filters.RESPONSE_SIZE // 2
    assert filters.frequencies()[middle] == 0
    assert filters.frequencies()[0] == -0.5
    assert found[middle, middle] == pytest.approx(np.sqrt(3))
    assert found.argmax() == middle * filters.RESPONSE_SIZE + middle


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_what_a_stride_cannot_carry(stride: int) -> None:
    """Of a single tap, which lets all through alike: all but 1 / stride^2 of the energy.

    The limit itself, two of 64 frequencies on each axis, counts as carried.
    """
    one_tap = np.zeros((1, 3, 3))
    one_tap[0, 1, 1] = 1.0
    found = float(filters.beyond(filters.response(one_tap), stride))
    carried = 1.0 if stride == 1 else (1 / stride + 1 / filters.RESPONSE_SIZE) ** 2
    assert found == pytest.approx(1 - carried)


# ----------------------------------------------------------------------------------------- aliasing


@pytest.mark.parametrize("taps", [1, 3, 5, 7, 9])
def test_a_binomial_blur_is_pascals_triangle(taps: int) -> None:
    from math import comb

    expected = [comb(taps - 1, i) / 2 ** (taps - 1) for i in range(taps)]
    assert np.allclose(aliasing.binomial(taps), expected)


@pytest.mark.parametrize("taps", [0, 2, 4, 11])
def test_other_blurs_are_refused(taps: int) -> None:
    with pytest.raises(UsageError, match="allowed: 1"):
        aliasing.binomial(taps)


def test_a_stride_folds_a_fast_wave_and_a_blur_takes_it_away() -> None:
    """0.45 cycles per pixel become 0.1 of every second pixel; [1, 2, 1] leaves cos(0.45 pi)^2."""
    at = np.arange(256)
    wave = np.tile(np.cos(2 * np.pi * 0.45 * at), (256, 1))
    kept = aliasing.every(wave, 2)
    assert np.allclose(kept[0], np.cos(2 * np.pi * 0.1 * np.arange(128)), atol=1e-9)
    smooth = aliasing.blurred_every(wave, 2, 3)
    left = np.cos(0.45 * np.pi) ** 2
    assert np.allclose(smooth[:, 1:-1], left * kept[:, 1:-1], atol=1e-9)
    assert aliasing.blurred_every(wave, 4, 3).shape == (64, 64)


def test_a_zone_plate_is_even_and_fast_at_its_sides() -> None:
    plate = aliasing.zone_plate(240)
    assert plate.min() >= 0 and plate.max() <= 1
    assert np.allclose(plate, plate[::-1]) and np.allclose(plate, plate.T)
    middle, side = plate[120, 100:140], plate[120, :20]
    assert np.abs(np.diff(side)).mean() > 4 * np.abs(np.diff(middle)).mean()


# ------------------------------------------------------------------------------------ of a network


def picture() -> Any:
    return preprocess.read_image(next(iter(sorted(pictures().iterdir()))))


def test_the_first_layer_and_its_maps() -> None:
    found = filters.filters(tiny.source(), picture=picture())
    stem = tiny.network().stem[0]
    assert (found.layer, found.stride, found.taps.shape) == ("stem.0", 2, (16, 3, 3, 3))
    assert np.array_equal(found.taps, stem.weight.detach().numpy())
    assert found.picture is not None and found.maps is not None
    normal = (found.picture.astype(np.float32) - 127.0) / 64.0
    with torch.no_grad():
        expected = stem(torch.from_numpy(normal.transpose(2, 0, 1)[None]))[0].numpy()
    assert np.allclose(found.maps, expected, atol=1e-5)


def test_another_layer_by_its_name() -> None:
    found = filters.filters(tiny.source(), "depthwise.0")
    assert found.taps.shape == (48, 1, 5, 5)
    with pytest.raises(UsageError, match=r"it has stem\.0"):
        filters.filters(tiny.source(), "stem")
    with pytest.raises(UsageError, match=r"16 channels.*stem\.0, depthwise\.0"):
        filters.filters(tiny.source(), "expand.0")


def test_a_file_has_no_modules(tmp_path: Path) -> None:
    import tiny_onnx

    from edgecnn import sources

    made = tiny_onnx.artifact(tmp_path / "tiny.onnx").path
    with pytest.raises(SourceError, match="no PyTorch module"):
        filters.filters(sources.resolve(str(made)))


# ---------------------------------------------------------------------------------------- drawings


def test_values_as_pixels() -> None:
    assert tiles.signed(np.array([[-2.0, 0.0, 2.0]])).tolist() == [[0, 128, 255]]
    assert tiles.unsigned(np.array([[0.0, 1.0, 4.0]])).tolist() == [[0, 64, 255]]
    colors = np.zeros((3, 1, 1))
    colors[0] = 1.0
    assert tiles.signed(colors).tolist() == [[[255, 128, 128]]]
    assert tiles.stretched(np.full((4, 4), 3.0)).max() == 0


def test_a_drawing_holds_its_pictures(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path, image = tmp_path / "f.svg", sorted(pictures().iterdir())[0]
    arguments = ["filters", "mobilenet_v2@w0.35,r96", "--weights", "random", "--image", str(image)]
    result = CliRunner().invoke(cli.main, [*arguments, "--output", str(path), "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["layer"], document["filters"], document["stride"]) == ("stem0.conv", 16, 2)
    assert len(document["beyond_nyquist"]) == 16
    text = path.read_text("utf-8")
    ElementTree.fromstring(text)  # noqa: S314
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", text)
    # Filters, responses and maps; three large responses, and the picture.
    assert len(found) == 3 * 16 + 3 + 1
    first = cv2.imdecode(np.frombuffer(base64.b64decode(found[0]), np.uint8), cv2.IMREAD_COLOR)
    assert first.shape[0] == first.shape[1] >= 3
    assert "random:seed 0" in text and "http://" in text
    assert 'href="http' not in text
    again = CliRunner().invoke(cli.main, [*arguments, "--output", str(path)])
    assert again.exit_code == EXIT_USAGE and "--force" in again.stderr


def test_a_png_shows_the_embedded_pictures(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("resvg_py", reason="pip install edgecnn[report]")
    from edgecnn.report import filters as drawing
    from edgecnn.report import plots

    path = tmp_path / "f.png"
    found = filters.filters(tiny.source())
    plots.write(drawing.filters(found), path, plots.WIDE, drawing.KEY)
    shown = cv2.imread(str(path)).astype(int)
    assert shown.shape[1] == plots.PIXELS * plots.WIDE
    # Colored weights, which nothing else in the drawing has.
    assert (np.ptp(shown, axis=2) > 60).mean() > 0.005
