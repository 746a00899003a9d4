"""PyTorch as a CUDA graph: a ``.pt2`` exported program, recorded once and replayed.

The kernels are those of eager PyTorch; what goes is the time that the host takes to start each of
them, which is most of the time where a small network sees one image. PyTorch, "CUDA semantics",
section "CUDA Graphs".
"""

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError
from edgecnn.runtimes import torch_ as eager
from edgecnn.runtimes._imports import other_device_problem

name = "torch_cudagraph"
formats = eager.formats
requires = eager.requires
modules = eager.modules
units: tuple[str, ...] = ("cuda",)
timed = True

WARM_UP_RUNS = 3
"""Before recording: cuDNN chooses its algorithms, and libraries allocate what they keep."""


def unavailable(device: Device) -> str | None:
    """Return why a CUDA graph cannot be made on ``device``: no GPU, or as eager PyTorch."""
    return other_device_problem("a CUDA graph", device, *units) or eager.unavailable(device)


def open(artifact: Artifact, device: Device, threads: int) -> "GraphSession":
    """Load an exported program and record it."""
    return GraphSession(artifact, device, threads)


class GraphSession(eager.CudaSession):
    """A recorded program. It reads and writes the same tensors at each replay."""

    def __init__(self, artifact: Artifact, device: Device, threads: int) -> None:
        super().__init__(artifact, device, threads)
        with eager.cuda_faults(artifact, device), self._on_device():
            self._warm_up()
        with self._on_device():
            self._record(artifact)

    def close(self) -> None:
        """Free the recording, then the program and its tensors."""
        del self._graph
        super().close()

    def _compute(self) -> None:
        self._graph.replay()

    def _warm_up(self) -> None:
        """Run on a stream of its own, as recording will: on the default one it is not allowed."""
        cuda = self._torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._forward(self._image)
        cuda.current_stream().wait_stream(side)

    def _record(self, artifact: Artifact) -> None:
        cuda = self._torch.cuda
        self._graph = cuda.CUDAGraph()
        try:
            with cuda.graph(self._graph):
                self._logits = self._forward(self._image)
        except RuntimeError as error:
            raise ArtifactError(
                f"{artifact.path}: the program cannot be recorded as a CUDA graph: "
                f"{str(error).strip().partition(chr(10))[0]}. Use --runtime torch."
            ) from error
