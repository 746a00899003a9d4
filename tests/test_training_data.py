"""What `edgecnn train` learns from: data sets, and how their pictures are varied."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_pictures
import torch
import training_cases
from hypothesis import given
from hypothesis import strategies as st
from training_cases import RECIPE, TRAIN

from edgecnn import network
from edgecnn.errors import DataError, UsageError
from edgecnn.training import datasets
from edgecnn.training.augment import DIGITS, PHOTOGRAPHS, Augment, augmented
from edgecnn.training.batches import Batch
from edgecnn.training.loop import Loop
from edgecnn.training.recipe import Recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_cases.write(tmp_path_factory.mktemp("data"))


# What is trained on


def test_an_unknown_data_set_is_told() -> None:
    with pytest.raises(DataError, match=r"imagenet: no such folder.*mnist, cifar10"):
        datasets.find("imagenet")


def test_a_named_data_set_is_looked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGECNN_DATA", raising=False)
    with pytest.raises(DataError, match=r"shared/data.mnist.*train-images-idx3-ubyte"):
        datasets.find("mnist")
    monkeypatch.setenv("EDGECNN_DATA", str(data))
    with pytest.raises(DataError, match=f"{data}/cifar10.zip"):
        datasets.find("cifar10")
    (tmp_path / "mnist").mkdir()
    assert datasets.find("mnist") == Path("mnist")  # what is here goes first


def test_classes_that_differ_are_told(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path / "train", 4)
    tiny_pictures.write(tmp_path / "test", 4, classes=("blue", "green"))
    with pytest.raises(DataError, match="only in train: red"):
        datasets.load(str(tmp_path), RECIPE)


def test_one_class_and_broken_archives_are_refused(data: Path, tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path / "one", 4, classes=("red",))
    with pytest.raises(DataError, match="one class, 'red'"):
        datasets.load(str(tmp_path / "one"), RECIPE)
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for picture in sorted(data.rglob("*.png")):
            file.write(picture, picture.relative_to(data).as_posix())
    assert len(datasets.load(str(archive), RECIPE).train.labels) == 3 * TRAIN
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match=r"data\.zip: neither a folder nor a readable zip"):
        datasets.load(str(archive), RECIPE)


def test_a_limit_and_none_held_out(data: Path) -> None:
    found = datasets.load(str(data), replace(RECIPE, held_out=0, limit=9))
    assert len(found.trained) == 9 and len(found.held_out) == 0


# How pictures are varied


@given(
    st.booleans(), st.integers(0, 9), st.integers(0, 180), st.integers(0, 99), st.integers(0, 20)
)
def test_an_augmentation_survives_its_text(
    mirror: bool, shift: int, rotate: int, zoom: int, cutout: int
) -> None:
    augment = Augment(mirror, shift, rotate, zoom / 100, cutout)
    assert Augment.parse(str(augment)) == augment


@pytest.mark.parametrize("text", ["", "flip", "mirror:1", "shift", "shift:x", "shift:1,shift:2",
                                  "shift:-1", "zoom:1", "rotate:nan"])  # fmt: skip
def test_other_augmentations_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Augment.parse(text)


def test_the_pictures_decide_how_they_are_varied(data: Path, tmp_path: Path) -> None:
    left = Recipe(augment=None, held_out=6, threads=1)
    assert left.suited_to(datasets.load(str(data), left).train).augment == PHOTOGRAPHS
    digits = datasets.load(str(tiny_pictures.write_digits(tmp_path)), left).train
    suited = left.suited_to(digits).augment
    assert suited == DIGITS and not suited.mirror and suited.shift and suited.rotate
    asked = replace(left, augment=Augment(mirror=True))
    assert asked.suited_to(digits) == asked
    assert Recipe.from_dict(left.to_dict()) == left and Recipe.from_dict(asked.to_dict()) == asked


def test_a_loop_needs_an_augmentation() -> None:
    pixels = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    batch = Batch(pixels, torch.zeros(8, dtype=torch.int64))
    with pytest.raises(UsageError, match="suited_to"):
        Loop(tiny_pictures.SPEC, Recipe(), network.build(tiny_pictures.SPEC), batch)


def test_cutout_takes_a_square_of_each_picture() -> None:
    pixels = torch.full((50, 3, 12, 12), 9, dtype=torch.uint8)
    cut = augmented(pixels, Augment(cutout=4), torch.Generator().manual_seed(0))
    gone = (cut == 0).all(1).sum((1, 2))
    assert cut.dtype == torch.uint8 and int(gone.max()) == 16 and int(gone.min()) >= 4
    assert set(cut.unique().tolist()) == {0, 9}
    assert not torch.equal(cut[0], cut[1])


def test_turning_keeps_the_centre_and_the_size_of_things() -> None:
    pixels = torch.zeros(40, 1, 15, 15, dtype=torch.uint8)
    pixels[:, :, 4:11, 4:11] = 200
    pixels[:, :, 7, 7] = 255
    turned = augmented(pixels, Augment(rotate=180.0), torch.Generator().manual_seed(0))
    assert turned.shape == pixels.shape and turned.dtype == torch.uint8
    assert (turned[:, 0, 7, 7] == 255).all()
    mass = turned.float().sum((1, 2, 3)) / pixels.float().sum((1, 2, 3))
    assert (mass - 1).abs().max() < 0.05
    assert not torch.equal(turned[0], turned[1])
    zoomed = augmented(pixels, Augment(zoom=0.5), torch.Generator().manual_seed(0))
    mass = zoomed.float().sum((1, 2, 3)) / pixels.float().sum((1, 2, 3))
    assert mass.min() < 0.6 and mass.max() > 1.6
