"""Modules around a source's module that give an exported graph its edges."""

import torch
from torch import Tensor, nn

from edgecnn.contract import OUTPUT_NAME
from edgecnn.sources import Source


class ImageInput(nn.Module):
    """Take NHWC, float32 normalized or uint8 pixels, and give a dict of the logits.

    Argument and key become the names in the signature of a TFLite file.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, source: Source, uint8_input: bool) -> None:
        super().__init__()
        if source.module is None or source.mean is None or source.std is None:
            raise ValueError(f"{source.name}: a module and its normalization are required")
        self.module = source.module
        self.uint8_input = uint8_input
        # Not eval(): it would reach into the module, and a program of torch.export refuses it.
        self.training = False
        scale = 1.0 / torch.tensor(source.std, dtype=torch.float64)
        offset = -torch.tensor(source.mean, dtype=torch.float64) * scale
        self.register_buffer("scale", scale.float())
        self.register_buffer("offset", offset.float())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(1, H, W, 3) -> logits (1, classes)."""
        if self.uint8_input:
            image = image.to(torch.float32) * self.scale + self.offset
        return {OUTPUT_NAME: self.module(image.permute(0, 3, 1, 2))}
