"""PyTorch, compiled by ``torch.compile``: ``.pt2`` exported programs on the CPU or on CUDA.

Compiling takes place while the file is opened, with weights as constants, so that batch norms are
folded and weights packed once. On CUDA in the mode ``max-autotune-no-cudagraphs``: kernels are
chosen by timing them on the GPU at hand. CUDA graphs, which that mode's sister adds, are a runtime
of their own (``torch_cudagraph``), so that each figure says what it comes from.
"""

import contextlib
import os
import shutil
from functools import partial
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import UnavailableError
from edgecnn.runtimes import torch_ as eager
from edgecnn.runtimes._imports import import_problem

name = "torch_compiled"
formats = eager.formats
requires = eager.requires
modules = eager.modules
units = eager.units
timed = True

CUDA_MODE = "max-autotune-no-cudagraphs"


def unavailable(device: Device) -> str | None:
    """Return why compiled PyTorch cannot run on ``device``: as eager, or for want of a compiler."""
    problem = eager.unavailable(device)
    if problem is not None:
        return problem
    return _triton_problem() if device.kind == "cuda" else _compiler_problem()


def _triton_problem() -> str | None:
    problem = import_problem("triton", "triton")
    if problem is None and not (
        os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    ):
        return (
            "triton needs a C compiler to start its kernels and finds none. Install one, on Debian "
            "with: apt-get install gcc python3-dev; or name yours in the environment variable CC."
        )
    return problem


def _compiler_problem() -> str | None:
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return (
            "torch.compile needs a C++ compiler and finds none. Install one, on Debian with: "
            "apt-get install g++; or name yours in the environment variable CXX."
        )
    return None


def open(
    artifact: Artifact, device: Device, threads: int
) -> eager.TorchSession | eager.CudaSession:
    """Load and compile an exported program; ``threads`` holds for the whole process."""
    import torch
    from torch._dynamo.exc import TorchDynamoException

    on_cuda = device.kind == "cuda"
    kind = eager.CudaSession if on_cuda else eager.TorchSession
    session = kind(artifact, device, threads, partial(_compiled, options=_options(device)))
    spec = session.inputs[0]
    with eager.cuda_faults(artifact, device) if on_cuda else contextlib.nullcontext():
        try:
            session.run(np.zeros(spec.shape, spec.dtype))
        except (TorchDynamoException, torch._inductor.exc.CppCompileError) as error:
            reason = str(error).strip().splitlines()
            raise UnavailableError(
                f"torch.compile failed on {artifact.path.name}: {' '.join(reason[:3])}. Check the "
                "C++ compiler (on Debian: apt-get install g++ python3-dev), or use --runtime torch."
            ) from error
    return session


def _options(device: Device) -> dict[str, Any]:
    from torch._inductor import list_mode_options

    return {
        "freezing": True,
        **list_mode_options(CUDA_MODE if device.kind == "cuda" else "default"),
    }


def _compiled(module: Any, options: dict[str, Any]) -> eager.Forward:
    import torch

    compiled: eager.Forward = torch.compile(module, dynamic=False, options=options)
    return compiled
