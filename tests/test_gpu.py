"""The GPU path of onnxruntime, and what all GPU paths share, as far as they go without a GPU.

Order of work, options, refusals. The host's memory stands in for the device's.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from gpu_cases import CUDA, check, opened
from tiny import FLOAT_ATOL

from edgecnn import runtimes
from edgecnn.device import Device
from edgecnn.errors import ArtifactError, UnavailableError, UsageError
from edgecnn.files import DiskError
from edgecnn.runtimes._staged import Stages

STRICT = "session.disable_cpu_ep_fallback"


def test_the_cuda_runtimes_are_those_of_the_issue() -> None:
    found = {name for name in runtimes.names() if "cuda" in runtimes.get(name).units}
    assert found >= {"ort", "ort_tensorrt", "torch", "torch_compiled", "torch_cudagraph"}


# Stages


class Recorded:
    """A device that notes what is asked of it, and takes known times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.now_ns = 0
        self.stages = Stages(
            lambda array: self.does("put", 1),
            lambda: self.does("compute", 5),
            self.take,
            lambda: self.does("synchronize", 0),
        )
        monkeypatch.setattr("edgecnn.runtimes._staged.perf_counter_ns", lambda: self.now_ns)

    def does(self, what: str, ms: int) -> None:
        self.calls.append(what)
        self.now_ns += ms * 1_000_000 * (100 if len(self.calls) < 8 else 1)

    def take(self) -> Any:
        self.does("take", 2)
        return np.array([7.0])


def test_a_run_waits_for_the_result_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Recorded(monkeypatch)
    assert device.stages.run(np.zeros(1)) == [7.0]
    assert device.calls == ["put", "compute", "take"]


def test_each_stage_begins_on_an_idle_device_and_the_first_run_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Recorded(monkeypatch)
    found = device.stages.transfers(np.zeros(1), 1)
    one = ["synchronize", "put", "synchronize", "compute", "synchronize", "take"]
    assert device.calls == one * 2
    assert (found.in_ms, found.compute_ms, found.out_ms) == (1.0, 5.0, 2.0)


def test_transfers_of_no_runs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Recorded(monkeypatch).stages.transfers(np.zeros(1), 0)


# onnxruntime


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The installed onnxruntime, as if it were built with both GPU providers."""
    onnxruntime = pytest.importorskip("onnxruntime")
    both = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setitem(os.environ, "NVIDIA_TF32_OVERRIDE", "1")
    return onnxruntime


@pytest.mark.parametrize("name", ["ort", "ort_tensorrt"])
def test_the_real_onnxruntime_refuses_and_the_message_says_what_to_do(
    name: str, offered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is faked but the claim that the provider is there: it cannot start, and says so."""
    if "CUDAExecutionProvider" in offered.capi._pybind_state.get_available_providers():
        pytest.skip("the provider is there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UnavailableError, match="could not start on cuda:0") as raised:
        opened(name, tiny.artifact(tmp_path, "onnx"))
    assert raised.value.exit_code == 5
    for hint in ("nvidia-smi", 'pip install "onnxruntime-gpu[cuda,cudnn]>=1.20"', "Jetson"):
        assert hint in str(raised.value)


@pytest.mark.parametrize("name", ["ort", "ort_tensorrt"])
def test_onnxruntime_without_the_provider_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    reason = runtimes.get(name).unavailable(CUDA)
    assert reason is not None
    assert "ExecutionProvider (it has CPUExecutionProvider)" in reason
    assert "onnxruntime-gpu" in reason


class StandIn:
    """``InferenceSession`` on the CPU that calls itself a GPU's, and is strict when told to be."""

    def __init__(self, onnxruntime: Any, leaves_nodes: bool) -> None:
        self._real, self._leaves_nodes = onnxruntime.InferenceSession, leaves_nodes
        self._fail = onnxruntime.capi.onnxruntime_pybind11_state.Fail
        self.asked: list[Any] = []

    def __call__(self, path: str, options: Any, providers: list[Any], enable_fallback: int) -> Any:
        assert enable_fallback == 0
        self.asked.append(providers)
        if is_strict(options):
            if self._leaves_nodes:
                raise self._fail("nodes are assigned to the default CPU EP")
            options.add_session_config_entry(STRICT, "0")
        session = self._real(path, options, providers=["CPUExecutionProvider"])
        name = providers[0][0]
        session.get_providers = lambda: [name, "CPUExecutionProvider"]
        return session


def is_strict(options: Any) -> bool:
    try:
        return bool(options.get_session_config_entry(STRICT) == "1")
    except RuntimeError:  # onnxruntime's answer where the entry was never made
        return False


def standing_in(monkeypatch: pytest.MonkeyPatch, onnxruntime: Any, **how: bool) -> StandIn:
    stand_in = StandIn(onnxruntime, **how)
    monkeypatch.setattr(onnxruntime, "InferenceSession", stand_in)
    monkeypatch.setattr("edgecnn.runtimes._ort.Provider.memory", ("cpu", 0))
    return stand_in


def test_a_file_that_tensorrt_does_not_take_whole_is_refused_by_the_nodes_names(
    offered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_in = standing_in(monkeypatch, offered, leaves_nodes=True)
    with pytest.raises(ArtifactError, match=r"leaves .*\(Conv\).* and \d+ more") as raised:
        opened("ort_tensorrt", tiny.artifact(tmp_path, "onnx"))
    assert raised.value.exit_code == 3
    strict, lenient = stand_in.asked
    assert [strict[0][0], *lenient[1:]] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


@pytest.mark.parametrize("kind", ["EPFail", "RuntimeError"])
def test_a_provider_that_fails_in_every_way_is_unavailable_with_its_words(
    kind: str, offered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where TensorRT's library is absent, onnxruntime 1.30 raises Python's own RuntimeError."""
    state = offered.capi.onnxruntime_pybind11_state
    error = getattr(state, kind, RuntimeError)

    def failing(*args: Any, **rest: Any) -> Any:
        raise error("CUDA failure 35: old driver")

    monkeypatch.setattr(offered, "InferenceSession", failing)
    with pytest.raises(UnavailableError, match=r"CUDA failure 35: old driver\. Check the driver"):
        opened("ort", tiny.artifact(tmp_path, "onnx"))


def test_tensorrt_obeys_the_precision_of_the_file_and_keeps_an_engine_per_content(
    offered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_in = standing_in(monkeypatch, offered, leaves_nodes=False)
    made = tiny.artifact(tmp_path, "onnx", "fp16")
    opened("ort_tensorrt", made, Device("cuda", 1)).close()
    folder = tmp_path / "cache" / "edgecnn" / "tensorrt" / made.sha256
    options = {
        "device_id": 1,
        "trt_engine_cache_enable": 1,
        "trt_engine_cache_path": str(folder),
    }
    assert stand_in.asked == [[("TensorrtExecutionProvider", options)]]
    assert folder.is_dir()
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


@pytest.mark.usefixtures("offered")
def test_a_cache_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DiskError, match="XDG_CACHE_HOME"):
        opened("ort_tensorrt", tiny.artifact(tmp_path, "onnx"))


@pytest.mark.parametrize("name", ["ort", "ort_tensorrt"])
def test_bound_memory_gives_what_pytorch_gives(
    name: str, offered: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real IOBinding, in the host's memory: results are right, independent, and told in stages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    standing_in(monkeypatch, offered, leaves_nodes=False)
    made = tiny.artifact(tmp_path, "onnx")
    session = opened(name, made)
    check(session, made, FLOAT_ATOL)
    assert session.layers(tiny.image(), 2) == ()
    session.close()
