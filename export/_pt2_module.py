"""The module around a source's module that becomes an exported program."""

import copy

import torch
from torch import Tensor, nn

from edgecnn.sources import Source


class Program(nn.Module):
    """Compute in ``dtype`` between the image and float32 logits.

    The image is float32 NCHW, or uint8 NHWC pixels, which are normalized first.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, source: Source, dtype: torch.dtype, uint8_input: bool) -> None:
        super().__init__()
        if source.module is None or source.mean is None or source.std is None:
            raise ValueError(f"{source.name}: a module and its normalization are required")
        is_float = dtype == torch.float32
        self.module = source.module if is_float else copy.deepcopy(source.module).to(dtype)
        self.dtype = dtype
        self.uint8_input = uint8_input
        scale = 1.0 / torch.tensor(source.std, dtype=torch.float64)
        offset = -torch.tensor(source.mean, dtype=torch.float64) * scale
        self.register_buffer("scale", scale.float())
        self.register_buffer("offset", offset.float())

    def forward(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) float32 or (1, H, W, 3) uint8 -> logits (1, classes) float32."""
        if self.uint8_input:
            image = (image.to(torch.float32) * self.scale + self.offset).permute(0, 3, 1, 2)
        # No conversion to the same type: each leaves an assertion in the program.
        if self.dtype != torch.float32:
            image = image.to(self.dtype)
        logits: Tensor = self.module(image)
        return logits if self.dtype == torch.float32 else logits.to(torch.float32)
