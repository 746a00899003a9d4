"""Folding batch normalization changes the graph and not what it computes."""

import noise
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from edgecnn import families, network  # noqa: E402
from edgecnn.export._fold import folded  # noqa: E402


def with_statistics(module: nn.Module) -> nn.Module:
    """Give every normalization statistics and factors of its own."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5, generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.bias, -0.5, 0.5, generator=generator)
    return module.eval()


def count(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


@pytest.mark.parametrize("name", ["efficientnet_lite0@w0.35,r64", "mobilenet_v4_conv_small@r64"])
def test_the_zoo_folds_completely_and_computes_the_same(name: str) -> None:
    spec = families.get(name)
    module = with_statistics(network.build(spec))
    image = noise.image(spec)
    with torch.inference_mode():
        expected, found = module(image), folded(module)(image)
    assert count(folded(module)) == 0 < count(module)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_a_sequence_with_a_forward_of_its_own_is_left_alone() -> None:
    class Tapped(nn.Sequential):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            inner = self[0](image)
            return inner + self[1](inner)

    module = with_statistics(Tapped(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert folded(module) is module


def test_only_pairs_are_folded() -> None:
    module = with_statistics(
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    )
    assert count(folded(module)) == 2


def test_training_statistics_are_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    assert count(folded(module)) == 1
