"""Reproducible noise as an image, for tests that compare two implementations."""

import torch

from edgecnn.spec import ModelSpec


def image(spec: ModelSpec, batch: int = 1) -> torch.Tensor:
    """float32, (batch, 3, resolution, resolution), standard normal."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, spec.resolution, spec.resolution, generator=generator)
