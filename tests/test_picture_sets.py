"""Data sets by name, and as folders of files."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_pictures

from edgecnn import images, picture_sets, train_data
from edgecnn.errors import DataError


def _idx(folder: Path) -> Path:
    """MNIST's files with 20 pictures to train on and 10 to test with."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        tiny_pictures.write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels)
        tiny_pictures.write_idx(
            folder / f"{prefix}-labels-idx1-ubyte.gz", (np.arange(count) % 5).astype(np.uint8)
        )
    return folder


def test_a_folder_stays_what_it_is(tmp_path: Path) -> None:
    folder = tiny_pictures.write(tmp_path / "pictures", 2)
    assert picture_sets.as_folder(str(folder), "test", tmp_path / "work") == folder
    assert not (tmp_path / "work").exists()


def test_mnists_files_become_a_folder_of_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mnist = _idx(tmp_path / "mnist")
    monkeypatch.setenv("EDGECNN_DATA", str(tmp_path))
    monkeypatch.chdir(tiny_pictures.write(tmp_path / "elsewhere", 2))
    for text in ("mnist", str(mnist)):
        folder = picture_sets.as_folder(text, "test", tmp_path / "work")
        listed = images.labelled(images.list_images(folder), folder, classes=5)
        assert sorted(i.class_index for i in listed) == sorted([0, 1, 2, 3, 4] * 2)
    picture = cv2.imread(str(folder / "3" / "000008.png"))
    assert np.array_equal(picture, train_data.load(mnist, "test").image(8))
    fewer = picture_sets.as_folder("mnist", "train", tmp_path / "work", 5)
    assert sorted(p.stem for p in images.list_images(fewer)) == [
        "000000", "000004", "000008", "000012", "000016",
    ]  # fmt: skip


def test_an_archive_becomes_a_folder_once(tmp_path: Path) -> None:
    folder = tiny_pictures.write(tmp_path / "in" / "test", 2)
    tiny_pictures.write(tmp_path / "in" / "train", 2)
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for picture in sorted((tmp_path / "in").rglob("*.png")):
            file.write(picture, picture.relative_to(tmp_path / "in").as_posix())
    found = picture_sets.as_folder(str(archive), "test", tmp_path / "work")
    files = images.list_images(found)
    assert [p.parent.name for p in files] == ["blue", "blue", "green", "green", "red", "red"]
    original = images.list_images(folder)
    assert all(
        np.array_equal(cv2.imread(str(a)), cv2.imread(str(b)))
        for a, b in zip(files, original, strict=True)
    )
    before = files[0].stat().st_mtime_ns
    assert picture_sets.as_folder(str(archive), "test", tmp_path / "work") == found
    assert files[0].stat().st_mtime_ns == before


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        picture_sets.as_folder(str(tmp_path / "gone"), "test", tmp_path)
