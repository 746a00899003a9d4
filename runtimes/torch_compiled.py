"""PyTorch, compiled by ``torch.compile``: ``.pt2`` exported programs on the CPU or on CUDA.

Compiling takes place while the file is opened, with weights as constants, so that batch norms are
folded and weights packed once.
"""

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
timed = True


def unavailable(device: Device) -> str | None:
    """Return why compiled PyTorch cannot run on ``device``: as eager, or for want of a compiler."""
    problem = eager.unavailable(device)
    if problem is not None:
        return problem
    if device.kind == "cuda":
        return import_problem("triton", "triton")
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return (
            "torch.compile needs a C++ compiler and finds none. Install one, on Debian with: "
            "apt-get install g++; or name yours in the environment variable CXX."
        )
    return None


def open(artifact: Artifact, device: Device, threads: int) -> eager.TorchSession:
    """Load and compile an exported program; ``threads`` holds for the whole process."""
    import torch
    from torch._dynamo.exc import TorchDynamoException

    session = eager.TorchSession(artifact, device, threads, prepare=_compiled)
    spec = session.inputs[0]
    try:
        session.run(np.zeros(spec.shape, spec.dtype))
    except (TorchDynamoException, torch._inductor.exc.CppCompileError) as error:
        reason = str(error).strip().splitlines()
        raise UnavailableError(
            f"torch.compile failed on {artifact.path.name}: {' '.join(reason[:3])}. Check the C++ "
            "compiler (on Debian: apt-get install g++ python3-dev), or use --runtime torch."
        ) from error
    return session


def _compiled(module: Any) -> eager.Forward:
    import torch

    compiled: eager.Forward = torch.compile(module, dynamic=False, options={"freezing": True})
    return compiled
