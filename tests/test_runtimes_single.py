"""What single runtimes promise beyond what all of them do."""

import importlib
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny import FLOAT_ATOL, logits, session_for

from edgecnn import runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec
from edgecnn.device import LOCAL, Device
from edgecnn.errors import ArtifactError, UnavailableError
from edgecnn.runtimes import Array


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from torch._inductor import cpp_builder, exc

    def none_found() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_found)
    reason = runtimes.get("torch_compiled").unavailable(LOCAL)
    assert reason is not None
    assert "apt-get install g++" in reason


def test_litert_falls_back_to_its_older_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where ai_edge_litert is absent, as on 32-bit boards, tflite_runtime serves."""
    real = pytest.importorskip("ai_edge_litert.interpreter")
    opened: list[str] = []

    class Interpreter(real.Interpreter):  # type: ignore[misc, name-defined]
        def __init__(self, model_path: str, num_threads: int) -> None:
            opened.append(model_path)
            super().__init__(model_path=model_path, num_threads=num_threads)

    older = types.ModuleType("tflite_runtime.interpreter")
    older.Interpreter = Interpreter  # type: ignore[attr-defined]
    made = tiny.artifact(tmp_path, "tflite")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", older)
    image = tiny.image()
    found = logits("litert", made, tiny.arranged(image, made))
    assert opened == [str(made.path)]
    assert np.allclose(found, tiny.expected(image), atol=FLOAT_ATOL)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_litert_runs_through_xnnpack(precision: str, tmp_path: Path) -> None:
    """The whole graph is one delegated node; otherwise the latency would be of plain kernels."""
    session: Any = session_for("litert", tiny.artifact(tmp_path, "tflite", precision))
    executed = [op["op_name"] for op in session._interpreter._get_ops_details()]
    assert "DELEGATE" in executed


def test_quantized_edges_are_left_to_the_caller(tmp_path: Path) -> None:
    """A file with int8 edges takes and gives int8, and tells scale and zero point."""
    made = with_int8_edges(tiny.artifact(tmp_path, "tflite"), tmp_path)
    assert [spec.dtype for spec in (*made.inputs, *made.outputs)] == ["int8", "int8"]
    session: Any = session_for("litert", made)
    assert "DELEGATE" in [op["op_name"] for op in session._interpreter._get_ops_details()]
    for in_file, in_runtime in zip(
        (*made.inputs, *made.outputs), (*session.inputs, *session.outputs), strict=True
    ):
        assert in_runtime == in_file
        assert in_runtime.scale is not None
        assert in_runtime.zero_point is not None
    image = tiny.image()
    found = session.run(quantized(tiny.arranged(image, made), session.inputs[0]))
    assert found.dtype == np.int8
    step = session.outputs[0].scale
    assert step is not None
    real = step * (found.astype(np.float32) - (session.outputs[0].zero_point or 0))
    assert np.abs(real - tiny.expected(image)).max() < 12 * step


def quantized(real: Array, spec: TensorSpec) -> Array:
    scaled = np.round(real / (spec.scale or 1.0)) + (spec.zero_point or 0)
    return np.clip(scaled, -128, 127).astype(np.int8)


def with_int8_edges(made: Artifact, folder: Path) -> Artifact:
    """Quantize a float file, input and output included, on a few random images."""
    quantizer = pytest.importorskip("ai_edge_quantizer")
    recipe = pytest.importorskip("ai_edge_quantizer.recipe")
    worker = quantizer.Quantizer(str(made.path), recipe.static_wi8_ai8())
    runner = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(made.path))
    (signature,) = runner.get_signature_list()
    (argument,) = runner.get_signature_list()[signature]["inputs"]
    images = [{argument: tiny.arranged(tiny.image(seed), made)} for seed in range(20)]
    path = folder / "int8.tflite"
    path.write_bytes(worker.quantize(worker.calibrate({signature: images})).quantized_model)
    return Artifact.load(path)


def test_onnxruntime_never_falls_back_in_silence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A session that came up on the CPU although CUDA was asked for is refused."""
    onnxruntime = pytest.importorskip("onnxruntime")
    made = tiny.artifact(tmp_path, "onnx")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"], raising=True
    )
    real = onnxruntime.InferenceSession
    asked: list[Any] = []

    def on_cpu(path: str, options: Any, providers: Any, **rest: Any) -> Any:
        asked.append(providers)
        assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
        return real(path, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    with pytest.raises(UnavailableError, match="could not start on cuda:1"):
        runtimes.open_session(runtimes.get("ort"), made, Device("cuda", 1), 1)
    assert asked == [[("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0})]]


def test_onnxruntime_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    reason = runtimes.get("ort").unavailable(Device("cuda"))
    assert reason is not None
    assert "has no CUDAExecutionProvider" in reason
    assert "onnxruntime-gpu" in reason


def test_ncnn_with_incomplete_weights(tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "ncnn")
    param, weights = importlib.import_module("edgecnn.formats.ncnn").read(made.path)
    importlib.import_module("edgecnn.formats.ncnn").write(made.path, param, weights[:-64])
    with pytest.raises(ArtifactError, match="weights"):
        session_for("ncnn", made)


def test_ncnn_with_an_unknown_layer(tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "ncnn")
    param, weights = importlib.import_module("edgecnn.formats.ncnn").read(made.path)
    strange = param.replace("InnerProduct ", "Abacus ")
    assert strange != param
    importlib.import_module("edgecnn.formats.ncnn").write(made.path, strange, weights)
    with pytest.raises(ArtifactError, match="layer"):
        session_for("ncnn", made)


def test_a_pickle_inside_a_pt2_is_never_loaded(tmp_path: Path) -> None:
    """torch.export.load would unpickle it; the file is refused and the payload not run."""
    made = tiny.artifact(tmp_path, "pt2")
    marker = tmp_path / "executed"
    payload = b"cbuiltins\nopen\n(S'" + str(marker).encode() + b"'\nS'w'\ntR."
    with zipfile.ZipFile(made.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (sample,) = [name for name in members if name.endswith("sample_inputs/model.pt")]
    members[sample] = payload
    with zipfile.ZipFile(made.path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ArtifactError):
        session_for("torch", Artifact.load(made.path))
    assert not marker.exists()
