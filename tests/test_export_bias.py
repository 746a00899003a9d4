"""Bias correction: rounded weights keep the means of a layer's output."""

import numpy as np
import pytest
import tiny
from export_cases import pictures

from edgecnn.export import calibration
from edgecnn.export._bias_correction import _batch, _layers, _rounded, can_correct, corrected
from edgecnn.export._inputs import input_contract
from edgecnn.export.weight_levels import Weights, int8


def coarse(weight: Weights) -> np.ndarray:
    """Four bits, so that the shift is far above rounding noise."""
    return np.full(len(weight), 7.0)


@pytest.fixture(scope="module")
def images() -> calibration.ImageSet:
    contract = input_contract(tiny.source(), "NCHW")
    return calibration.load(pictures(), 20, contract, force=False)


def test_means_of_the_logits_are_kept(images: calibration.ImageSet) -> None:
    import torch

    contract = input_contract(tiny.source(), "NCHW")
    batch = _batch(images, contract)
    better = corrected(tiny.network(), images, contract, coarse)
    with torch.inference_mode():
        expected = tiny.network()(batch).mean(0)
        shift = {}
        for name, module in (("plain", tiny.network()), ("corrected", better)):
            import copy

            rounded = copy.deepcopy(module)
            for layer in _layers(rounded).values():
                layer.weight.data = _rounded(layer.weight.data, coarse)
            shift[name] = float((rounded(batch).mean(0) - expected).abs().max())
    assert shift["corrected"] < 1e-5
    assert shift["plain"] > 100 * shift["corrected"]


def test_original_is_left_alone(images: calibration.ImageSet) -> None:
    before = {name: value.clone() for name, value in tiny.network().state_dict().items()}
    corrected(tiny.network(), images, input_contract(tiny.source(), "NCHW"), int8)
    after = tiny.network().state_dict()
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_layer_that_runs_twice_is_left_alone(images: calibration.ImageSet) -> None:
    import torch

    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(image)).mean((2, 3))

    module = Twice().eval()
    result = corrected(module, images, input_contract(tiny.source(), "NCHW"), coarse)
    assert torch.equal(result.conv.bias, module.conv.bias)


def test_module_without_layers() -> None:
    import torch

    assert not can_correct(torch.nn.Flatten())
    assert can_correct(tiny.network())
