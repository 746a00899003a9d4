"""Headers and contracts in files: what was put in comes out, and damage is always an ArtifactError.

Every test runs on small files that the real converters made, for every format that is found.
"""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn import export, formats, runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec
from edgecnn.device import LOCAL
from edgecnn.errors import ArtifactError
from edgecnn.formats import Header

FORMATS = formats.names()
ZIPPED = ("ncnn", "pt2")
on_one_folder = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def bare_copy(folder: Path, name: str) -> Path:
    """A file without a contract."""
    path = folder / f"bare{formats.get(name).suffix}"
    path.write_bytes(tiny.bare_file(name).read_bytes())
    return path


def natural_logits(made: Artifact) -> np.ndarray:
    """The logits of a file in the runtime that proves files of its format."""
    runtime = runtimes.get(export.get(made.format).runtime)
    if runtime.unavailable(LOCAL):
        pytest.skip(f"{runtime.name}: {runtime.unavailable(LOCAL)}")
    session = runtimes.open_session(runtime, made, LOCAL, 1)
    try:
        return session.run(tiny.arranged(tiny.image(), made))
    finally:
        session.close()


@pytest.mark.parametrize("name", FORMATS)
def test_header_of_an_exported_file(name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, name)
    size = tiny.IMGSZ
    layout = export.get(name).layout
    shape = (1, 3, size, size) if layout == "NCHW" else (1, size, size, 3)
    assert made.inputs == (TensorSpec("image", shape, "float32", layout),)
    assert made.outputs == (TensorSpec("logits", (1, tiny.CLASSES), "float32"),)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_a_contract(name: str, tmp_path: Path) -> None:
    made = Artifact.load(bare_copy(tmp_path, name))
    assert made.contract is None
    assert made.inputs[0].shape == tiny.contract(name).input.shape
    assert np.allclose(natural_logits(made), tiny.expected(tiny.image()), atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_embed_keeps_what_the_model_computes(name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, name)
    assert made.contract == tiny.contract(name)
    assert np.array_equal(
        natural_logits(made), natural_logits(Artifact.load(bare_copy(tmp_path, name)))
    )


@pytest.mark.parametrize("name", FORMATS)
def test_embed_replaces(name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, name)
    other = replace(tiny.contract(name), name="grün 🙂 " + "long " * 200)
    formats.get(name).embed(made.path, other)
    again = Artifact.load(made.path)
    assert again.contract == other
    formats.get(name).embed(made.path, tiny.contract(name))
    back = Artifact.load(made.path)
    assert back.contract == tiny.contract(name)
    assert back.bytes == made.bytes
    assert (back.inputs, back.outputs) == (made.inputs, made.outputs)


@pytest.mark.parametrize("name", FORMATS)
def test_detected_by_content_and_ending(name: str, tmp_path: Path) -> None:
    assert formats.detect(bare_copy(tmp_path, name)).name == name


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"nothing known")
    with pytest.raises(ArtifactError, match="not a model file"):
        Artifact.load(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\0", b"hello", b"\xff" * 4096, b"PK\x03\x04" * 99])
def test_another_content_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"model{formats.get(name).suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=path.name):
        Artifact.load(path)


def inspected(name: str, path: Path) -> Header | None:
    """The header, or None where the file is refused; any other exception fails the test."""
    try:
        return formats.get(name).inspect(path)
    except ArtifactError:
        return None


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@on_one_folder
def test_a_cut_file_is_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    """A cut in front of the contract leaves a foreign file; every other one is refused."""
    whole = tiny.artifact(tmp_path, name)
    content = whole.path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    whole.path.write_bytes(content[:cut])
    header = inspected(name, whole.path)
    if header is not None:
        assert (header.inputs, header.outputs) == (whole.inputs, whole.outputs)
        assert cut >= tiny.bare_file(name).stat().st_size


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@on_one_folder
def test_flipped_bytes_raise_nothing_else(name: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = tiny.artifact(tmp_path, name)
    content = bytearray(whole.path.read_bytes())
    place = st.integers(0, 1500) | st.integers(0, len(content) - 1) | st.integers(-3000, -1)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(place)] = data.draw(st.integers(0, 255))
    whole.path.write_bytes(content)
    inspected(name, whole.path)


@pytest.mark.parametrize("name", FORMATS)
@given(noise=st.binary(max_size=300))
@on_one_folder
def test_noise_raises_nothing_else(name: str, noise: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"noise{formats.get(name).suffix}"
    prefix = {"tflite": b"\x1c\0\0\0TFL3"}.get(name, b"")
    path.write_bytes(prefix + noise)
    inspected(name, path)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Rewrite the members of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ZIPPED)
def test_every_member_counts(name: str, tmp_path: Path) -> None:
    """Without its graph, or without its weights, an archive is refused."""
    graph, weights = {
        "ncnn": ("model.param", "model.bin"),
        "pt2": ("models/model.json", "data/weights/model_weights_config.json"),
    }[name]
    for needed in (graph, weights):
        path = rewritten(
            bare_copy(tmp_path, name),
            lambda members, needed=needed: [members.pop(m) for m in list(members) if needed in m],
        )
        with pytest.raises(ArtifactError, match="lacks"):
            formats.get(name).inspect(path)


@pytest.mark.parametrize("name", ZIPPED)
def test_a_compressed_archive_is_refused(name: str, tmp_path: Path) -> None:
    path = bare_copy(tmp_path, name)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(ArtifactError, match="compressed"):
        formats.get(name).inspect(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7767518", "7767517"),
        ("7767517\n9 9\nInput image 0 1 image", "1 layers of 9"),
        ("7767517\n1 1\nInput image 0 -1 image", "too few"),
        ("7767517\n1 1\nInput image 0 1", "too few"),
        ("7767517\n1 1\nInput image 0 1 image 0=wide", "wide"),
        ("7767517", "graph"),
    ],
)
def test_a_damaged_ncnn_graph(line: str, reason: str, tmp_path: Path) -> None:
    path = rewritten(
        bare_copy(tmp_path, "ncnn"), lambda members: members.update({"model.param": line.encode()})
    )
    with pytest.raises(ArtifactError, match=reason):
        formats.get("ncnn").inspect(path)


@pytest.mark.parametrize(
    "model",
    [b"{}", b"[]", b"[" * 100_000, b'{"graph_module": {"graph": 5, "signature": []}}', b"\xff"],
)
def test_a_damaged_pt2_graph(model: bytes, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        (member,) = [name for name in members if name.endswith("models/model.json")]
        members[member] = model

    with pytest.raises(ArtifactError):
        formats.get("pt2").inspect(rewritten(bare_copy(tmp_path, "pt2"), change))


@pytest.mark.parametrize("name", FORMATS)
def test_inspecting_needs_no_converter(name: str, tmp_path: Path) -> None:
    """On a board, neither torch nor onnx nor a schema package is installed."""
    made = tiny.artifact(tmp_path, name)
    code = (
        "import sys\n"
        "for absent in ('torch', 'onnx', 'ai_edge_litert', 'flatbuffers', 'ncnn', 'cv2'):\n"
        "    sys.modules[absent] = None\n"
        "from edgecnn import Artifact\n"
        f"print(Artifact.load({str(made.path)!r}).sha256)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == made.sha256
