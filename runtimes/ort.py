"""onnxruntime: ``.onnx`` on its CPU provider, or on CUDA where it was built with that."""

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError, UnavailableError
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem, pip_install

name = "ort"
formats: tuple[str, ...] = ("onnx",)
requires: tuple[str, ...] = ("onnxruntime>=1.20",)
timed = True

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3


def unavailable(device: Device) -> str | None:
    """Return why onnxruntime cannot run on ``device``: absent, broken, or built without CUDA."""
    problem = import_problem("onnxruntime", *requires)
    problem = problem or other_device_problem("onnxruntime", device, "local", "cuda")
    if problem is None and device.kind == "cuda":
        import onnxruntime

        found = onnxruntime.get_available_providers()
        if _CUDA not in found:
            return (
                f"this onnxruntime has no {_CUDA} (it has {', '.join(found)}). Install one that "
                f"has: pip uninstall onnxruntime, then {pip_install('onnxruntime-gpu>=1.20')}"
            )
    return problem


def open(artifact: Artifact, device: Device, threads: int) -> "OrtSession":
    """Open an ONNX file; ``threads`` work inside an operator, operators run one after another."""
    return OrtSession(artifact, device, threads)


class OrtSession:
    """An ``onnxruntime.InferenceSession`` with one image input."""

    def __init__(self, artifact: Artifact, device: Device, threads: int) -> None:
        artifact.single_input()
        self._artifact, self._device, self._threads = artifact, device, threads
        self._session = self._create(profile_prefix=None)
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._input = self.inputs[0]
        self._output_names = [self.outputs[0].name]

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        feed = {self._input.name: as_input(array, self._input)}
        result: Array = self._session.run(self._output_names, feed)[0]
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return the mean time of each node, from onnxruntime's own profiler.

        A second session is profiled, so that the profiler slows nothing else down; its first run,
        which allocates, is left out.
        """
        feed = {self._input.name: as_input(array, self._input)}
        with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
            session = self._create(profile_prefix=str(Path(folder) / "profile"))
            for _ in range(runs + 1):
                session.run(self._output_names, feed)
            events = json.loads(Path(session.end_profiling()).read_text())
        return _layer_times(events)

    def close(self) -> None:
        """Free the session."""
        del self._session

    def _create(self, profile_prefix: str | None) -> Any:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _ERRORS_ONLY
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile_prefix
        unreadable = (
            state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoSuchFile,
            state.NotImplemented, state.NoModel, state.Fail, state.RuntimeException, state.EPFail,
            UnicodeDecodeError,
        )  # fmt: skip
        faults_of_device = (state.Fail, state.RuntimeException, state.EPFail)
        if self._device.kind == "cuda":
            # Without this entry, nodes that CUDA lacks would run on the CPU.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = onnxruntime.InferenceSession(
                str(self._artifact.path),
                options,
                providers=[self._provider()],
                # A failing provider would otherwise be replaced, with a message on stdout.
                enable_fallback=0,
            )
        except unreadable as error:
            is_cuda_fault = self._device.kind == "cuda" and isinstance(error, faults_of_device)
            kind = UnavailableError if is_cuda_fault else ArtifactError
            raise kind(
                f"{self._artifact.path}: onnxruntime {onnxruntime.__version__} cannot open it on "
                f"{self._device}: {error}"
            ) from error

        self._refuse_other_provider(session.get_providers())
        return session

    def _provider(self) -> tuple[str, dict[str, int]]:
        if self._device.kind == "cuda":
            # TF32, on by default, would round fp32 factors to 10 bits of fraction.
            return _CUDA, {"device_id": self._device.index, "use_tf32": 0}
        return _CPU, {}

    def _refuse_other_provider(self, found: list[str]) -> None:
        """Refuse a session that runs elsewhere than asked for."""
        if found[:1] != [self._provider()[0]]:
            raise UnavailableError(
                f"onnxruntime could not start on {self._device}; it offers {', '.join(found)}. "
                "Check the driver, and that CUDA and cuDNN are installed: "
                f"{pip_install('onnxruntime-gpu[cuda,cudnn]>=1.20')}"
            )


def _layer_times(events: list[dict[str, Any]]) -> tuple[LayerTime, ...]:
    """Average the profiler's kernel events by node, in order of execution."""
    samples_us: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        label = event["name"]
        if event.get("cat") == "Node" and label.endswith("_kernel_time"):
            key = (label.removesuffix("_kernel_time"), event["args"]["op_name"])
            samples_us[key].append(event["dur"])
    return tuple(
        LayerTime(node, op, sum(durations[1:]) / len(durations[1:]) / 1000)
        for (node, op), durations in samples_us.items()
        if len(durations) > 1
    )
