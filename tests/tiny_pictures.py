"""Small labelled pictures and a small network, for tests that train."""

import gzip
from pathlib import Path

import cv2
import numpy as np

from edgecnn.spec import ModelSpec

COLOURS = {"blue": (255, 40, 40), "green": (40, 255, 40), "red": (40, 40, 255)}  # BGR
SPEC = ModelSpec.parse(
    """
    model tiny
    family tiny
    resolution 16
    dropout 0.1
    block stem_k3_s2_c8_relu
    block mbconv_r1_k3_s2_e3_c8_se0.25_relu
    block pool
    block linear_c3
    """
)


def write(folder: Path, count: int = 16, size: int = 16, classes: tuple[str, ...] = ()) -> Path:
    """Write `count` noisy pictures for each colour, one folder each."""
    random = np.random.default_rng(0)
    for name in classes or tuple(COLOURS):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            noise = random.integers(-40, 40, (size, size, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{index:03}.png"), pixels)
    return folder


def write_digits(folder: Path, count: int = 12) -> Path:
    """Write MNIST's four files of noise: `count` pictures of each of the digits 0 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.arange(2 * count, dtype=np.uint8) % 2
    images = np.random.default_rng(0).integers(0, 256, (2 * count, 28, 28), np.uint8)
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array as MNIST's authors do; gzipped where the name ends in .gz."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
