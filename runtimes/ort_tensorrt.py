"""onnxruntime's TensorRT provider: ``.onnx`` on CUDA, compiled for the GPU at hand.

TensorRT runs the whole file or none of it: a file with a node that it does not take is refused, by
the names of the nodes, instead of being timed with a part of it on another provider.

What is computed is what the file's precision says. No ``trt_fp16_enable`` or ``trt_int8_enable`` is
set: without them onnxruntime asks TensorRT for a strongly typed network, whose tensors keep the
types of the file; an fp16 file runs in fp16, quantized nodes run in int8 (TensorRT takes symmetric
int8 alone), all else in fp32.

Compiling takes minutes at the first opening; the engine is kept under the user's cache folder.
"""

import importlib
import importlib.util
import os
from pathlib import Path

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.files import DiskError
from edgecnn.runtimes._imports import jetson_hint, other_device_problem, pip_install
from edgecnn.runtimes._ort import (
    CUDA,
    GPU_PACKAGE,
    OrtGpuSession,
    Provider,
    load_cuda_libraries,
    provider_problem,
)

name = "ort_tensorrt"
formats: tuple[str, ...] = ("onnx",)
# onnxruntime loads the library of TensorRT 10 (libnvinfer.so.10).
requires: tuple[str, ...] = ("onnxruntime-gpu>=1.20", "tensorrt>=10,<11")
modules: tuple[str, ...] = ("onnxruntime",)
units: tuple[str, ...] = ("cuda",)
timed = True

TENSORRT = "TensorrtExecutionProvider"


def unavailable(device: Device) -> str | None:
    """Return why TensorRT cannot run on ``device``: no GPU, or onnxruntime is built without it."""
    problem = other_device_problem("TensorRT", device, *units)
    return problem or provider_problem(TENSORRT, *requires)


def open(artifact: Artifact, device: Device, threads: int) -> OrtGpuSession:
    """Compile an ONNX file, or load what was compiled of it before.

    Raises:
        DiskError: the folder for the engine cannot be made.
    """
    load_cuda_libraries()
    _load_tensorrt()
    # TensorRT and cuDNN would round fp32 factors to TF32, 10 bits of fraction, and onnxruntime has
    # no option against that. NVIDIA's libraries read this instead (TensorRT developer guide, TF32).
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    return OrtGpuSession(artifact, _tensorrt(device, engine_folder(artifact)), threads)


def engine_folder(artifact: Artifact) -> Path:
    """Return where the engine of ``artifact`` is kept: under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    A folder for each content: the name that onnxruntime itself gives an engine does not depend on
    the weights. It does depend on the GPU and on both versions.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edgecnn" / "tensorrt" / artifact.sha256


def _tensorrt(device: Device, engines: Path) -> Provider:
    try:
        engines.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise DiskError(
            f"{engines}: the folder for TensorRT's engine cannot be made ({error.strerror}); set "
            "XDG_CACHE_HOME to a folder that can be written to."
        ) from error
    return Provider(
        TENSORRT,
        device,
        {
            "device_id": device.index,
            "trt_engine_cache_enable": 1,
            "trt_engine_cache_path": str(engines),
        },
        "Check the driver (nvidia-smi), and that CUDA, cuDNN and TensorRT of the versions that "
        f"onnxruntime was built for are installed: {pip_install(GPU_PACKAGE, requires[1])}. "
        f"{jetson_hint('onnxruntime-gpu')}",
        behind=(CUDA,),
    )


def _load_tensorrt() -> None:
    """Load TensorRT's library from its pip package, where onnxruntime does not look by itself."""
    if importlib.util.find_spec("tensorrt") is not None:
        importlib.import_module("tensorrt")
