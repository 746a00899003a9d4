"""Reproducible noise as an image, for tests that compare two implementations."""

import torch

from edgecnn.spec import ModelSpec


def image(spec: ModelSpec, batch: int = 1) -> torch.Tensor:
    """float32, (batch, *spec.input_shape), standard normal."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, *spec.input_shape, generator=generator)
