"""Does a network say the same of a picture that was moved by a pixel?

A convolution of stride s keeps every s-th result, and what it loses depends on where the picture
lies: aliasing. Zhang (ICML 2019, arXiv 1904.11486) takes the stride away from the convolution and
puts a blur of that stride behind its activation. `blurred` does that to a trained network, whose
weights were not trained for it; `with_statistics` at least gives its normalization the means and
variances of what is now there. `measure` compares them on photographs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import preprocess
from edgecnn.aliasing import binomial
from edgecnn.contract import InputContract
from edgecnn.errors import DataError, SourceError, UsageError
from edgecnn.filters import input_of
from edgecnn.images import LabelledImage
from edgecnn.network import ACTIVATIONS
from edgecnn.preprocess import Image
from edgecnn.sources import Source

Progress = Callable[[str, int, int], None]
"""Called with what is being done, pictures done, and pictures in all."""

_POINTWISE = (nn.BatchNorm2d, *(kind for kind in ACTIVATIONS.values() if isinstance(kind, type)))
"""Modules that treat each pixel by itself: the blur comes behind them."""
_Z95 = 1.959964
STATISTICS_BATCH = 16


class Blur(nn.Module):
    """A binomial blur of each channel, keeping every `stride`-th pixel: (N, C, H, W), no weights.

    Edges are mirrored. Results lie where those of a convolution with that stride would.
    """

    def __init__(self, taps: int, stride: int) -> None:
        super().__init__()
        row = torch.from_numpy(binomial(taps)).float()
        self.register_buffer("kernel", torch.outer(row, row)[None, None], persistent=False)
        self.pad, self.stride = taps // 2, stride

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))."""
        channels = input.shape[1]
        fits = min(input.shape[2:]) > self.pad
        padded = functional.pad(input, (self.pad,) * 4, mode="reflect" if fits else "replicate")
        kernel = self.get_buffer("kernel").expand(channels, -1, -1, -1)
        return functional.conv2d(padded, kernel, stride=self.stride, groups=channels)


def blurred(module: nn.Module, taps: int = 3) -> nn.Module:
    """A copy of a network in which every strided convolution has stride 1 and a blur behind it.

    Behind normalization and activation, where these follow in the same `nn.Sequential`. With taps
    of 1 nothing is blurred and the results are the network's own. Weights stay as they are.

    Raises:
        SourceError: no convolution with a stride is found.
        UsageError: taps is no odd number from 1 to 9.
    """
    changed = copy.deepcopy(module)
    found = [pair for pair in _parents(changed) if _stride(pair[2]) > 1]
    if not found:
        raise SourceError("the network has no strided 2-D convolution that is a module.")
    for parent, name, convolution in found:
        stride = _stride(convolution)
        convolution.stride = (1, 1)
        _insert(parent, name, Blur(taps, stride))
    return changed.eval()


def with_statistics(module: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy of a network whose batch normalizations have the statistics of these pictures.

    Means and variances are averaged over the batches; nothing is trained and no class is asked for.
    """
    changed = copy.deepcopy(module)
    for layer in changed.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            # None: the plain average of all batches.
            layer.momentum = None
            layer.train()
    with torch.inference_mode():
        for batch in batches:
            changed(batch)
    return changed.eval()


def _parents(module: nn.Module) -> list[tuple[nn.Module, str, nn.Conv2d]]:
    return [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Conv2d)
    ]


def _stride(convolution: nn.Conv2d) -> int:
    return max(int(step) for step in convolution.stride)


def _insert(parent: nn.Module, name: str, blur: Blur) -> None:
    names = list(parent._modules)
    at = names.index(name)
    while isinstance(parent, nn.Sequential) and at + 1 < len(names):
        if not isinstance(parent._modules[names[at + 1]], _POINTWISE):
            break
        at += 1
    parent._modules[names[at]] = nn.Sequential(_child(parent, names[at]), blur)


def _child(parent: nn.Module, name: str) -> nn.Module:
    child = parent._modules[name]
    if child is None:
        raise SourceError(f"{name} of the network is no module.")
    return child


@dataclass(frozen=True, eq=False)
class Answers:
    """The classes that a network gives: (pictures, shifts), the right ones (pictures,).

    Where nobody says what is right, `right` holds -1.
    """

    name: str
    best: NDArray[np.int64]
    right: NDArray[np.int64]

    @cached_property
    def top1(self) -> tuple[float, ...] | None:
        """Percent right, by shift; None where no class is known."""
        known = self.right >= 0
        if not known.any():
            return None
        hits = self.best[known] == self.right[known][:, np.newaxis]
        return tuple(float(100 * share) for share in hits.mean(axis=0))

    @cached_property
    def agreement(self) -> tuple[float, ...]:
        """Percent of pictures with the class of the picture that was not moved, by shift."""
        same = self.best == self.best[:, :1]
        return tuple(float(100 * share) for share in same.mean(axis=0))

    @cached_property
    def by_picture(self) -> NDArray[np.float64]:
        """Of each picture, the share of pairs of shifts with the same class."""
        pairs = list(combinations(range(self.best.shape[1]), 2))
        same = [self.best[:, a] == self.best[:, b] for a, b in pairs]
        return np.asarray(np.mean(same, axis=0), np.float64)

    @property
    def consistency(self) -> float:
        """Percent of pairs of shifts of a picture that are given the same class."""
        return float(100 * self.by_picture.mean())


@dataclass(frozen=True, eq=False)
class Shifts:
    """What a network, the first of `networks`, and its blurred copies say of moved pictures.

    `pixels` are the shifts, down and to the right alike. `statistics` counts the pictures that the
    last network's normalization was set by, 0 where there is no such network.
    """

    model: str
    weights: str
    taps: int
    pixels: tuple[int, ...]
    networks: tuple[Answers, ...]
    statistics: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Pictures that were looked at."""
        return len(self.networks[0].best)

    def gain(self, network: Answers) -> tuple[float, float, float]:
        """Points of consistency above the first network's, and a 95 % interval of them.

        By the normal distribution, over pictures.
        """
        points = 100 * (network.by_picture - self.networks[0].by_picture)
        mean, count = float(points.mean()), len(points)
        reach = _Z95 * float(points.std(ddof=1)) / count**0.5 if count > 1 else 100.0
        return mean, mean - reach, mean + reach

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "model": self.model,
            "weights": self.weights,
            "images": self.images,
            "shifts": list(self.pixels),
            "taps": self.taps,
            "statistics_images": self.statistics,
            "networks": [self._document(one) for one in self.networks],
            "skipped": list(self.skipped),
        }

    def _document(self, one: Answers) -> dict[str, Any]:
        gain, low, high = self.gain(one)
        return {
            "name": one.name,
            "consistency": one.consistency,
            "agreement": list(one.agreement),
            "top1": None if one.top1 is None else list(one.top1),
            "gain": gain,
            "gain_ci95": [low, high],
        }


def measure(
    source: Source,
    images: Sequence[LabelledImage],
    *,
    shifts: int = 8,
    taps: int = 3,
    statistics: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Shifts:
    """Classify each picture at shifts of 0 to `shifts` pixels, by the network and blurred.

    A shift moves the square that is cut out of the resized picture, down and to the right, so that
    nothing is made up at its edges. `statistics` are pictures to set normalization by, for a third
    network; they should not be among `images`.

    Raises:
        SourceError: the model has no PyTorch module, no strided convolutions, or does not say how
            it takes pictures.
        UsageError: there is no room for so many shifts around the square, or taps is wrong.
        DataError: none of the pictures can be decoded, or one for the statistics cannot.
    """
    if source.module is None:
        raise SourceError(f"{source.text} has no PyTorch module; pass the model it was made from.")
    if shifts < 1 or len(statistics) == 1:
        raise UsageError(
            f"{shifts} shifts, statistics of {len(statistics)} pictures; at least 1 shift, and "
            "statistics of none or of at least 2."
        )
    check_room(input_of(source)[0], shifts)
    networks = _networks(source, source.module, taps, statistics)
    best: list[list[NDArray[np.int64]]] = []
    right: list[int] = []
    skipped: list[str] = []
    for index, image in enumerate(images):
        if progress is not None:
            progress("moving pictures", index, len(images))
        try:
            batch = _batch(source, preprocess.read_image(image.path), shifts)
        except DataError as error:
            skipped.append(str(error))
            continue
        best.append([_classes(network, batch) for network in networks.values()])
        right.append(-1 if image.class_index is None else image.class_index)
    if not best:
        raise DataError(f"none of {len(images)} pictures can be decoded, e.g. {skipped[:1]}")
    found, known = np.array(best), np.array(right)
    return Shifts(
        model=source.name,
        weights=str(source.provenance),
        taps=taps,
        pixels=tuple(range(shifts + 1)),
        networks=tuple(Answers(name, found[:, i], known) for i, name in enumerate(networks)),
        statistics=len(statistics),
        skipped=tuple(skipped),
    )


def _networks(
    source: Source, module: nn.Module, taps: int, statistics: Sequence[Path]
) -> dict[str, nn.Module]:
    """The network, its blurred copy, and that with other statistics, by what they are called."""
    smooth, name = blurred(module, taps), f"blur of {taps} taps"
    found = {"as trained": module, name: smooth}
    if statistics:
        pictures = [_batch(source, preprocess.read_image(path), 0) for path in statistics]
        # Of even sizes: a batch of one picture may leave a channel a single value.
        batches = torch.cat(pictures).chunk(max(1, len(pictures) // STATISTICS_BATCH))
        found[f"{name}, new statistics"] = with_statistics(smooth, batches)
    return found


def check_room(contract: InputContract, shifts: int) -> None:
    """Refuse more shifts than the resized picture has pixels around the square. UsageError."""
    room = int(contract.imgsz / contract.crop_pct) - contract.imgsz
    if shifts > room:
        raise UsageError(
            f"{shifts} pixels of shift; the picture is resized to {contract.imgsz + room} pixels "
            f"and {contract.imgsz} are looked at: at most {room}."
            + ("" if room else " Pass a smaller --crop-pct.")
        )


def moved(picture: Image, contract: InputContract, shifts: int) -> Iterator[Image]:
    """The squares that are looked at, moved by 0 to `shifts` pixels down and to the right."""
    shorter = int(contract.imgsz / contract.crop_pct)
    size = contract.imgsz + shifts
    # Half a pixel more, so that the shorter side is rounded to what it is without shifts.
    around = preprocess.resize_and_crop(
        picture, size, size / (shorter + 0.5), contract.interpolation
    )
    for step in range(shifts + 1):
        yield around[step : step + contract.imgsz, step : step + contract.imgsz]


def _batch(source: Source, picture: Image, shifts: int) -> Tensor:
    contract, tensor = input_of(source)
    arrays = [
        preprocess.from_pixels(np.ascontiguousarray(square), contract, tensor)
        for square in moved(picture, contract, shifts)
    ]
    return torch.from_numpy(np.concatenate(arrays))


def _classes(network: nn.Module, batch: Tensor) -> NDArray[np.int64]:
    with torch.inference_mode():
        return np.asarray(network(batch).argmax(1).numpy(), np.int64)
