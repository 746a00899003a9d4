"""The CUDA path of PyTorch as far as it goes without a GPU.

The processor stands in for the device; a recorder of operators stands in for the CUDA graph, so
that what is recorded and replayed is the real network.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from gpu_cases import CUDA, FP16_ATOL, check, opened
from tiny import FLOAT_ATOL

from edgecnn import runtimes
from edgecnn.device import LOCAL, Device
from edgecnn.errors import ArtifactError, UnavailableError


@pytest.mark.parametrize("name", ["torch", "torch_cudagraph", "torch_compiled"])
def test_torch_without_a_gpu_says_what_it_is_built_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    reason = runtimes.get(name).unavailable(Device("cuda", 3))
    assert reason is not None
    assert "sees 1 CUDA devices and cuda:3 asks for number 3" in reason
    for hint in ("built for", "nvidia-smi", "pip install", "Jetson"):
        assert hint in reason


@pytest.mark.parametrize("name", ["torch", "torch_cudagraph"])
def test_the_real_torch_refuses_where_cuda_does_not_start(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is faked but the count of devices: CUDA does not start, and the error says so."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("CUDA does start here")
    made = tiny.artifact(tmp_path, "pt2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    restored(monkeypatch, torch)
    with pytest.raises(UnavailableError, match=r"cannot run .* on cuda:0: .*nvidia-smi"):
        opened(name, made)


def restored(monkeypatch: pytest.MonkeyPatch, torch: Any) -> None:
    """Leave cuDNN's switches as they are after the test."""
    for switch in ("allow_tf32", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, switch, getattr(torch.backends.cudnn, switch))


@pytest.fixture
def host_as_cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch whose device cuda:0 is the processor."""
    torch = pytest.importorskip("torch")
    tiny.network()  # seeds torch, which would look for the device
    restored(monkeypatch, torch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("edgecnn.runtimes.torch_._place", lambda device: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    return torch


@pytest.mark.parametrize(("precision", "atol"), [("fp32", FLOAT_ATOL), ("fp16", FP16_ATOL)])
def test_eager_on_a_device(precision: str, atol: float, host_as_cuda: Any, tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "pt2", precision)
    session = opened("torch", made)
    assert session._image.is_contiguous(memory_format=host_as_cuda.channels_last)
    assert not host_as_cuda.backends.cudnn.allow_tf32
    check(session, made, atol)
    session.close()


def test_too_little_memory_is_told(
    host_as_cuda: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*args: Any, **rest: Any) -> Any:
        raise host_as_cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.\nMore.")

    made = tiny.artifact(tmp_path, "pt2")
    monkeypatch.setattr(host_as_cuda, "zeros", full)
    with pytest.raises(UnavailableError, match="too little free memory") as raised:
        opened("torch", made)
    assert "2 MiB" in str(raised.value)
    assert "More" not in str(raised.value)


@pytest.mark.parametrize(("precision", "uint8_input"), [("fp16", False), ("fp32", True)])
def test_programs_that_name_their_device_are_moved_whole(
    precision: str, uint8_input: bool, tmp_path: Path
) -> None:
    """``to`` moves the weights alone; the graph keeps saying where the export took place."""
    torch = pytest.importorskip("torch")
    from edgecnn.runtimes import torch_

    made = tiny.artifact(tmp_path, "pt2", precision, uint8_input)
    elsewhere = torch.device("meta")
    stated = devices_of(torch_._load(made))
    module = torch_._program(made, elsewhere)
    assert stated == {torch.device("cpu")}
    assert devices_of(module) == {elsewhere}
    assert "cpu" not in module.code
    spec = made.inputs[0]
    image = torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=elsewhere)
    with torch.inference_mode():
        assert module(image).shape == (1, tiny.CLASSES)


def devices_of(module: Any) -> set[Any]:
    return {node.kwargs["device"] for node in module.graph.nodes if "device" in node.kwargs}


class Tape:
    """Stands in for CUDA graphs: records the operators on their tensors, and replays them there."""

    def __init__(self, torch: Any) -> None:
        from torch.utils._python_dispatch import TorchDispatchMode

        tape = self
        self.events: list[str] = []
        self.operators: list[Callable[[], None]] = []
        self._torch = torch

        class Recorder(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(
                self, function: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                kwargs = kwargs or {}
                result = function(*args, **kwargs)
                tape.operators.append(lambda: tape.again(function, args, kwargs, result))
                return result

        self._recorder = Recorder

    def again(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        fresh = function(*args, **kwargs)
        if isinstance(result, self._torch.Tensor) and fresh is not result:
            result.copy_(fresh)

    def replay(self) -> None:
        self.events.append("replay")
        for operator in self.operators:
            operator()

    @contextlib.contextmanager
    def graph(self, graph: Any) -> Iterator[None]:
        self.events.append("record")
        with self._recorder():
            yield

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.events.append(f"on {stream.name}")
        yield
        self.events.append(f"off {stream.name}")

    def new_stream(self, name: str = "side") -> Any:
        def wait(other: Any) -> None:
            self.events.append(f"{name} waits for {other.name}")

        return SimpleNamespace(name=name, wait_stream=wait)


@pytest.fixture
def tape(host_as_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> Tape:
    cuda, tape = host_as_cuda.cuda, Tape(host_as_cuda)
    monkeypatch.setattr(cuda, "CUDAGraph", lambda: SimpleNamespace(replay=tape.replay))
    monkeypatch.setattr(cuda, "graph", tape.graph)
    monkeypatch.setattr(cuda, "stream", tape.stream)
    monkeypatch.setattr(cuda, "Stream", tape.new_stream)
    monkeypatch.setattr(cuda, "current_stream", lambda: tape.new_stream("main"))
    return tape


@pytest.mark.parametrize(("precision", "atol"), [("fp32", FLOAT_ATOL), ("fp16", FP16_ATOL)])
def test_a_recorded_program_follows_its_input(
    precision: str, atol: float, tape: Tape, tmp_path: Path
) -> None:
    """A replay sees the new image only if it lies in the tensor that was recorded."""
    made = tiny.artifact(tmp_path, "pt2", precision)
    session = opened("torch_cudagraph", made)
    assert tape.events == [
        "side waits for main", "on side", "off side", "main waits for side", "record",
    ]  # fmt: skip
    assert len(tape.operators) > 10
    check(session, made, atol)
    assert tape.events.count("record") == 1
    assert tape.events.count("replay") == 6
    session.close()


@pytest.mark.usefixtures("tape")
def test_what_cannot_be_recorded_is_refused(
    host_as_cuda: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forbidden(graph: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nlong story")

    monkeypatch.setattr(host_as_cuda.cuda, "graph", forbidden)
    with pytest.raises(ArtifactError, match=r"not permitted .*--runtime torch\.$"):
        opened("torch_cudagraph", tiny.artifact(tmp_path, "pt2"))


def test_compiling_for_cuda_tunes_kernels_and_leaves_graphs_out() -> None:
    torch = pytest.importorskip("torch")
    from edgecnn.runtimes import torch_compiled

    options = torch_compiled._options(CUDA)
    assert options["freezing"]
    assert options["max_autotune"]
    assert "triton.cudagraphs" not in options
    assert torch_compiled._options(LOCAL) == {"freezing": True}
    # torch.compile itself refuses an option that it does not know.
    torch_compiled._compiled(torch.nn.Identity(), options)


@pytest.mark.slow
@pytest.mark.usefixtures("host_as_cuda")
def test_compiled_with_the_options_for_cuda(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtimes.get("torch_compiled"), "_triton_problem", lambda: None)
    made = tiny.artifact(tmp_path, "pt2", "fp16")
    session = opened("torch_compiled", made)
    check(session, made, FP16_ATOL)
    session.close()


def test_triton_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    reason = runtimes.get("torch_compiled").unavailable(CUDA)
    assert reason is not None
    assert "apt-get install gcc" in reason
