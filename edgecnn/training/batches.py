"""Pictures in memory as tensors, and how many of them a network classifies right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecnn.spec import ModelSpec
from edgecnn.train_data import Pictures

TEST_BATCH = 256
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """Pixels, uint8 (N, C, H, W), and classes (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Batch:
        return Batch(self.pixels[index], self.labels[index])

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        return Batch(self.pixels.to(device), self.labels.to(device))


def tensors(spec: ModelSpec, pictures: Pictures, chosen: NDArray[np.int64]) -> Batch:
    """The chosen pictures as `spec` takes them, decoded and in one block of memory."""
    pixels = torch.from_numpy(pictures.squares(spec)[chosen]).permute(0, 3, 1, 2)
    return Batch(pixels, torch.from_numpy(pictures.labels[chosen]))


def normalized(pixels: Tensor, spec: ModelSpec) -> Tensor:
    """(x - mean) / std of each channel, float32, as the contract of an exported file says."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(1, -1, 1, 1)
        for values in (spec.conventions.mean, spec.conventions.std)
    )
    return (pixels.float() - mean).div_(std)


def right(network: nn.Module, data: Batch, spec: ModelSpec) -> int:
    """How many pictures of `data` the network classifies right; it is in eval mode afterwards."""
    network.eval()
    found = 0
    with torch.no_grad():
        for start in range(0, len(data), TEST_BATCH):
            batch = data[start : start + TEST_BATCH]
            best = network(normalized(batch.pixels, spec)).argmax(1)
            found += int((best == batch.labels).sum())
    return found


@contextmanager
def torch_as(seed: int, threads: int) -> Iterator[None]:
    """Torch with this seed and these threads while the block runs; the caller's come back after."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
