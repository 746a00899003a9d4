"""What a convolution looks at: its filters, their frequency response, and its feature maps.

A filter h of k x k taps answers to a wave of (u, v) cycles per pixel with |H(u, v)|, the magnitude
of its Fourier transform (Oppenheim and Schafer, Discrete-Time Signal Processing, chapter 2). Pixels
carry waves up to 0.5 cycles, Nyquist's limit; of a map that keeps every s-th pixel it is 0.5 / s,
and what a filter lets through above that comes back as a false, slower wave: aliasing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecnn import preprocess
from edgecnn.contract import InputContract, TensorSpec
from edgecnn.errors import SourceError, UsageError
from edgecnn.preprocess import Image
from edgecnn.sources import Source

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]

RESPONSE_SIZE = 64
"""Frequencies along an axis of a response."""
COLORS = 3


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of one convolution, (filters, channels, k, k), with 1 or 3 channels.

    `layer` is its name in the network, `stride` what it keeps a pixel in. `maps` are its results
    for a picture, (filters, height, width), None where none was given; `picture` is what the
    network saw of it.
    """

    model: str
    weights: str
    layer: str
    stride: int
    taps: Floats
    picture: Image | None = None
    maps: Floats | None = None

    @property
    def responses(self) -> Floats:
        """Frequency response of each filter: (filters, RESPONSE_SIZE, RESPONSE_SIZE)."""
        return response(self.taps)

    @property
    def beyond(self) -> Floats:
        """The share of each filter's answer, in energy, to waves that its stride cannot carry."""
        return beyond(self.responses, self.stride)


def filters(source: Source, layer: str | None = None, picture: Image | None = None) -> Filters:
    """Take the filters of a convolution, the first by default, and its maps of a picture.

    Raises:
        SourceError: the model has no PyTorch convolutions to look at, or a picture is given and it
            does not say how it takes one.
        UsageError: there is no convolution of this name, or its filters have too many channels to
            be shown.
    """
    if source.module is None:
        raise SourceError(f"{source.text} has no PyTorch module; pass the model it was made from.")
    name, convolution = _convolution(source.module, source.text, layer)
    taps = convolution.weight.detach().cpu().double().numpy()
    if taps.shape[1] not in (1, COLORS):
        raise UsageError(
            f"filters of {name} have {taps.shape[1]} channels; shown are those with 1 or {COLORS}: "
            f"{', '.join(_showable(source.module)[:6])}, ..."
        )
    found = Filters(
        source.name, str(source.provenance), name, int(convolution.stride[0]), np.asarray(taps)
    )
    if picture is None:
        return found
    prepared, array = _prepared(source, picture)
    maps = _maps(source.module, convolution, array)
    return Filters(
        found.model, found.weights, name, found.stride, found.taps, prepared, np.asarray(maps)
    )


def response(taps: Floats) -> Floats:
    """Magnitude of the Fourier transform of (..., channels, k, k), the channels' energies added.

    Returns (..., RESPONSE_SIZE, RESPONSE_SIZE), frequencies as of `frequencies` along both axes.
    """
    size = (RESPONSE_SIZE, RESPONSE_SIZE)
    spectrum = np.fft.fftshift(np.fft.fft2(taps, size), axes=(-2, -1))
    magnitudes: Floats = np.sqrt((np.abs(spectrum) ** 2).sum(axis=-3))
    return magnitudes


def frequencies() -> Floats:
    """Cycles per pixel along an axis of a response: from -0.5, 0 in the middle, below 0.5."""
    return np.asarray(np.fft.fftshift(np.fft.fftfreq(RESPONSE_SIZE)))


def beyond(responses: Floats, stride: int) -> Floats:
    """The share of the energy of (..., n, n) responses above 0.5 / stride, along either axis."""
    limit = 0.5 / stride
    above = np.abs(frequencies()) > limit
    outside = above[:, np.newaxis] | above[np.newaxis, :]
    energy = responses**2
    total = energy.sum(axis=(-2, -1))
    shares: Floats = (energy * outside).sum(axis=(-2, -1)) / np.where(total > 0, total, 1.0)
    return shares


def _convolution(module: nn.Module, model: str, layer: str | None) -> tuple[str, nn.Conv2d]:
    from torch import nn

    found = {name: m for name, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    if not found:
        raise SourceError(f"{model} has no 2-D convolution that is a module.")
    if layer is None:
        return next(iter(found.items()))
    if layer not in found:
        known = ", ".join(list(found)[:6])
        raise UsageError(f"{model} has no convolution {layer!r}; it has {known}, ...")
    return layer, found[layer]


def _showable(module: nn.Module) -> list[str]:
    from torch import nn

    found = ((name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d))
    return [name for name, m in found if m.weight.shape[1] in (1, COLORS)]


def input_of(source: Source) -> tuple[InputContract, TensorSpec]:
    """How a source takes pictures: float32 NCHW. Raises SourceError where it does not say."""
    from edgecnn.export._inputs import input_contract

    contract = input_contract(source, "NCHW")
    return contract, TensorSpec(contract.name, contract.shape, contract.dtype, contract.layout)


def _prepared(source: Source, picture: Image) -> tuple[Image, NDArray[np.float32]]:
    contract, tensor = input_of(source)
    pixels = preprocess.resize_and_crop(
        picture, contract.imgsz, contract.crop_pct, contract.interpolation
    )
    return pixels, preprocess.from_pixels(pixels, contract, tensor)


class _ReachedError(Exception):
    """The layer has run: nothing behind it is asked for."""


def _maps(module: nn.Module, convolution: nn.Conv2d, array: NDArray[np.float32]) -> Floats:
    """Results of the convolution itself, before normalization and activation."""
    import torch

    found: list[torch.Tensor] = []

    def take(layer: object, inputs: object, output: torch.Tensor) -> None:
        found.append(output[0])
        raise _ReachedError

    handle = convolution.register_forward_hook(take)
    try:
        with torch.inference_mode():
            module(torch.from_numpy(array))
    except _ReachedError:
        pass
    finally:
        handle.remove()
    if not found:
        raise SourceError("the convolution is never run.")
    return np.asarray(found[0].double().numpy())
