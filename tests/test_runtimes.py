"""Every runtime computes what PyTorch computes, and says why where it cannot run.

Parametrized over what discovery finds: a new runtime or format is tested by existing.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny import FLOAT_ATOL, logits, session_for

from edgecnn import export, formats, runtimes
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL, UNITS, Device
from edgecnn.errors import ArtifactError, UnavailableError, UsageError
from edgecnn.runtimes import null

FP16_ATOL = 5e-3
COMPUTING = [name for name in runtimes.names() if name != "null"]
PAIRS = [(format_, name) for name in COMPUTING for format_ in runtimes.get(name).formats]
DEVICES = [Device.parse(unit) for unit in UNITS]
PLACES = [(*pair, Device.parse(unit)) for pair in PAIRS for unit in runtimes.get(pair[1]).units]


def home(name: str) -> Device:
    """Return the first device that a runtime is made for."""
    return Device.parse(runtimes.get(name).units[0])


@pytest.mark.parametrize(("format_name", "name", "device"), PLACES, ids=str)
def test_equals_pytorch(format_name: str, name: str, device: Device, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, format_name)
    image = tiny.image()
    found = logits(name, made, tiny.arranged(image, made), device)
    assert (found.shape, found.dtype) == ((1, tiny.CLASSES), np.float32)
    assert np.allclose(found, tiny.expected(image), rtol=0, atol=FLOAT_ATOL)


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_threads_change_nothing(format_name: str, name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, format_name)
    image = tiny.arranged(tiny.image(1), made)
    one, two = (logits(name, made, image, home(name), threads) for threads in (1, 2))
    assert np.allclose(one, two, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("format_name", "name", "device"), PLACES, ids=str)
def test_half_precision(
    format_name: str, name: str, device: Device, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "fp16" not in export.get(format_name).precisions:
        pytest.skip(f"{format_name} has no fp16")
    if (format_name, name) == ("tflite", "openvino"):
        reason = "OpenVINO 2026.4 cannot read DEQUANTIZE of a float16 constant"
        request.applymarker(pytest.mark.xfail(raises=ArtifactError, reason=reason, strict=True))
    made = tiny.artifact(tmp_path, format_name, "fp16")
    image = tiny.image()
    found = logits(name, made, tiny.arranged(image, made), device)
    assert np.allclose(found, tiny.expected(image), rtol=0, atol=FP16_ATOL)


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_uint8_pixels(format_name: str, name: str, tmp_path: Path) -> None:
    """A file that takes pixels as they are gives what normalized pixels give."""
    if not export.get(format_name).takes_uint8:
        pytest.skip(f"{format_name} takes no uint8 pixels")
    made = tiny.artifact(tmp_path, format_name, uint8_input=True)
    pixels = np.random.default_rng(0).integers(0, 256, (1, tiny.IMGSZ, tiny.IMGSZ, 3), np.uint8)
    normal = ((pixels.astype(np.float32) - 127.0) / 64.0).transpose(0, 3, 1, 2)
    assert made.inputs[0].dtype == "uint8"
    found = logits(name, made, pixels, home(name))
    assert np.allclose(found, tiny.expected(np.ascontiguousarray(normal)), atol=FLOAT_ATOL)


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_results_stay(format_name: str, name: str, tmp_path: Path) -> None:
    """A later run neither changes an earlier result nor is changed by it."""
    made = tiny.artifact(tmp_path, format_name)
    first, second = (tiny.arranged(tiny.image(seed), made) for seed in (0, 1))
    session = session_for(name, made, home(name))
    before = session.run(first)
    kept = before.copy()
    session.run(second)
    assert np.array_equal(before, kept)
    assert np.array_equal(session.run(first), kept)
    session.close()


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_tells_its_tensors(format_name: str, name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, format_name)
    session = session_for(name, made, home(name))
    assert tuple(session.inputs) == made.inputs
    assert tuple(session.outputs) == made.outputs
    session.close()


@pytest.mark.parametrize(("format_name", "name"), [*PAIRS, ("onnx", "null")])
def test_another_input_is_refused(format_name: str, name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, format_name)
    session = session_for(name, made, home(name))
    good = tiny.arranged(tiny.image(), made)
    for wrong in (good[..., :2], good.astype(np.float64), good[0]):
        with pytest.raises(UsageError, match="takes float32"):
            session.run(wrong)
    session.close()


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
@pytest.mark.parametrize("damage", ["cut", "noise", "absent"])
def test_a_file_damaged_since_is_refused(
    format_name: str, name: str, damage: str, tmp_path: Path
) -> None:
    made = tiny.artifact(tmp_path, format_name)
    content = made.path.read_bytes()
    if damage == "absent":
        made.path.unlink()
    else:
        made.path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"noise" * 999)
    with pytest.raises(ArtifactError, match=made.path.name):
        session_for(name, made, home(name))


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_several_inputs_are_refused(format_name: str, name: str, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, format_name)
    with pytest.raises(ArtifactError, match="expected one input"):
        session_for(name, replace(made, inputs=made.inputs * 2), home(name))


@pytest.mark.parametrize("name", runtimes.names())
def test_another_format_is_refused(name: str, tmp_path: Path) -> None:
    other = [f for f in formats.names() if f not in runtimes.get(name).formats]
    if not other:
        pytest.skip(f"{name} opens every format")
    made = tiny.artifact(tmp_path, other[0])
    with pytest.raises(UsageError, match=name):
        runtimes.open_session(runtimes.get(name), made, LOCAL, 1)


@pytest.mark.parametrize("name", COMPUTING)
def test_an_absent_package_is_named_with_its_install_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(module: str) -> Any:
        raise ModuleNotFoundError(name=module.partition(".")[0])

    runtime, device = runtimes.get(name), home(name)
    monkeypatch.setattr(importlib, "import_module", absent)
    reason = runtime.unavailable(device)
    assert reason is not None
    assert "not installed" in reason
    assert all(requirement in reason for requirement in runtime.requires)
    assert "pip install" in reason


@pytest.mark.parametrize("name", COMPUTING)
def test_a_broken_package_gives_the_real_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> Any:
        raise ImportError("libsomething.so.1: cannot open shared object file")

    runtime, device = runtimes.get(name), home(name)
    monkeypatch.setattr(importlib, "import_module", broken)
    reason = runtime.unavailable(device)
    assert reason is not None
    assert "libsomething.so.1" in reason
    assert "pip install --force-reinstall" in reason


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", COMPUTING)
def test_unavailable_says_what_to_do(name: str, device: Device) -> None:
    reason = runtimes.get(name).unavailable(device)
    if reason is None:
        pytest.skip(f"{name} is available on {device}")
    assert any(hint in reason for hint in ("pip install", "apt-get install", "--device"))


@pytest.mark.parametrize(
    ("name", "device"),
    [(n, d) for n in COMPUTING for d in DEVICES if d.kind not in runtimes.get(n).units],
    ids=str,
)
def test_a_device_that_a_runtime_is_not_made_for_is_told_first(name: str, device: Device) -> None:
    runtime = runtimes.get(name)
    reason = runtime.unavailable(device)
    assert reason is not None
    assert f"not on {device}; pass --device" in reason
    assert name not in {n for f in runtime.formats for n in runtimes.reading(f, device)}


@pytest.mark.parametrize(("format_name", "name", "device"), PLACES, ids=str)
def test_transfers_are_told_where_there_are_any(
    format_name: str, name: str, device: Device, tmp_path: Path
) -> None:
    made = tiny.artifact(tmp_path, format_name)
    session = session_for(name, made, device)
    found = session.transfers(tiny.arranged(tiny.image(), made), 3)
    session.close()
    assert (found is not None) == (device.kind == "cuda")
    assert found is None or min(found.in_ms, found.compute_ms, found.out_ms) > 0


@pytest.mark.parametrize("name", runtimes.names())
def test_opening_where_unavailable_fails(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = runtimes.get(name)
    made = tiny.artifact(tmp_path, runtime.formats[0])
    monkeypatch.setattr(runtime, "unavailable", lambda device: "it rains.")
    with pytest.raises(UnavailableError, match="it rains"):
        runtimes.open_session(runtime, made, LOCAL, 1)


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
def test_layers(
    format_name: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a runtime tells its layers, they are those of the network, and nothing is left."""
    made = tiny.artifact(tmp_path, format_name)
    session = session_for(name, made, home(name))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    image = tiny.arranged(tiny.image(), made)
    found = session.layers(image, runs=3)
    assert np.allclose(session.run(image), tiny.expected(tiny.image()), atol=FLOAT_ATOL)
    session.close()
    assert list(scratch.iterdir()) == []
    if not found:
        pytest.skip(f"{name} does not tell its layers")
    convolutions = [layer for layer in found if "conv" in layer.op.lower()]
    assert len(convolutions) >= 4
    assert len({layer.name for layer in found}) == len(found)
    assert all(layer.ms >= 0 for layer in found)
    assert sum(layer.ms for layer in found) > 0


@pytest.mark.parametrize("name", COMPUTING)
def test_nothing_is_left_in_the_home_folder(name: str, tmp_path: Path) -> None:
    """No runtime reports home or leaves a file there; OpenVINO does both when it is let."""
    made = tiny.artifact(tmp_path, runtimes.get(name).formats[0])
    session_for(name, made, home(name)).close()
    folder = tmp_path / "home"
    folder.mkdir()
    code = (
        "import os, sys\n"
        "sys.addaudithook(lambda event, _: print(event) if event in ('os.fork', 'socket.connect')"
        " else None)\n"
        "from edgecnn import Artifact, runtimes\n"
        "from edgecnn.device import Device\n"
        f"made = Artifact.load({str(made.path)!r})\n"
        f"device = Device.parse({str(home(name))!r})\n"
        f"runtimes.open_session(runtimes.get({name!r}), made, device, 1).close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(folder), "CI": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("socket")] == []
    assert "os.fork" not in done.stdout or name == "torch_compiled"
    assert [path.name for path in folder.iterdir() if path.name not in (".cache", ".triton")] == []


@pytest.mark.parametrize("format_name", formats.names())
def test_null_opens_everything_and_is_a_function_of_the_input(
    format_name: str, tmp_path: Path
) -> None:
    made = tiny.artifact(tmp_path, format_name)
    images = [tiny.arranged(tiny.image(seed), made) for seed in range(20)]
    first, again = ([logits("null", made, image) for image in images] for _ in range(2))
    assert np.array_equal(first, again)
    assert all(answer.shape == (1, tiny.CLASSES) and answer.sum() == 1 for answer in first)
    assert len({int(answer.argmax()) for answer in first}) > 3


def test_null_answers_as_a_test_wants(tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "onnx")
    session = null.NullSession(made, answer=lambda array, classes: classes - 1)
    assert session.run(tiny.image()).argmax() == tiny.CLASSES - 1


def test_only_timed_runtimes_are_ranked(tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "onnx")
    ranked = {runtime.name for runtime in runtimes.available(made, LOCAL)}
    assert not ranked & {"null", "reference"}
    assert ranked <= set(runtimes.reading("onnx"))


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageError, match="ort"):
        runtimes.get("abacus")


@pytest.mark.slow
@pytest.mark.usefixtures("lite0_weights")
@pytest.mark.parametrize("format_name", export.names())
def test_efficientnet_lite0_equals_pytorch(format_name: str, tmp_path: Path) -> None:
    """The real network with its real weights, in every runtime that opens the format."""
    import torch

    from edgecnn import sources
    from edgecnn.preprocess import GOLDEN_RECIPE, from_pixels, golden_image

    source = sources.resolve("efficientnet_lite0")
    path = tmp_path / f"lite0{formats.get(format_name).suffix}"
    export.export(source, format_name, tiny.FP32, path)
    made = Artifact.load(path)
    pixels = golden_image(GOLDEN_RECIPE, source.imgsz or 0)
    image = from_pixels(pixels, made.required_contract().input, made.single_input())
    is_nhwc = made.single_input().layout == "NHWC"
    with torch.inference_mode():
        expected = source.module(  # type: ignore[misc]
            torch.from_numpy(image.transpose(0, 3, 1, 2) if is_nhwc else image)
        ).numpy()
    for name in runtimes.reading(format_name):
        if name != "null" and runtimes.get(name).unavailable(LOCAL) is None:
            found = logits(name, made, image)
            assert np.allclose(found, expected, rtol=0, atol=1e-3), name
