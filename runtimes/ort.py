"""onnxruntime: ``.onnx`` on its CPU provider, or on CUDA where it was built with that."""

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.runtimes._imports import import_problem, jetson_hint, other_device_problem, pip_install
from edgecnn.runtimes._ort import (
    CUDA,
    GPU_PACKAGE,
    OrtGpuSession,
    OrtSession,
    Provider,
    load_cuda_libraries,
    provider_problem,
)
from edgecnn.runtimes._ort_fusion import fuse as fuse

name = "ort"
formats: tuple[str, ...] = ("onnx",)
requires: tuple[str, ...] = ("onnxruntime>=1.20",)
modules: tuple[str, ...] = ("onnxruntime",)
units: tuple[str, ...] = ("local", "cuda")
timed = True
FUSED_BY = "onnxruntime 1.32"


def unavailable(device: Device) -> str | None:
    """Return why onnxruntime cannot run on ``device``: absent, broken, or built without CUDA."""
    problem = other_device_problem("onnxruntime", device, *units)
    if problem is None and device.kind == "cuda":
        return provider_problem(CUDA, *requires)
    return problem or import_problem("onnxruntime", *requires)


def open(artifact: Artifact, device: Device, threads: int) -> OrtSession:
    """Open an ONNX file; ``threads`` work inside an operator, operators run one after another."""
    if device.kind != "cuda":
        return OrtSession(artifact, Provider(), threads)
    load_cuda_libraries()
    return OrtGpuSession(artifact, _cuda(device), threads)


def _cuda(device: Device) -> Provider:
    """CUDA by the precision of the file.

    TF32, on by default, would round fp32 factors to 10 bits of fraction.
    """
    return Provider(
        CUDA,
        device,
        {"device_id": device.index, "use_tf32": 0},
        "Check the driver (nvidia-smi), and that CUDA and cuDNN of the versions that onnxruntime "
        f"was built for are installed: {pip_install(GPU_PACKAGE)}. "
        f"{jetson_hint('onnxruntime-gpu')}",
    )
