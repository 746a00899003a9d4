"""Modules around a source's module that give an exported graph its edges."""

import copy

import torch
from torch import Tensor, nn

from edgecnn.contract import OUTPUT_NAME, InputContract


class _Pixels(nn.Module):
    """Normalize uint8 pixels as a contract says."""

    scale: Tensor
    offset: Tensor

    def __init__(self, contract: InputContract) -> None:
        super().__init__()
        scale = 1.0 / torch.tensor(contract.std, dtype=torch.float64)
        offset = -torch.tensor(contract.mean, dtype=torch.float64) * scale
        self.register_buffer("scale", scale.float())
        self.register_buffer("offset", offset.float())

    def forward(self, image: Tensor) -> Tensor:
        """(1, H, W, C) uint8 -> the same shape in float32."""
        return image.to(torch.float32) * self.scale + self.offset


class ImageInput(nn.Module):
    """Take NHWC, float32 normalized or uint8 pixels, and give a dict of the logits.

    Argument and key become the names in the signature of a TFLite file.
    """

    def __init__(self, module: nn.Module, contract: InputContract, uint8_input: bool) -> None:
        super().__init__()
        self.normalize = _Pixels(contract) if uint8_input else nn.Identity()
        self.module = module
        # Not eval(): it would reach into the module, and a program of torch.export refuses it.
        self.training = self.normalize.training = False

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(1, H, W, C) -> logits (1, classes)."""
        return {OUTPUT_NAME: self.module(self.normalize(image).permute(0, 3, 1, 2))}


class Program(nn.Module):
    """Compute in ``dtype`` between the image and float32 logits.

    The image is float32 NCHW, or uint8 NHWC pixels, which are normalized first.
    """

    def __init__(
        self, module: nn.Module, contract: InputContract, dtype: torch.dtype, uint8_input: bool
    ) -> None:
        super().__init__()
        self.normalize = _Pixels(contract) if uint8_input else None
        self.module = module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        """(1, C, H, W) float32 or (1, H, W, C) uint8 -> logits (1, classes) float32."""
        if self.normalize is not None:
            image = self.normalize(image).permute(0, 3, 1, 2)
        # No conversion to the same type: each leaves an assertion in the program.
        if self.dtype != torch.float32:
            image = image.to(self.dtype)
        logits: Tensor = self.module(image)
        return logits if self.dtype == torch.float32 else logits.to(torch.float32)
