"""OpenVINO: reads ``.onnx`` and ``.tflite`` files as they are, on the CPU."""

import sys
from collections.abc import Sequence
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.contract import TensorSpec, image_layout
from edgecnn.device import Device
from edgecnn.errors import ArtifactError
from edgecnn.fusion import Entry, Fused, Rest, Target, refuse_precision
from edgecnn.fusion_rules import Rules, apply
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem
from edgecnn.runtimes._staged import OnHost
from edgecnn.workload import Operator

name = "openvino"
formats: tuple[str, ...] = ("onnx", "tflite")
requires: tuple[str, ...] = ("openvino>=2025.0",)
modules: tuple[str, ...] = ("openvino",)
units: tuple[str, ...] = ("local",)
timed = True
FUSED_BY = "openvino 2026.4"

_TAKEN = frozenset({
    "clip", "gelu", "gelu_sigmoid", "gelu_tanh", "hswish", "relu", "relu6", "sigmoid", "swish",
    "tanh",
})  # fmt: skip
_RULES = Rules(
    nodes={
        "conv": ("Convolution",), "depthwise_conv": ("GroupConvolution",), "add": ("Subgraph",),
        "mul": ("Subgraph",), "linear": ("FullyConnected",), "global_pool": ("ReduceMean",),
        "hsigmoid": ("HardSigmoid",), "softmax": ("Softmax",), "max_pool": ("Pooling",),
        "avg_pool": ("Pooling",), "concat": ("Concatenation",),
    },
    takes=dict.fromkeys(("conv", "depthwise_conv", "linear"), _TAKEN),
    adds=True,
    entry=(("reorder", "Reorder"),),
    after_add=True,
)  # fmt: skip
"""Of an ONNX file on x86-64; compared with the nodes that OpenVINO counts."""


def unavailable(device: Device) -> str | None:
    """Return why OpenVINO cannot run on ``device``: absent, broken, or not a CPU."""
    problem = other_device_problem("OpenVINO", device, *units)
    if problem is not None:
        return problem
    _switch_telemetry_off()
    return import_problem("openvino", *requires)


def fuse(operators: Sequence[Operator], target: Target, entry: Entry, rest: Rest) -> Fused:
    """See :class:`edgecnn.fusion.Fuses`."""
    refuse_precision(name, target, ("fp32", "w8a32"))
    return apply(_RULES, operators, entry, rest)


def _switch_telemetry_off() -> None:
    """Hide the package that reports each import of OpenVINO to Intel by way of Google Analytics.

    OpenVINO replaces it by a stub where it is absent. It would also write a client number into the
    home folder, and fork this process, which disturbs what is being timed.
    """
    absent: Any = None
    sys.modules.setdefault("openvino_telemetry", absent)


def open(artifact: Artifact, device: Device, threads: int) -> "OpenvinoSession":
    """Compile an ONNX or TFLite file for the CPU with ``threads`` threads."""
    return OpenvinoSession(artifact, threads)


class OpenvinoSession(OnHost):
    """A compiled OpenVINO model with one image input."""

    def __init__(self, artifact: Artifact, threads: int) -> None:
        artifact.single_input()
        self._artifact, self._threads = artifact, threads
        self._request = self._compile(count_performance=False)
        model = self._request.get_compiled_model()
        self.inputs = tuple(
            _spec(port, spec) for port, spec in zip(model.inputs, artifact.inputs, strict=True)
        )
        self.outputs = tuple(
            _spec(port, spec) for port, spec in zip(model.outputs, artifact.outputs, strict=True)
        )

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        # The result is copied: OpenVINO writes the next one into the same memory.
        results = self._request.infer([as_input(array, self.inputs[0])], share_inputs=True)
        result: Array = results[0]
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return the mean time of each executed node, from OpenVINO's own counters.

        A second compilation counts, so that counting slows nothing else down; its first run, which
        allocates, is left out.
        """
        request = self._compile(count_performance=True)
        totals_ms: dict[tuple[str, str], float] = {}
        feed = [as_input(array, self.inputs[0])]
        for run in range(runs + 1):
            request.infer(feed, share_inputs=True)
            for node in request.profiling_info:
                if run > 0 and str(node.status).endswith("EXECUTED"):
                    key = (node.node_name, node.node_type)
                    ms = node.real_time.total_seconds() * 1000
                    totals_ms[key] = totals_ms.get(key, 0.0) + ms
        return tuple(LayerTime(node, op, ms / runs) for (node, op), ms in totals_ms.items())

    def close(self) -> None:
        """Free the compiled model."""
        del self._request

    def _compile(self, count_performance: bool) -> Any:
        _switch_telemetry_off()
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY",
            # Left alone, OpenVINO computes in bf16 or fp16 where the CPU can, whatever the file
            # says; the file's own precision is what was proven and what is asked for.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERF_COUNT": count_performance,
        }
        try:
            core = openvino.Core()
            model = core.read_model(self._artifact.path)
            if model.is_dynamic():
                model.reshape(list(self._artifact.single_input().shape))
            return core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise ArtifactError(
                f"{self._artifact.path}: OpenVINO cannot open it: {error}"
            ) from error


def _spec(port: Any, in_file: TensorSpec) -> TensorSpec:
    """Describe a port; a scale is kept from the file, whose tensors OpenVINO leaves as they are."""
    shape = tuple(int(size) for size in port.shape)
    dtype = port.element_type.to_dtype().name
    same = dtype == in_file.dtype
    return TensorSpec(
        name=in_file.name,
        shape=shape,
        dtype=dtype,
        layout=image_layout(shape),
        scale=in_file.scale if same else None,
        zero_point=in_file.zero_point if same else None,
    )
