"""Training: determinism, the held-out split, the cache, and pictures from every kind of place."""

import math
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
from conftest import _data_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import families, layers, train
from edgecnn.accuracy import wilson
from edgecnn.errors import DataError, UsageError
from edgecnn.train import DivergedError, Epoch, Recipe, Trained, fit, proxy, varied
from edgecnn.train_data import Pictures, load, read_idx, split

SPEC = tiny_pictures.SPEC
RECIPE = Recipe(epochs=2, batch=8, held_out=9, shift=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    return load(tiny_pictures.write(tmp_path_factory.mktemp("pictures")))


def test_same_seed_same_weights(pictures: Pictures) -> None:
    first, told = fit(SPEC, pictures, RECIPE)
    torch.manual_seed(99)  # the caller's state has no say
    second, again = fit(SPEC, pictures, RECIPE)
    other, _ = fit(SPEC, pictures, replace(RECIPE, seed=1))
    assert _equal(first, second)
    assert [e.loss for e in told.epochs] == [e.loss for e in again.epochs]
    assert not _equal(first, other)


def _equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[key], right[key]) for key in left)


def test_it_learns_and_tells_how_well(pictures: Pictures) -> None:
    network, trained = fit(SPEC, pictures, replace(RECIPE, epochs=8))
    assert trained.top1 == 100.0  # three colours
    assert trained.top1_ci95 == wilson(9, 9)
    assert (trained.trained_on, trained.held_out) == (39, 9)
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    assert not network.training
    assert [e.number for e in trained.epochs] == list(range(1, 9))


def test_the_callers_torch_is_left_alone(pictures: Pictures) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(SPEC, pictures, replace(RECIPE, epochs=1, threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), expected)


def test_nothing_is_trained_twice(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = proxy(SPEC, pictures, RECIPE, tmp_path)
    monkeypatch.setattr(train, "fit", _must_not_train)
    renamed = proxy(replace(SPEC, name="other"), pictures, RECIPE, tmp_path)
    assert renamed == replace(first, model="other")
    for recipe in (replace(RECIPE, seed=1), replace(RECIPE, threads=2)):
        with pytest.raises(AssertionError, match="trains"):
            proxy(SPEC, pictures, recipe, tmp_path)
    deeper = replace(SPEC, blocks=(*SPEC.blocks[:2], SPEC.blocks[1], *SPEC.blocks[2:]))
    with pytest.raises(AssertionError, match="trains"):
        proxy(deeper, pictures, RECIPE, tmp_path)


def _must_not_train(*args: object) -> None:
    raise AssertionError("trains")


def test_other_pictures_are_other_data(pictures: Pictures, tmp_path: Path) -> None:
    fewer = load(tiny_pictures.write(tmp_path, 15))
    assert fewer.digest != pictures.digest


def test_a_damaged_result_is_told(pictures: Pictures, tmp_path: Path) -> None:
    proxy(SPEC, pictures, RECIPE, tmp_path)
    file = next((tmp_path / "trained").iterdir())
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=file.name):
        proxy(SPEC, pictures, RECIPE, tmp_path)


def test_a_result_survives_its_file(pictures: Pictures, tmp_path: Path) -> None:
    _, trained = fit(SPEC, pictures, RECIPE)
    trained.save(tmp_path / "trained.json")
    assert Trained.load(tmp_path / "trained.json") == trained


def test_a_watcher_ends_the_training_and_nothing_is_kept(
    pictures: Pictures, tmp_path: Path
) -> None:
    seen: list[int] = []

    def watch(epoch: Epoch) -> None:
        seen.append(epoch.number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proxy(SPEC, pictures, replace(RECIPE, epochs=5), tmp_path, watch)
    assert seen == [1]
    assert not (tmp_path / "trained").exists()


def test_a_loss_that_is_no_number_is_told(pictures: Pictures) -> None:
    with pytest.raises(DivergedError, match="lower learning rate"):
        fit(SPEC, pictures, replace(RECIPE, learning_rate=1e30, warmup=0.0))


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 1}, {"optimizer": "lion"}, {"learning_rate": math.nan},
     {"warmup": 1.0}, {"limit": 0}, {"threads": 0}, {"label_smoothing": 1.0}],
)  # fmt: skip
def test_a_recipe_without_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_adamw_trains_too(pictures: Pictures) -> None:
    recipe = replace(RECIPE, optimizer="adamw", learning_rate=0.01, epochs=8)
    assert fit(SPEC, pictures, recipe)[1].top1 > 60


def test_the_schedule_rises_and_falls(pictures: Pictures) -> None:
    recipe = replace(RECIPE, epochs=4, warmup=0.25)
    data = train.tensors(SPEC, pictures, np.arange(48))
    run = train._Run(SPEC, recipe, torch.nn.Linear(1, 1), data)
    factors = [run._factor(step) for step in range(24)]  # 4 epochs of 6 steps
    assert factors[:6] == sorted(factors[:6]) and factors[0] == pytest.approx(1 / 7)
    assert factors[6:] == sorted(factors[6:], reverse=True) and factors[6] == 1.0
    assert factors[15] == pytest.approx(0.5)  # half way down
    assert 0 < factors[-1] < 0.02


def test_each_picture_is_mirrored_and_moved_by_itself() -> None:
    pixels = torch.randint(1, 256, (64, 3, 6, 6), dtype=torch.uint8)
    recipe = Recipe(shift=2)
    moved = varied(pixels, recipe, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.uint8 and moved.shape == pixels.shape
    found = [_how(before, after, 2) for before, after in zip(pixels, moved, strict=True)]
    assert None not in found
    assert len(set(found)) > 25  # of 2 x 5 x 5
    still = varied(pixels, Recipe(shift=0, mirror=False), torch.Generator())
    assert torch.equal(still, pixels)


def _how(before: torch.Tensor, after: torch.Tensor, shift: int) -> tuple[bool, int, int] | None:
    size = before.shape[-1]
    for mirrored in (False, True):
        padded = torch.zeros(3, size + 2 * shift, size + 2 * shift, dtype=torch.uint8)
        padded[:, shift:-shift, shift:-shift] = before.flip(2) if mirrored else before
        for y in range(2 * shift + 1):
            for x in range(2 * shift + 1):
                if torch.equal(padded[:, y : y + size, x : x + size], after):
                    return mirrored, y, x
    return None


@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=6),
    st.integers(1, 60),
    st.none() | st.integers(1, 60),
    st.integers(0, 3),
)
def test_a_split_keeps_every_class_on_both_sides(
    counts: list[int], held_out: int, limit: int | None, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    trained, tested = split(labels, held_out, limit, seed)
    assert not set(trained) & set(tested)
    assert set(labels[trained]) == set(labels[tested]) == set(range(len(counts)))
    assert len(tested) <= min(held_out, len(labels) // 5) + len(counts)
    if limit is None:
        assert len(trained) + len(tested) == len(labels)
    else:
        assert len(trained) <= limit + len(counts)
    again = split(labels, held_out, limit, seed)
    assert np.array_equal(again[0], trained) and np.array_equal(again[1], tested)


def test_a_zip_file_is_its_folder(pictures: Pictures, tmp_path: Path) -> None:
    folder = Path(pictures.where)
    zipped = load(_zip(folder, tmp_path / "pictures.zip"))
    assert zipped.digest == pictures.digest
    assert zipped.classes == pictures.classes == ("blue", "green", "red")
    assert np.array_equal(zipped.squares(SPEC), pictures.squares(SPEC))


def _zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_parts_are_kept_apart(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path / "train", 6)
    tiny_pictures.write(tmp_path / "val", 3)
    assert len(load(tmp_path).labels) == 18
    assert len(load(tmp_path, "test").labels) == 9
    with pytest.raises(DataError, match="no test pictures"):
        load(tmp_path / "train", "test")


def test_small_pictures_are_taken_whole(pictures: Pictures) -> None:
    assert pictures.adapted(SPEC).conventions.crop_pct == 1.0
    assert np.array_equal(pictures.squares(pictures.adapted(SPEC))[5], pictures.image(5))
    smaller = replace(SPEC, resolution=8)
    assert pictures.adapted(smaller).conventions == SPEC.conventions
    assert pictures.adapted(families.get("mobilenet_v2")).num_classes == 3


def test_one_class_is_refused(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path, 4, classes=("red",))
    with pytest.raises(DataError, match="all 4 pictures are of one class, 'red'"):
        load(tmp_path)


def test_a_class_of_one_picture_is_refused(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path, 1)
    with pytest.raises(DataError, match="one picture"):
        load(tmp_path)


def test_pictures_beside_class_folders_are_refused(tmp_path: Path) -> None:
    folder = tiny_pictures.write(tmp_path, 2, classes=("red",)) / "red"
    with pytest.raises(DataError, match="class folders"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_what_is_no_zip_file_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "data.zip"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.zip"):
        load(file)


def test_a_damaged_zip_names_the_member(pictures: Pictures, tmp_path: Path) -> None:
    path = _zip(Path(pictures.where), tmp_path / "pictures.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 8
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"pictures\.zip.*\.png"):
        load(path)


def test_an_absent_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "absent")


def test_mnist_files_are_read(tmp_path: Path) -> None:
    images = np.arange(20 * 28 * 28).reshape(20, 28, 28).astype(np.uint8)
    tiny_pictures.write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    tiny_pictures.write_idx(
        tmp_path / "train-labels-idx1-ubyte.gz", (np.arange(20) % 10).astype(np.uint8)
    )
    found = load(tmp_path)
    assert found.classes == tuple("0123456789")
    assert found.image(7).shape == (28, 28, 3)
    assert np.array_equal(found.image(7)[..., 2], images[7])
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="labels"):
        load(tmp_path)


def test_digits_are_known_by_their_classes_and_their_gray(tmp_path: Path) -> None:
    digits = load(tiny_pictures.write_digits(tmp_path / "mnist"))
    assert digits.are_digits
    assert not replace(digits, classes=("cat", "dog")).are_digits  # gray photographs
    colours = load(tiny_pictures.write(tmp_path / "colours", 2))
    assert not colours.are_digits
    assert not replace(colours, classes=("0", "1", "2")).are_digits


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_idx_round_trip(tmp_path_factory: pytest.TempPathFactory, shape: list[int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("idx") / "array"
    tiny_pictures.write_idx(path, array)
    assert np.array_equal(read_idx(path), array)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda b: b"\0\0\x08" + b))
def test_any_bytes_are_an_idx_file_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(data)
    try:
        found = read_idx(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert data.endswith(found.tobytes())


@pytest.mark.parametrize("name", [spec.name for spec in families.mobile()])
def test_every_mobile_network_takes_32_pixels(name: str) -> None:
    spec = families.get(name).scaled(resolution=32)
    assert len(layers.lower(spec)) == len(spec.blocks)
    assert spec.resolution == 32


def _data(name: str) -> Path:
    path = _data_folder() / name
    if not path.exists():
        pytest.skip(f"no {path}; set EDGECNN_DATA to the folder that holds it")
    return path


@pytest.mark.slow
def test_mnist_for_real() -> None:
    recipe = Recipe(
        epochs=3, batch=64, learning_rate=0.3, limit=5000, held_out=1000, mirror=False, shift=2
    )
    _, trained = fit(replace(SPEC, resolution=28), load(_data("mnist")), recipe)
    assert trained.top1_ci95[0] > 40  # chance is 10
    assert abs(trained.held_out - 1000) < 10


@pytest.mark.slow
def test_cifar_for_real() -> None:
    pictures = load(_data("cifar10.zip"))
    assert len(pictures.labels) == 50_000 and len(pictures.classes) == 10
    recipe = Recipe(epochs=2, limit=2000, held_out=1000)
    _, trained = fit(replace(SPEC, resolution=32), pictures, recipe)
    assert trained.top1_ci95[0] > 11  # chance is 10
