"""Pictures and exports of the tiny network, made once for all tests of exporting."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny

from edgecnn import export, formats
from edgecnn.artifact import Artifact
from edgecnn.contract import Recipe
from edgecnn.runtimes import missing_package

LABELS = tuple(f"class {i}" for i in range(tiny.CLASSES))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgecnn-export-")


def write_pictures(folder: Path, count: int) -> Path:
    """Write smooth coloured pictures, whose neighbouring pixels correlate as in photographs."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (60, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index:02}.png"), picture)
    return folder


@functools.cache
def pictures() -> Path:
    """Return a folder of 20 pictures."""
    return write_pictures(Path(_folder().name) / "pictures", 20)


def exported(format_name: str, precision: str, uint8_input: bool = False) -> Artifact:
    """Export the tiny network. Skips where a converter's package is absent."""
    return _exported(format_name, precision, uint8_input)


@functools.cache
def _exported(format_name: str, precision: str, uint8_input: bool) -> Artifact:
    missing = missing_package(*export.get(format_name).requires)
    if missing:
        pytest.skip(f"export to {format_name}: {missing}")
    name = f"{precision}-{uint8_input}{formats.get(format_name).suffix}"
    return export_tiny(Path(_folder().name) / name, format_name, precision, uint8_input=uint8_input)


def export_tiny(output: Path, format_name: str, precision: str, **options: Any) -> Artifact:
    """Export the tiny network to ``output``, calibrated on the pictures."""
    settings = {"calibration_folder": pictures(), "labels": LABELS, **options}
    recipe = Recipe.parse(precision)
    return export.export(tiny.source(), format_name, recipe, output, **settings)
