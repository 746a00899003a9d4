"""No reader ever sees half a file."""

import errno
from pathlib import Path

import pytest

from edgecnn.errors import EXIT_BAD_INPUT, UsageError
from edgecnn.files import DiskError, refuse_existing, replace_file, writing


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(RuntimeError), writing(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    replace_file(target, b"old")
    with pytest.raises(KeyboardInterrupt), writing(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_full_disk_is_one_clear_message(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with pytest.raises(DiskError, match=r"model\.onnx.*No space left") as caught, writing(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.exit_code == EXIT_BAD_INPUT
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "x"):
        (tmp_path / "absent").read_bytes()


def test_existing_files_need_force(tmp_path: Path) -> None:
    file = tmp_path / "x"
    refuse_existing(file, force=False)
    file.touch()
    refuse_existing(file, force=True)
    with pytest.raises(UsageError, match="--force"):
        refuse_existing(file, force=False)
