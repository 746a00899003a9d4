"""The process that measures: ``python -m edgecnn.worker``.

It runs one artifact on one runtime and knows nothing of candidates, rounds or verdicts. It reads
requests from standard input and answers on standard output, one JSON object a line, so that it
works through any pipe, also one that leads to another machine (:mod:`edgecnn.serving`). It ends
when its input ends.
"""

import gc
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter_ns, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn import runtimes, serving
from edgecnn.artifact import Artifact
from edgecnn.contract import Contract, TensorSpec
from edgecnn.device import Device
from edgecnn.environment import Conditions, Environment, peak_rss_bytes
from edgecnn.errors import DataError, MeasurementError
from edgecnn.machine import clusters, power, state

WINDOW_RUNS, WINDOW_S = 3, 0.1
FRAME_HEIGHT, FRAME_WIDTH = 720, 1280
POST_TOP = 5
INPUT_SEED = 20190528
REST_STEP_S = 0.0005


class Worker:
    """An opened artifact and the requests that it answers."""

    def __init__(self) -> None:
        self._runtime: runtimes.Runtime | None = None
        self._session: runtimes.Session | None = None
        self._artifact: Artifact | None = None
        self._input: NDArray[Any] = np.empty(0)

    def open(
        self,
        artifact: str,
        runtime: str | None,
        device: str,
        threads: int,
        contract: str | None = None,
        pin: str | None = None,
    ) -> dict[str, Any]:
        """Open the artifact; ``import_ms`` is the runtime's package, ``init_ms`` the file.

        Without a ``runtime``, the one made for the format. ``contract`` is that of a file which
        carries none. ``pin`` names the processors to run on (see
        :func:`edgecnn.machine.clusters.resolve`).
        """
        device_, self._artifact = Device.parse(device), Artifact.load(artifact)
        if contract is not None:
            self._artifact = self._artifact.with_contract(Contract.from_json(contract))
        _, available = state.memory_bytes()
        if available is not None and self._artifact.path.stat().st_size > available:
            raise serving.no_memory()
        if pin is not None:
            clusters.pin(clusters.resolve(pin, clusters.read(), clusters.usable()))
        self._runtime = (
            runtimes.get(runtime) if runtime else runtimes.made_for(self._artifact, device_)
        )
        start = perf_counter_ns()
        # Asking whether the runtime is available imports its package.
        self._runtime.unavailable(device_)
        imported = perf_counter_ns()
        self._session = runtimes.open_session(self._runtime, self._artifact, device_, threads)
        opened = perf_counter_ns()
        self._input = timing_input(self._session.inputs[0])
        return {
            "runtime": self._runtime.name,
            "import_ms": (imported - start) / 1e6,
            "init_ms": (opened - imported) / 1e6,
        }

    def availability(self, device: str, format: str | None = None) -> dict[str, Any]:
        """Say of each runtime (that opens ``format`` files) why it is unavailable, if it is."""
        device_ = Device.parse(device)
        names = runtimes.reading(format, device_) if format else runtimes.on(device_)
        return {name: runtimes.get(name).unavailable(device_) for name in names}

    def golden(self) -> dict[str, Any]:
        """Run the golden sample of the file, where it has one; see :mod:`edgecnn.golden`."""
        from edgecnn import golden

        contract = self._artifact.contract if self._artifact else None
        if contract is None or self._runtime is None:
            return {"golden": None}
        found = golden.check(self._opened(), contract, self._runtime.name)
        return {"golden": None if found is None else asdict(found)}

    def classify(self, paths: list[str], decoders: int) -> dict[str, Any]:
        """Say the five best classes of each photograph, or why it cannot be used."""
        from edgecnn.classify import classify

        if self._artifact is None:
            raise MeasurementError("the worker was asked to classify before it opened a file.")
        contract, files = self._artifact.required_contract(), [Path(path) for path in paths]
        found = classify(self._opened(), contract, files, decoders)
        return {"best": [str(one) if isinstance(one, DataError) else one for one in found]}

    def environment(self, runtime: str | None = None) -> dict[str, Any]:
        """Describe the machine, the versions in use (or of ``runtime``), and the state now."""
        used = runtimes.get(runtime) if runtime else self._runtime
        packages = used.requires if used else ()
        return asdict(Environment.now(packages))

    def warm_up(self, max_seconds: float, tolerance: float) -> dict[str, Any]:
        """Run until the medians of two consecutive windows differ by at most ``tolerance``."""
        samples = _timed(self._opened().run, self._input, 1)
        deadline = perf_counter_ns() + int(max_seconds * 1e9)
        medians: list[float] = []
        while not _agree(medians, tolerance) and perf_counter_ns() < deadline:
            window = _window(self._opened().run, self._input, deadline)
            samples += window
            medians.append(statistics.median(window))
        return {
            "runs": len(samples),
            "first_run_ms": samples[0] / 1e6,
            "median_ns": medians[-1] if medians else samples[0],
            "steady": _agree(medians, tolerance),
        }

    def round(self, runs: int, settle: int) -> dict[str, Any]:
        """Time ``runs`` runs after ``settle`` untimed ones, and say how the machine is then."""
        _timed(self._opened().run, self._input, settle)
        return _with_state(_timed(self._opened().run, self._input, runs))

    def rest(self, max_seconds: float) -> dict[str, Any]:
        """Wait until the runtime's threads leave the processors to others.

        For a while after a run they spin, hoping for the next one. Where the system does not tell
        which threads work, this takes ``max_seconds``.
        """
        start = perf_counter_ns()
        while state.others_at_work() != 0 and perf_counter_ns() - start < max_seconds * 1e9:
            sleep(REST_STEP_S)
        return {"rested_ms": (perf_counter_ns() - start) / 1e6}

    def stretch(self, seconds: float) -> dict[str, Any]:
        """Time runs back to back for so long; the same answer as a round's."""
        deadline = perf_counter_ns() + int(seconds * 1e9)
        samples = _timed(self._opened().run, self._input, 1)
        while perf_counter_ns() < deadline:
            samples += _timed(self._opened().run, self._input, 1)
        return _with_state(samples)

    def layers(self, runs: int) -> dict[str, Any]:
        """Profile by node, where the runtime can."""
        rows = self._opened().layers(self._input, runs)
        return {"layers": [asdict(row) for row in rows]}

    def logits(self, paths: list[str]) -> dict[str, Any]:
        """Return the logits of each photograph, dequantized where the output is quantized."""
        from edgecnn import preprocess

        session = self._opened()
        contract = self._artifact.required_contract() if self._artifact else None
        if contract is None:
            raise MeasurementError("the worker was asked for logits before it opened a file.")
        found = []
        for path in paths:
            image = preprocess.read_image(Path(path))
            array = preprocess.prepare(image, contract.input, session.inputs[0])
            logits = preprocess.dequantize(session.run(array), session.outputs[0])
            found.append(logits.reshape(-1).tolist())
        return {"logits": found}

    def transfers(self, runs: int) -> dict[str, Any]:
        """Tell the ways to and from a GPU apart from the work on it, where the runtime can."""
        found = self._opened().transfers(self._input, runs)
        return {"transfers": None if found is None else asdict(found)}

    def energy(self, seconds: float, idle_seconds: float) -> dict[str, Any]:
        """Measure the power of the board, idle and at work, where a meter can be read."""
        session, meters = self._opened(), power.meters()
        if not meters:
            return {"energy": None}
        found = power.measure_energy(
            meters[0], lambda: session.run(self._input), seconds, idle_seconds
        )
        return {"energy": asdict(found)}

    def stages(self, repeats: int) -> dict[str, Any]:
        """Time what comes before and after: a camera frame to the input, the output to labels."""
        from edgecnn import preprocess

        session = self._opened()
        output = session.run(self._input)
        spec, contract = session.outputs[0], self._artifact.contract if self._artifact else None
        labels = contract.output.labels if contract else ()

        def after(array: NDArray[Any]) -> None:
            preprocess.top_k(preprocess.dequantize(array, spec), labels, POST_TOP)

        answer: dict[str, Any] = {"post_ms": _median_ms(after, output, repeats)}
        if contract is not None:
            image, tensor = contract.input, session.inputs[0]
            frame = _noise((FRAME_HEIGHT, FRAME_WIDTH, 3), "uint8")

            def before(array: NDArray[Any]) -> None:
                preprocess.prepare(array, image, tensor)

            answer["pre_ms"] = _median_ms(before, frame, repeats)
            answer["pre_frame"] = [FRAME_HEIGHT, FRAME_WIDTH]
        return answer

    def _opened(self) -> runtimes.Session:
        if self._session is None:
            raise MeasurementError("the worker was asked to run before it opened an artifact.")
        return self._session


def _with_state(samples: list[int]) -> dict[str, Any]:
    return {
        "samples_ns": samples,
        "peak_rss_bytes": peak_rss_bytes(),
        "conditions": asdict(Conditions.now()),
    }


def timing_input(spec: TensorSpec) -> NDArray[Any]:
    """Make a seeded noise input of the tensor's shape and dtype: [-1, 1), or any integer.

    The time of a convolution does not depend on the values. Noise needs no contract, and no image
    library whose memory would be counted as the model's.
    """
    return _noise(spec.shape, spec.dtype)


def _noise(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    random = np.random.default_rng(INPUT_SEED)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.uniform(-1.0, 1.0, shape).astype(dtype)


def _timed(call: Callable[[Any], object], argument: NDArray[Any], runs: int) -> list[int]:
    """Return ``runs`` durations in nanoseconds; nothing is allocated or collected in between."""
    samples = [0] * runs
    clock = perf_counter_ns
    gc.disable()
    try:
        for i in range(runs):
            start = clock()
            call(argument)
            samples[i] = clock() - start
    finally:
        gc.enable()
    return samples


def _window(call: Callable[[Any], object], argument: NDArray[Any], deadline: int) -> list[int]:
    samples: list[int] = []
    while len(samples) < WINDOW_RUNS or sum(samples) < WINDOW_S * 1e9:
        samples += _timed(call, argument, 1)
        if perf_counter_ns() > deadline:
            break
    return samples


def _agree(medians: list[float], tolerance: float) -> bool:
    return len(medians) > 1 and abs(medians[-1] - medians[-2]) <= tolerance * medians[-1]


def _median_ms(call: Callable[[Any], object], argument: NDArray[Any], repeats: int) -> float:
    _timed(call, argument, 2)
    return statistics.median(_timed(call, argument, repeats)) / 1e6


def main() -> None:
    """Serve standard input; what libraries print goes to standard error, not between answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serving.serve(Worker(), sys.stdin.buffer, answers)
    except BrokenPipeError:
        # The other side is gone: there is nobody to tell.
        os._exit(1)


if __name__ == "__main__":
    main()
