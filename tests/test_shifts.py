"""Moved pictures: the squares that are looked at, a blur in place of a stride, what is counted."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from export_cases import pictures, write_pictures

from edgecnn import cli, families, preprocess
from edgecnn.errors import EXIT_BAD_INPUT, EXIT_USAGE, DataError, SourceError, UsageError
from edgecnn.images import LabelledImage

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  (needs torch)

from edgecnn import filters, network, shifts  # noqa: E402  (needs torch)


def spread(module: nn.Module) -> nn.Module:
    """Statistics that are not the trivial 0 and 1, and a last layer that tells inputs apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, 0.0, 0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.5)
    return module.eval()


# ---------------------------------------------------------------------------------------- the blur


@pytest.mark.parametrize("name", ["mobilenet_v2@w0.35,r64", "efficientnet_lite0@w0.5,r72"])
def test_a_blur_of_one_tap_changes_nothing(name: str) -> None:
    """Symmetric and TensorFlow's padding: a stride is a convolution of stride 1, thinned out."""
    spec = families.get(name)
    module = spread(network.build(spec))
    image = torch.randn(2, 3, spec.resolution, spec.resolution)
    with torch.no_grad():
        expected, found = module(image), shifts.blurred(module, taps=1)(image)
    assert float(expected.std()) > 0.1
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.std()))


def test_a_blur_averages_neighbours_and_keeps_every_second() -> None:
    values = torch.arange(8.0).reshape(1, 1, 1, 8).expand(1, 2, 8, 8) ** 2
    found = shifts.Blur(3, 2)(values)
    assert found.shape == (1, 2, 4, 4)
    # (x - 1)^2 + 2 x^2 + (x + 1)^2 is 4 x^2 + 2; at the mirrored edge (1 + 0 + 1) / 4.
    assert found[0, 1, 2].tolist() == [0.5, 4.5, 16.5, 36.5]
    flat = torch.full((1, 3, 5, 5), 2.0)
    assert torch.allclose(shifts.Blur(5, 2)(flat), torch.full((1, 3, 3, 3), 2.0))
    assert shifts.Blur(5, 2)(torch.ones(1, 1, 2, 2)).shape == (1, 1, 1, 1)


def test_every_stride_gets_a_blur_behind_its_activation() -> None:
    spec = families.get("mobilenet_v2@w0.35,r64")
    changed = shifts.blurred(network.build(spec))
    blurs = [n for n, m in changed.named_modules() if isinstance(m, shifts.Blur)]
    assert len(blurs) == sum(block.stride > 1 for block in spec.blocks) == 5
    assert blurs[0] == "stem0.conv_act.1"
    assert all("depthwise_act" in name for name in blurs[1:])
    assert all(m.stride == (1, 1) for m in changed.modules() if isinstance(m, nn.Conv2d))
    assert shifts.blurred(tiny.network()).stem[2][1].stride == 2  # type: ignore[index]


def test_a_network_without_strides_is_refused() -> None:
    with pytest.raises(SourceError, match="no strided"):
        shifts.blurred(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_statistics_are_those_of_the_pictures() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3))
    batches = [torch.randn(4, 3, 8, 8) * 2 + 5 for _ in range(3)]
    found = shifts.with_statistics(module, batches)[0]  # type: ignore[index]
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(found.running_mean, mean, atol=1e-5)
    assert not found.training
    assert torch.equal(module[0].running_mean, torch.zeros(3))


# ---------------------------------------------------------------------------------- moved pictures


@pytest.mark.parametrize("size", [(48, 60), (61, 47), (100, 100)])
def test_squares_move_over_the_resized_picture(size: tuple[int, int]) -> None:
    contract, _ = filters.input_of(tiny.source())
    random = np.random.default_rng(0)
    image = cv2.resize(random.integers(0, 256, (9, 9, 3), np.uint8), size[::-1])
    found = list(shifts.moved(image, contract, 4))
    assert len(found) == 5
    assert {one.shape for one in found} == {(tiny.IMGSZ, tiny.IMGSZ, 3)}
    for before, after in pairwise(found):
        assert np.array_equal(before[1:, 1:], after[:-1, :-1])
    # In the middle lies what the network is given otherwise.
    usual = preprocess.resize_and_crop(image, tiny.IMGSZ, contract.crop_pct, "bicubic")
    assert any(np.array_equal(usual, one) for one in found[1:4])


def test_more_shifts_than_there_is_room_for_are_refused() -> None:
    contract, _ = filters.input_of(tiny.source())
    with pytest.raises(UsageError, match="36 pixels and 32 are looked at: at most 4"):
        shifts.check_room(contract, 5)
    shifts.check_room(contract, 4)


# -------------------------------------------------------------------------------------- the counts


def test_counts_by_hand() -> None:
    """Two pictures at three shifts: AAB and CCC; A and D are right."""
    answers = shifts.Answers("x", np.array([[0, 0, 1], [2, 2, 2]]), np.array([0, 3]))
    assert answers.agreement == (100.0, 100.0, 50.0)
    assert answers.top1 == (50.0, 50.0, 0.0)
    assert answers.by_picture.tolist() == [pytest.approx(1 / 3), 1.0]
    assert answers.consistency == pytest.approx(200 / 3)
    other = shifts.Answers("y", np.array([[0, 0, 0], [2, 2, 2]]), np.array([0, 3]))
    both = shifts.Shifts("m", "w", 3, (0, 1, 2), (answers, other))
    gain, low, high = both.gain(other)
    assert gain == pytest.approx(100 / 3)
    assert low < 0 < gain < high
    unknown = shifts.Answers("z", np.array([[0, 1]]), np.array([-1]))
    assert unknown.top1 is None


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    files = [LabelledImage(path, 1) for path in sorted(pictures().iterdir())[:3]]
    damaged = tmp_path / "bad.png"
    damaged.write_bytes(b"no picture")
    found = shifts.measure(
        tiny.source(),
        [*files, LabelledImage(damaged, 1)],
        shifts=2,
        statistics=[image.path for image in files],
    )
    assert found.images == 3 and len(found.skipped) == 1
    assert found.pixels == (0, 1, 2)
    assert [one.name for one in found.networks] == [
        "as trained", "blur of 3 taps", "blur of 3 taps, new statistics",
    ]  # fmt: skip
    assert found.networks[0].best.shape == (3, 3)
    with pytest.raises(DataError, match="none of 1"):
        shifts.measure(tiny.source(), [LabelledImage(damaged, 1)], shifts=1)
    with pytest.raises(UsageError, match="at least 2"):
        shifts.measure(tiny.source(), files, shifts=1, statistics=[files[0].path])


def _classes_at(image: Any, step: int) -> int:
    contract, tensor = filters.input_of(tiny.source())
    square = list(shifts.moved(image, contract, 3))[step]
    array = preprocess.from_pixels(np.ascontiguousarray(square), contract, tensor)
    with torch.no_grad():
        return int(tiny.network()(torch.from_numpy(array)).argmax())


def test_measured_classes_are_the_networks() -> None:
    paths = sorted(pictures().iterdir())[:4]
    found = shifts.measure(tiny.source(), [LabelledImage(p, 0) for p in paths], shifts=3)
    expected = [[_classes_at(preprocess.read_image(p), s) for s in range(4)] for p in paths]
    assert found.networks[0].best.tolist() == expected


# -------------------------------------------------------------------------------- the command line


def test_the_command(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "pictures", 5)
    plot = tmp_path / "p.svg"
    arguments = ["shifts", "mobilenet_v2@w0.35,r32", "--weights", "random", "--data", str(data),
                 "--shifts", "2", "--statistics", "2", "--plot", str(plot)]  # fmt: skip
    result = CliRunner().invoke(cli.main, [*arguments, "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["images"] == 3 and document["statistics_images"] == 2
    assert document["shifts"] == [0, 1, 2]
    assert [one["top1"] for one in document["networks"]] == [None] * 3
    text = plot.read_text("utf-8")
    assert text.count("data:image/png;base64,") == 3
    assert "no weight was trained" in text
    shown = CliRunner().invoke(cli.main, [*arguments, "--force"])
    assert shown.exit_code == 0 and "not trained with a blur" in shown.stdout
    for options, code, message in (
        (["--shifts", "9", "--force"], EXIT_USAGE, "at most 4"),
        (["--taps", "4", "--force"], EXIT_USAGE, "allowed: 1"),
        (["--statistics", "5", "--force"], EXIT_BAD_INPUT, "--statistics"),
        ([], EXIT_USAGE, "--force"),
    ):
        refused = CliRunner().invoke(cli.main, [*arguments, *options])
        assert refused.exit_code == code, refused.output
        assert message in " ".join(refused.stderr.split())


@pytest.mark.slow
def test_a_trained_network_agrees_with_itself_but_not_always(
    lite0_weights: None, imagenet_sample: Path
) -> None:
    from edgecnn import sources
    from edgecnn.images import calibration_subset, labelled, list_images

    chosen = calibration_subset(list_images(imagenet_sample), 24)
    images = labelled(chosen, imagenet_sample, classes=1000)
    found = shifts.measure(sources.resolve("efficientnet_lite0"), images, shifts=3)
    assert 80 < found.networks[0].consistency <= 100
    top1 = found.networks[0].top1
    assert top1 is not None and min(top1) > 50
