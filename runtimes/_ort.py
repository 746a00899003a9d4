"""What the onnxruntime runtimes share: a session on the CPU, and one on a GPU's provider."""

import contextlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError, EdgecnnError, UnavailableError
from edgecnn.profile import LayerTime, Transfers
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, jetson_hint, pip_install
from edgecnn.runtimes._staged import OnHost, Stages

CUDA = "CUDAExecutionProvider"
GPU_PACKAGE = "onnxruntime-gpu[cuda,cudnn]>=1.20"

_ERRORS_ONLY = 3
_SPIN_US = 2000
"""How long threads wait for work before they sleep. That bridges the pauses of a run, and runs back
to back take as long as with onnxruntime's own 43 to 69 ms (x86); a camera stream of 30 frames/s
takes half the processor time (samples/benchmarks/idle_threads.py). Before onnxruntime 1.26 it
has no effect."""
_NAMED_NODES = 5


@dataclass(frozen=True)
class Provider:
    """One of onnxruntime's execution providers, with its options, on a device.

    ``remedy`` says what to do where it does not start. ``behind`` takes the nodes that it does not
    take, in a session that is opened to name them and never timed.
    """

    name: str = "CPUExecutionProvider"
    device: Device = field(default_factory=lambda: Device("local"))
    options: Mapping[str, str | int] = field(default_factory=dict)
    remedy: str = ""
    behind: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """Whether it computes in a memory other than the host's."""
        return self.device.kind == "cuda"

    @property
    def memory(self) -> tuple[str, int]:
        """Where its tensors lie, as onnxruntime names a device's memory."""
        return self.device.kind, self.device.index


def provider_problem(name: str, *requires: str) -> str | None:
    """Return why onnxruntime does not offer the provider ``name``: absent, or built without it."""
    problem = import_problem("onnxruntime", *requires)
    if problem is not None:
        return problem
    import onnxruntime

    found = onnxruntime.get_available_providers()
    if name in found:
        return None
    return (
        f"this onnxruntime has no {name} (it has {', '.join(found)}). Install one that has: "
        f"pip uninstall onnxruntime, then {pip_install(GPU_PACKAGE)}. "
        f"{jetson_hint('onnxruntime-gpu')}"
    )


def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN from NVIDIA's pip packages, where onnxruntime does not look by itself.

    onnxruntime 1.21 and later; where they are absent, the system's are used. What it prints about
    libraries that it does not find goes to stderr.
    """
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()


class OrtSession(OnHost):
    """An ``onnxruntime.InferenceSession`` with one image input, on the CPU."""

    def __init__(self, artifact: Artifact, provider: Provider, threads: int) -> None:
        artifact.single_input()
        self._artifact, self._provider, self._threads = artifact, provider, threads
        self._session = _create(artifact, provider, threads)
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._input = self.inputs[0]
        self._output_names = [self.outputs[0].name]

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        feed = {self._input.name: as_input(array, self._input)}
        result: Array = self._session.run(self._output_names, feed)[0]
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return the median time of each node, from onnxruntime's own profiler.

        A second session is profiled, so that the profiler slows nothing else down; its first run,
        which allocates, is left out.
        """
        feed = {self._input.name: as_input(array, self._input)}
        with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
            prefix = str(Path(folder) / "profile")
            session = _create(self._artifact, self._provider, self._threads, prefix)
            for _ in range(runs + 1):
                session.run(self._output_names, feed)
            events = json.loads(Path(session.end_profiling()).read_text())
        return _layer_times(events)

    def close(self) -> None:
        """Free the session."""
        del self._session


class OrtGpuSession(OrtSession):
    """The same on a GPU. Input and output stay bound to the same memory there (``IOBinding``)."""

    def __init__(self, artifact: Artifact, provider: Provider, threads: int) -> None:
        super().__init__(artifact, provider, threads)
        self._stages = self._bound()

    def run(self, array: Array) -> Array:
        """Execute once, with the way to the GPU and back; returns when the result is there."""
        return self._stages.run(as_input(array, self._input))

    def transfers(self, array: Array, runs: int) -> Transfers:
        """Time the way in, the computation, and the way out."""
        return self._stages.transfers(as_input(array, self._input), runs)

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: on a GPU the profiler times the start of a node's work, not the work."""
        return ()

    def close(self) -> None:
        """Free the session and what is bound to it."""
        del self._stages
        super().close()

    def _bound(self) -> Stages:
        import onnxruntime

        kind, index = self._provider.memory
        session, binding = self._session, self._session.io_binding()
        image = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            list(self._input.shape), np.dtype(self._input.dtype).type, kind, index
        )
        binding.bind_ortvalue_input(self._input.name, image)
        binding.bind_output(self._output_names[0], kind, index)

        def compute() -> None:
            session.run_with_iobinding(binding)

        def take() -> Array:
            result: Array = binding.copy_outputs_to_cpu()[0]
            return result

        def synchronize() -> None:
            binding.synchronize_inputs()
            binding.synchronize_outputs()

        return Stages(image.update_inplace, compute, take, synchronize)


def _create(
    artifact: Artifact, provider: Provider, threads: int, profile_prefix: str | None = None
) -> Any:
    """Open a session whose nodes all run on ``provider``.

    Raises:
        ArtifactError: onnxruntime cannot read the file, or the provider does not take every node.
        UnavailableError: the provider did not start.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = _options(threads)
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    if provider.is_gpu:
        # Without this entry, nodes that the provider does not take would run on the CPU.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    unreadable = (
        state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.NoSuchFile,
        state.NotImplemented, state.NoModel, UnicodeDecodeError,
    )  # fmt: skip
    try:
        session = _session(artifact, options, [(provider.name, dict(provider.options))])
    except unreadable as error:
        raise ArtifactError(_cannot_open(artifact, provider, error)) from error
    except _failures() as error:
        if not provider.is_gpu:
            raise ArtifactError(_cannot_open(artifact, provider, error)) from error
        raise _refusal(artifact, provider, threads, error) from error
    if session.get_providers()[:1] != [provider.name]:
        raise _not_started(provider, session)
    return session


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    return options


def _session(artifact: Artifact, options: Any, providers: list[Any]) -> Any:
    import onnxruntime

    # A failing provider would otherwise be replaced, with a message on stdout.
    return onnxruntime.InferenceSession(
        str(artifact.path), options, providers=providers, enable_fallback=0
    )


def _refusal(
    artifact: Artifact, provider: Provider, threads: int, error: Exception
) -> EdgecnnError:
    """Tell a provider that did not start from one that does not take every node.

    onnxruntime has one message for both. A session that may use other providers knows more; the
    list of nodes needs onnxruntime 1.24.
    """
    options = _options(threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = [(provider.name, dict(provider.options)), *provider.behind]
    try:
        lenient = _session(artifact, options, providers)
    except _failures():
        said = _cannot_open(artifact, provider, error).rstrip(".")
        return UnavailableError(f"{said}. {provider.remedy}")
    if lenient.get_providers()[:1] != [provider.name]:
        return _not_started(provider, lenient)
    return ArtifactError(
        f"{artifact.path}: {provider.name} does not take every node{_nodes_left(lenient, provider)}"
        ". What runs partly elsewhere is not measured under its name; use another runtime "
        "or precision."
    )


def _failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises where a provider fails; RuntimeError where it lacks a library."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return state.Fail, state.RuntimeException, state.EPFail, RuntimeError


def _nodes_left(session: Any, provider: Provider) -> str:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return ""
    left = [
        f"{node.name or 'unnamed'} ({node.op_type})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider.name
        for node in part.get_nodes()
    ]
    more = f" and {len(left) - _NAMED_NODES} more" if len(left) > _NAMED_NODES else ""
    return f"; it leaves {', '.join(left[:_NAMED_NODES])}{more}"


def _not_started(provider: Provider, session: Any) -> UnavailableError:
    return UnavailableError(
        f"{provider.name} could not start on {provider.device}; onnxruntime offers "
        f"{', '.join(session.get_providers())}. {provider.remedy}"
    )


def _cannot_open(artifact: Artifact, provider: Provider, error: Exception) -> str:
    import onnxruntime

    return (
        f"{artifact.path}: onnxruntime {onnxruntime.__version__} cannot open it on "
        f"{provider.device}: {error}"
    )


def _layer_times(events: list[dict[str, Any]]) -> tuple[LayerTime, ...]:
    """The median of the profiler's kernel events by node, in order of execution."""
    samples_us: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        label = event["name"]
        if event.get("cat") == "Node" and label.endswith("_kernel_time"):
            key = (label.removesuffix("_kernel_time"), event["args"]["op_name"])
            samples_us[key].append(event["dur"])
    return tuple(
        LayerTime(node, op, median(durations[1:]) / 1000)
        for (node, op), durations in samples_us.items()
        if len(durations) > 1
    )
