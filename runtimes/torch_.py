"""PyTorch, eager: ``.pt2`` exported programs on the CPU or on CUDA.

The program is called operator by operator as it was exported; batch norms stay apart from their
convolutions. Weights and images are laid out channels-last.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError, SourceError
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem, pip_install

if TYPE_CHECKING:
    import torch

name = "torch"
formats: tuple[str, ...] = ("pt2",)
requires: tuple[str, ...] = ("torch>=2.9",)
timed = True

Forward = Callable[["torch.Tensor"], "torch.Tensor"]


def unavailable(device: Device) -> str | None:
    """Return why PyTorch cannot run on ``device``: absent, broken, or no such CUDA device."""
    problem = other_device_problem("PyTorch", device, "local", "cuda")
    problem = problem or import_problem("torch", *requires)
    if problem is None and device.kind == "cuda":
        import torch

        count = torch.cuda.device_count()
        if device.index >= count:
            return (
                f"torch {torch.__version__} sees {count} CUDA devices and {device} asks for number "
                f"{device.index}. Check the driver (nvidia-smi), and that torch was built with "
                f"CUDA: {pip_install(*requires)}"
            )
    return problem


def open(artifact: Artifact, device: Device, threads: int) -> "TorchSession":
    """Load an exported program. ``threads`` holds for the whole process, as torch has it."""
    return TorchSession(artifact, device, threads)


class TorchSession:
    """An exported program with one image input."""

    def __init__(
        self,
        artifact: Artifact,
        device: Device,
        threads: int,
        prepare: Callable[[Any], Forward] = lambda module: module,
    ) -> None:
        import torch

        layout = artifact.single_input().layout
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._torch = torch
        self._device = torch.device("cpu" if device.kind == "local" else str(device))
        self._format = torch.channels_last if layout == "NCHW" else torch.contiguous_format
        torch.set_num_threads(threads)
        if device.kind == "cuda":
            # cuDNN would round fp32 factors to TF32, 10 bits of fraction, whatever the file says.
            torch.backends.cudnn.allow_tf32 = False
        module = _load(artifact).to(self._device).to(memory_format=torch.channels_last)
        self._forward = prepare(module)

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`.

        On CUDA this includes the way of the image to the device and of the logits back, which
        waits for the result.
        """
        torch = self._torch
        with torch.inference_mode():
            image = torch.from_numpy(as_input(array, self.inputs[0]))
            image = image.to(self._device, memory_format=self._format)
            result: Array = self._forward(image).cpu().numpy()
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: PyTorch's profiler slows small operators down several times over."""
        return ()

    def close(self) -> None:
        """Free the program."""
        del self._forward


def _load(artifact: Artifact) -> "torch.nn.Module":
    from edgecnn import pt2

    try:
        return pt2.load(artifact.path)
    except (SourceError, OSError) as error:
        raise ArtifactError(str(error)) from error
