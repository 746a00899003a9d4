"""LiteRT: ``.tflite`` on the CPU, through XNNPACK as the interpreter does by default.

``tflite_runtime``, the older name of the same interpreter, serves where only that exists (32-bit
boards).
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec, image_layout
from edgecnn.device import Device
from edgecnn.environment import package_versions
from edgecnn.errors import ArtifactError
from edgecnn.fusion import Entry, Fused, Rest, Target, refuse_precision
from edgecnn.fusion_rules import Rules, apply
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem
from edgecnn.runtimes._staged import OnHost
from edgecnn.workload import Operator

name = "litert"
formats: tuple[str, ...] = ("tflite",)
requires: tuple[str, ...] = ("ai-edge-litert>=2.0",)
modules: tuple[str, ...] = ("ai_edge_litert", "tflite_runtime")
units: tuple[str, ...] = ("local",)
timed = True
FUSED_BY = "ai-edge-litert 2.3"

_NODES = {
    "conv": ("CONV_2D",), "depthwise_conv": ("DEPTHWISE_CONV_2D",), "linear": ("FULLY_CONNECTED",),
    "add": ("ADD",), "mul": ("MUL",), "global_pool": ("MEAN",), "max_pool": ("MAX_POOL_2D",),
    "avg_pool": ("AVERAGE_POOL_2D",), "relu": ("RELU",), "relu6": ("RELU6",), "clip": ("CLAMP",),
    "sigmoid": ("LOGISTIC",), "swish": ("LOGISTIC", "MUL"), "hswish": ("HARD_SWISH",),
    "hsigmoid": ("MUL",), "gelu": ("GELU",), "gelu_tanh": ("GELU",),
    "gelu_sigmoid": ("MUL", "LOGISTIC", "MUL"), "tanh": ("TANH",), "softmax": ("SOFTMAX",),
    "concat": ("CONCATENATION",), "pad": ("PAD",), "transpose": ("TRANSPOSE",),
}  # fmt: skip
_LOOKED_UP = (
    "gelu", "gelu_sigmoid", "gelu_tanh", "hsigmoid", "hswish", "sigmoid", "swish", "tanh",
)  # fmt: skip
_CLAMPS = frozenset({"clip", "relu", "relu6"})
_CLAMPING = ("conv", "depthwise_conv", "linear", "add", "mul", "max_pool", "avg_pool")
_FLOAT = Rules(_NODES, dict.fromkeys(_CLAMPING, _CLAMPS))
"""XNNPACK's: clamps go into the operator before them, padding into the convolution behind it; of
hard-sigmoid, relu6(x + 3) / 6, the sum is in a bias and the clamp in the convolution. Nothing lists
what XNNPACK executes: this follows its source, src/subgraph.c (xnn_subgraph_fusion)."""
_INTEGER = Rules(
    _NODES | dict.fromkeys(_LOOKED_UP, ("LUT",)),
    _FLOAT.takes,
    entry=(("quantize", "QUANTIZE"),),
    exit=(("dequantize", "DEQUANTIZE"),),
)
"""In int8, chains of functions of one value become a look-up in a table of 256."""

_INTERPRETERS = tuple(f"{module}.interpreter" for module in modules)


def unavailable(device: Device) -> str | None:
    """Return why LiteRT cannot run on ``device``: absent under both names, or not a CPU."""
    problem = other_device_problem("LiteRT", device, *units)
    if problem is not None:
        return problem
    problems = [import_problem(module, *requires) for module in _INTERPRETERS]
    return None if None in problems else problems[0]


def open(artifact: Artifact, device: Device, threads: int) -> "LitertSession":
    """Open a TFLite file with ``threads`` threads."""
    return LitertSession(artifact, threads)


def fuse(operators: Sequence[Operator], target: Target, entry: Entry, rest: Rest) -> Fused:
    """See :class:`edgecnn.fusion.Fuses`."""
    refuse_precision(name, target, ("fp32", "fp16", "w8a32", "w8a8"))
    return apply(_INTEGER if target.precision == "w8a8" else _FLOAT, operators, entry, rest)


class LitertSession(OnHost):
    """A TFLite interpreter with one image input. Quantized tensors stay as the file has them."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        artifact.single_input()
        try:
            with _without_greeting():
                self._interpreter = _interpreter_class()(
                    model_path=str(artifact.path), num_threads=threads
                )
                self._interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{artifact.path}: LiteRT {_version()} cannot open it: {error}. A file "
                "that another version made may need that one: `edgecnn device setup` installs this "
                "desk's."
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        self.inputs = tuple(_spec(details) for details in inputs)
        self.outputs = tuple(_spec(details) for details in outputs)
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        interpreter = self._interpreter
        interpreter.set_tensor(self._input_index, as_input(array, self.inputs[0]))
        interpreter.invoke()
        result: Array = interpreter.get_tensor(self._output_index)
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: the Python interpreter gives no access to the profiler inside it."""
        return ()

    def close(self) -> None:
        """Free the interpreter."""
        del self._interpreter


def _version() -> str:
    """Return the version of the package that is in use."""
    return " ".join(package_versions(requires).values()) or "(tflite_runtime)"


def _interpreter_class() -> Any:
    """Return the ``Interpreter`` of the first package that has it."""
    for module in _INTERPRETERS:
        if import_problem(module, *requires) is None:
            return importlib.import_module(module).Interpreter
    raise ImportError(f"none of {', '.join(_INTERPRETERS)} can be imported")


@contextlib.contextmanager
def _without_greeting() -> Iterator[None]:
    """Drop what LiteRT writes to stderr when it starts: it greets, and has no switch for that.

    Errors do not get lost: they are raised with their text.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _spec(details: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in details["shape"])
    scales = details["quantization_parameters"]["scales"]
    zero_points = details["quantization_parameters"]["zero_points"]
    is_quantized = len(scales) == 1
    return TensorSpec(
        name=details["name"],
        shape=shape,
        dtype=details["dtype"].__name__,
        layout=image_layout(shape),
        scale=float(scales[0]) if is_quantized else None,
        zero_point=int(zero_points[0]) if is_quantized else None,
    )
