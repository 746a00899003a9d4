"""ncnn: ``.ncnn`` (a graph and its weights in one archive) on the CPU, or on Vulkan.

What is computed is what the file's precision says. ncnn itself would turn fp32 files into fp16
storage and, where the processor can, fp16 arithmetic; that is switched on for fp16 files only.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError
from edgecnn.formats import ncnn as file_format
from edgecnn.fusion import Entry, Fused, Rest, Target, refuse_precision
from edgecnn.fusion_rules import Rules, apply
from edgecnn.profile import LayerTime, Transfers
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem
from edgecnn.workload import Operator

name = "ncnn"
formats: tuple[str, ...] = ("ncnn",)
requires: tuple[str, ...] = ("ncnn>=1.0.20240820",)
modules: tuple[str, ...] = ("ncnn",)
units: tuple[str, ...] = ("local", "vulkan")
timed = True
FUSED_BY = "ncnn 1.0.20261020"

_TAKEN = frozenset({"clip", "relu", "relu6", "sigmoid"})
_RULES = Rules(
    nodes={
        "conv": ("Convolution",), "depthwise_conv": ("ConvolutionDepthWise",), "mul": ("BinaryOp",),
        "add": ("BinaryOp",), "linear": ("InnerProduct",), "global_pool": ("Pooling",),
        "max_pool": ("Pooling",), "avg_pool": ("Pooling",), "relu": ("ReLU",), "relu6": ("Clip",),
        "clip": ("Clip",), "sigmoid": ("Sigmoid",), "hsigmoid": ("HardSigmoid",),
        "swish": ("Swish",), "hswish": ("HardSwish",), "gelu": ("GELU",), "gelu_tanh": ("GELU",),
        "gelu_sigmoid": ("BinaryOp", "Sigmoid", "BinaryOp"), "tanh": ("TanH",),
        "softmax": ("Softmax",), "concat": ("Concat",),
    },
    takes=dict.fromkeys(("conv", "depthwise_conv", "linear"), _TAKEN),
    on_vector="InnerProduct",
    reshaping={"gelu_sigmoid": "Reshape", "linear": "Flatten"},
)  # fmt: skip
"""What pnnx writes; Split layers, which copy nothing, are left out. An expression of several
operators gets a vector as a map of one pixel."""


def unavailable(device: Device) -> str | None:
    """Return why ncnn cannot run on ``device``: absent, broken, or no such Vulkan device."""
    problem = other_device_problem("ncnn", device, *units)
    problem = problem or import_problem("ncnn", *requires)
    if problem is None and device.kind == "vulkan":
        import ncnn

        count = ncnn.get_gpu_count()
        if device.index >= count:
            return (
                f"ncnn sees {count} Vulkan devices and {device} asks for number {device.index}. "
                "Install the graphics driver; on Debian, Mesa's with: "
                "apt-get install libvulkan1 mesa-vulkan-drivers"
            )
    return problem


def open(artifact: Artifact, device: Device, threads: int) -> "NcnnSession":
    """Open an ncnn file; ``threads`` work on the CPU, also where Vulkan lacks an operator."""
    return NcnnSession(artifact, device, threads)


def fuse(operators: Sequence[Operator], target: Target, entry: Entry, rest: Rest) -> Fused:
    """See :class:`edgecnn.fusion.Fuses`."""
    refuse_precision(name, target, ("fp32", "fp16"))
    return apply(_RULES, operators, entry, rest)


class NcnnSession:
    """An ``ncnn.Net`` with one image input of float32, 1 x C x H x W."""

    def __init__(self, artifact: Artifact, device: Device, threads: int) -> None:
        artifact.single_input()
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._net = _load(artifact, device, threads)

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        import ncnn

        image = as_input(array, self.inputs[0])[0]
        extractor = self._net.create_extractor()
        extractor.input(self.inputs[0].name, ncnn.Mat(image))
        status, blob = extractor.extract(self.outputs[0].name)
        if status != 0:
            raise ArtifactError(f"ncnn failed to compute {self.outputs[0].name} (code {status}).")
        return np.array(blob, np.float32)[np.newaxis]

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: the Python package is built without ncnn's per-layer benchmark."""
        return ()

    def transfers(self, array: Array, runs: int) -> Transfers | None:
        """Return nothing, on Vulkan too.

        ncnn can keep tensors on the GPU (``VkMat``, recorded by a ``VkCompute``), but its Python
        package exposes neither: one call uploads, computes, downloads and waits.
        """
        return None

    def close(self) -> None:
        """Free the network, and with it what it holds on a Vulkan device."""
        self._net.clear()


def _load(artifact: Artifact, device: Device, threads: int) -> Any:
    import ncnn

    param, weights = file_format.read(artifact.path)
    net = ncnn.Net()
    is_fp16 = str(artifact.recipe) == "fp16"
    options = net.opt
    options.num_threads = threads
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = is_fp16
    options.use_bf16_packed = options.use_bf16_storage = False
    options.use_vulkan_compute = device.kind == "vulkan"
    if options.use_vulkan_compute:
        net.set_vulkan_device(device.index)
    if net.load_param_mem(param) != 0:
        raise ArtifactError(
            f"{artifact.path}: ncnn cannot read the graph; it may hold a layer that this version "
            "does not know."
        )
    if _load_weights(net, weights) != 0:
        raise ArtifactError(f"{artifact.path}: ncnn cannot read the weights; they are incomplete.")
    return net


def _load_weights(net: Any, weights: bytes) -> int:
    """Load through a file: ncnn's reader from memory does not know where the memory ends."""
    with tempfile.NamedTemporaryFile(prefix="edgecnn-", suffix=".bin") as file:
        file.write(weights)
        file.flush()
        return int(net.load_model(file.name))
