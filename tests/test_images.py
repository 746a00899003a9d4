"""Listing photographs, choosing some of them, and telling their classes."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import images
from edgecnn.errors import DataError


def make_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def relative(paths: tuple[Path, ...], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_listing_is_sorted_and_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    make_folder(tmp_path, "b/2.JPG", "b/1.png", "a/9.jpeg", "notes.txt", ".cache/x.png", "z.bmp")
    assert relative(images.list_images(tmp_path), tmp_path) == [
        "a/9.jpeg",
        "b/1.png",
        "b/2.JPG",
        "z.bmp",
    ]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        images.list_images(tmp_path / "absent")
    with pytest.raises(DataError, match="no images"):
        images.list_images(make_folder(tmp_path, "notes.txt"))


@given(st.integers(0, 300), st.integers(1, 300))
def test_subset_is_evenly_spread(total: int, count: int) -> None:
    paths = tuple(Path(f"{i:03}.png") for i in range(total))
    chosen = images.calibration_subset(paths, count)
    assert len(chosen) == min(total, count) == len(set(chosen))
    assert list(chosen) == sorted(chosen)
    indices = [int(path.stem) for path in chosen]
    gaps = {b - a for a, b in pairwise(indices)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_digest_depends_on_bytes_and_order(tmp_path: Path) -> None:
    a, b = images.list_images(make_folder(tmp_path, "a.png", "b.png"))
    assert images.images_sha256([a, b]) != images.images_sha256([b, a])
    before = images.images_sha256([a])
    a.write_bytes(b"other")
    assert images.images_sha256([a]) != before


def classes_of(root: Path, **how: object) -> dict[str, int | None]:
    found = images.labelled(images.list_images(root), root, **how)  # type: ignore[arg-type]
    return {image.path.parent.name: image.class_index for image in found}


def test_folders_named_by_index(tmp_path: Path) -> None:
    make_folder(tmp_path, "0/x.png", "07/x.png")
    assert classes_of(tmp_path, classes=10) == {"0": 0, "07": 7}
    with pytest.raises(DataError, match="class 7, but the model has 5"):
        classes_of(tmp_path, classes=5)


def test_folders_named_by_label(tmp_path: Path) -> None:
    make_folder(tmp_path, "cat/x.png", "ship/deep/x.png")
    assert images.labelled(
        images.list_images(tmp_path), tmp_path, classes=3, labels=("ship", "dog", "cat")
    ) == (
        images.LabelledImage(tmp_path / "cat/x.png", 2),
        images.LabelledImage(tmp_path / "ship/deep/x.png", 0),
    )


def test_a_label_of_two_classes_decides_nothing(tmp_path: Path) -> None:
    make_folder(tmp_path, "crane/x.png")
    with pytest.raises(DataError, match="crane"):
        classes_of(tmp_path, classes=3, labels=("crane", "dog", "crane"))


def test_folders_named_by_wordnet_id(tmp_path: Path) -> None:
    make_folder(tmp_path, "n01440764/x.png", "n15075141/x.png")
    assert classes_of(tmp_path, classes=1000) == {"n01440764": 0, "n15075141": 999}
    with pytest.raises(DataError, match="--labels"):
        classes_of(tmp_path, classes=1001)


def test_folders_named_in_a_labels_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", "0/x.png", "b/x.png", "rest of it/x.png")
    file = tmp_path / "labels.txt"
    file.write_text("b bee\nrest of it\n0 zero\n")
    assert classes_of(root, classes=3, labels_file=file) == {"b": 0, "rest of it": 1, "0": 2}


def test_namings_are_not_mixed(tmp_path: Path) -> None:
    make_folder(tmp_path, "0/x.png", "dog/x.png")
    with pytest.raises(DataError, match="1 of 2 class folders"):
        classes_of(tmp_path, classes=3, labels=("cat", "dog", "cow"))


def test_images_beside_the_folders_have_no_class(tmp_path: Path) -> None:
    make_folder(tmp_path, "x.png")
    assert classes_of(tmp_path, classes=3) == {tmp_path.name: None}


@pytest.mark.parametrize("content", [b"a\n\nb\n", b"\xff\xfe\x00"])
def test_bad_labels_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(DataError):
        images.read_lines(file)
    with pytest.raises(DataError):
        images.read_lines(tmp_path / "absent.txt")


def test_imagenets_classes() -> None:
    labels, wnids = images.imagenet_labels(), images.imagenet_wnids()
    assert len(labels) == len(wnids) == 1000
    assert list(wnids) == sorted(wnids), "the usual order of the classes is that of the ids"
    assert labels[wnids["n01484850"]] == "great white shark"


def test_the_packaged_classes_are_the_known_ones(imagenet_labels: Path) -> None:
    assert images.read_lines(imagenet_labels) == images.read_lines(images._imagenet_file())
