"""Where published figures come from, and the conventions that several families share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgecnn.spec import Checkpoint, Conventions, ModelSpec, Published

Figures = Mapping[float, tuple[int, Mapping[int, tuple[float, float]]]]
"""Width -> (parameters, resolution -> (multiply-adds in millions, top-1 in percent))."""

TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv@aa4b585"
SLIM_V1 = "tensorflow/models research/slim/nets/mobilenet_v1.md@02c04f4"
SLIM = "tensorflow/models research/slim/nets/mobilenet/README.md@0ba83cf"
MNASNET = "tensorflow/tpu models/official/mnasnet/README.md@009812f"
EFFICIENTNET = "arXiv 1905.11946 Table 2, via Mycenae/PaperWeekly EfficientNet.md@3574a86"
EFFICIENTNET_LITE = "tensorflow/tpu models/official/efficientnet/lite/README.md@07e173c"
EFFICIENTNET_V2 = "google/automl efficientnetv2/README.md@25907c2"
TIMM_LATER = "huggingface/pytorch-image-models results/results-imagenet.csv@0173a13"
LECUN = "LeCun et al. 1998, Proceedings of the IEEE 86(11), section III and figure 9"
LECUN_TABLE = f"{LECUN}; yann.lecun.com/exdb/mnist, table"
MNIST = "MNIST test 10k"
TORCHVISION = "pytorch/vision torchvision/models/{} (torchvision 0.29.1 wheel)"

HALF = (127.5, 127.5, 127.5)
"""Mean and standard deviation of 0.5 in the units of a pixel, 0 to 255."""


PYTORCH = Conventions(interpolation="bilinear")
"""Of torchvision's first weights; ImageNet's mean and deviation, a centre of 224 out of 256."""

DIGITS = Conventions(mean=(33.3285,), std=(78.5655,), crop_pct=1.0, interpolation="bilinear")
"""Gray, mean and deviation of the pixels of MNIST's training set (0.1307 and 0.3081 of 255)."""


def resized(shorter_side: int, resolution: int = 224) -> Conventions:
    """torchvision's conventions with another size of the shorter side before the crop."""
    return replace(PYTORCH, crop_pct=resolution / shorter_side)


def crop_pct(resolution: int) -> float:
    """The share of the shorter side that Google's evaluation keeps: it crops 32 pixels off.

    CROP_PADDING in tensorflow/tpu models/official/efficientnet/preprocessing.py.
    """
    return round(resolution / (resolution + 32), 3)


def timm(name: str, conventions: Conventions, resolution: int, top1: float) -> Checkpoint:
    """A checkpoint that timm names, with its accuracy in timm's own results table."""
    return Checkpoint(f"timm:{name}", conventions, resolution, top1, TIMM)


def torchvision(
    name: str, file: str, conventions: Conventions, resolution: int, top1: float
) -> Checkpoint:
    """A checkpoint of torchvision (its default weights), with the accuracy its file states."""
    source = TORCHVISION.format(file)
    return Checkpoint(f"torchvision:{name}", conventions, resolution, top1, source)


def of_torchvision(spec: ModelSpec, file: str, params: int, macs_m: int, top1: float) -> ModelSpec:
    """A spec with what torchvision says of the model of that name: its weights and their figures.

    Multiply-adds in millions, top-1 in percent.
    """
    source = TORCHVISION.format(file)
    published = Published(params, macs_m * 1_000_000, source, top1, source)
    checkpoint = torchvision(spec.name, file, spec.conventions, spec.resolution, top1)
    return replace(spec, published=published, checkpoints=(checkpoint,))


def published_grid(
    base: ModelSpec, figures: Figures, notes: Mapping[tuple[float, int], str], source: str
) -> dict[str, Published]:
    """Published figures of a base at several widths and resolutions, by the variant's name."""
    return {
        base.scaled(width, resolution=resolution).name: Published(
            params, round(macs_m * 1e6), source, top1, source, note=notes.get((width, resolution))
        )
        for width, (params, by_resolution) in figures.items()
        for resolution, (macs_m, top1) in by_resolution.items()
    }


def at_widths(
    base: ModelSpec,
    published: Mapping[str, Published],
    checkpoints: Mapping[float, tuple[Checkpoint, ...]],
    widths: Iterable[float],
) -> tuple[ModelSpec, ...]:
    """The base at each width, with what is published for it."""
    scaled = ((width, base.scaled(width)) for width in widths)
    return tuple(
        replace(spec, published=published[spec.name], checkpoints=checkpoints.get(width, ()))
        for width, spec in scaled
    )
