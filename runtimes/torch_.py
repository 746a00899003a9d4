"""PyTorch, eager: ``.pt2`` exported programs on the CPU or on CUDA.

The program is called operator by operator as it was exported; batch norms stay apart from their
convolutions. Weights and images are laid out channels-last. An fp16 file computes in fp16.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError, SourceError, UnavailableError
from edgecnn.profile import LayerTime, Transfers
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, jetson_hint, other_device_problem, pip_install
from edgecnn.runtimes._staged import OnHost, Stages

if TYPE_CHECKING:
    import torch

name = "torch"
formats: tuple[str, ...] = ("pt2",)
requires: tuple[str, ...] = ("torch>=2.9",)
modules: tuple[str, ...] = ("torch",)
units: tuple[str, ...] = ("local", "cuda")
timed = True

Forward = Callable[["torch.Tensor"], "torch.Tensor"]


def unavailable(device: Device) -> str | None:
    """Return why PyTorch cannot run on ``device``: absent, broken, or no such CUDA device."""
    problem = other_device_problem("PyTorch", device, *units)
    problem = problem or import_problem("torch", *requires)
    if problem is None and device.kind == "cuda":
        import torch

        count = torch.cuda.device_count()
        built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        if device.index >= count:
            return (
                f"torch {torch.__version__}, built for {built_for}, sees {count} CUDA devices and "
                f"{device} asks for number {device.index}. Check the driver (nvidia-smi), and that "
                f"torch was built for a CUDA that it supports: {pip_install(*requires)}. "
                f"{jetson_hint('torch')}"
            )
    return problem


def open(artifact: Artifact, device: Device, threads: int) -> "TorchSession | CudaSession":
    """Load an exported program. ``threads`` holds for the whole process, as torch has it."""
    kind = CudaSession if device.kind == "cuda" else TorchSession
    return kind(artifact, device, threads)


def _as_it_is(module: Any) -> Forward:
    forward: Forward = module
    return forward


class TorchSession(OnHost):
    """An exported program with one image input, on the CPU."""

    def __init__(
        self,
        artifact: Artifact,
        device: Device,
        threads: int,
        prepare: Callable[[Any], Forward] = _as_it_is,
    ) -> None:
        import torch

        self._torch, self._format = torch, _memory_format(artifact)
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        torch.set_num_threads(threads)
        self._forward = prepare(_program(artifact, torch.device("cpu")))

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        torch = self._torch
        with torch.inference_mode():
            image = torch.from_numpy(as_input(array, self.inputs[0]))
            result: Array = self._forward(image.to(memory_format=self._format)).numpy()
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: PyTorch's profiler slows small operators down several times over."""
        return ()

    def close(self) -> None:
        """Free the program."""
        del self._forward


class CudaSession:
    """An exported program on a CUDA device, where its input tensor stays.

    Images come from pageable memory, as a camera's or a decoder's do.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: Device,
        threads: int,
        prepare: Callable[[Any], Forward] = _as_it_is,
    ) -> None:
        import torch

        self._torch, self._device = torch, _place(device)
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        torch.set_num_threads(threads)
        # cuDNN would round fp32 factors to TF32, 10 bits of fraction, whatever the file says.
        torch.backends.cudnn.allow_tf32 = False
        # The first run times cuDNN's algorithms for these shapes, which never change.
        torch.backends.cudnn.benchmark = True
        spec = self.inputs[0]
        with cuda_faults(artifact, device), torch.cuda.device(self._device):
            self._forward = prepare(_program(artifact, self._device))
            self._image = torch.zeros(
                spec.shape, dtype=getattr(torch, spec.dtype), device=self._device
            ).to(memory_format=_memory_format(artifact))
            torch.cuda.synchronize(self._device)
        self._logits = torch.empty(0)
        self._stages = Stages(self._put, self._compute, self._take, self._synchronize)

    def run(self, array: Array) -> Array:
        """Execute once, with the way to the device and back; returns when the result is there."""
        with self._on_device():
            return self._stages.run(as_input(array, self.inputs[0]))

    def transfers(self, array: Array, runs: int) -> Transfers:
        """Time the way in (with the change to channels-last), the program, and the way out."""
        with self._on_device():
            return self._stages.transfers(as_input(array, self.inputs[0]), runs)

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing, as on the CPU."""
        return ()

    def close(self) -> None:
        """Free the program and its tensors."""
        del self._stages, self._forward, self._image, self._logits

    def _put(self, array: Array) -> None:
        self._image.copy_(self._torch.from_numpy(array))

    def _compute(self) -> None:
        self._logits = self._forward(self._image)

    def _take(self) -> Array:
        # numpy's own copy: on a stand-in device that is the host, cpu() would not copy.
        return self._logits.cpu().numpy().copy()

    def _synchronize(self) -> None:
        self._torch.cuda.synchronize(self._device)

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        with self._torch.inference_mode(), self._torch.cuda.device(self._device):
            yield


@contextlib.contextmanager
def cuda_faults(artifact: Artifact, device: Device) -> Iterator[None]:
    """Turn what CUDA says while a program is made ready there into an UnavailableError."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UnavailableError(
            f"{device} has too little free memory for {artifact.path.name}: {_first_line(error)}. "
            "See what else uses it (nvidia-smi)."
        ) from error
    except RuntimeError as error:
        raise UnavailableError(
            f"torch {torch.__version__} cannot run {artifact.path.name} on {device}: "
            f"{_first_line(error)}. Check the driver (nvidia-smi), and that torch was built for "
            f"this GPU: {pip_install(*requires)}. {jetson_hint('torch')}"
        ) from error


def _place(device: Device) -> "torch.device":
    import torch

    return torch.device(str(device))


def _memory_format(artifact: Artifact) -> Any:
    """Channels-last for an image of 1 x C x H x W; one of 1 x H x W x C is that as it lies."""
    import torch

    is_nchw = artifact.single_input().layout == "NCHW"
    return torch.channels_last if is_nchw else torch.contiguous_format


def _program(artifact: Artifact, place: "torch.device") -> Any:
    import torch

    module = _retargeted(_load(artifact), place)
    return module.to(place).to(memory_format=torch.channels_last)


def _retargeted(module: Any, place: "torch.device") -> Any:
    """Rewrite the devices inside the program's graph, which ``to`` leaves at those of the export.

    torch.export writes the device down wherever it changes a dtype, which fp16 programs and those
    of uint8 pixels do; on another device the check that it adds fails.
    """
    nodes = [node for node in module.graph.nodes if "device" in node.kwargs]
    for node in nodes:
        node.kwargs = {**node.kwargs, "device": place}
    if nodes:
        module.recompile()
    return module


def _load(artifact: Artifact) -> Any:
    from edgecnn import pt2

    try:
        return pt2.load(artifact.path)
    except (SourceError, OSError) as error:
        raise ArtifactError(str(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
