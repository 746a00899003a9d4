"""The oracle: onnx's own evaluator, which follows the operators' definitions in plain numpy.

It is slow and single-threaded, and says what an ``.onnx`` file means, not how fast it is.
"""

from typing import Any

from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import ArtifactError
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._imports import import_problem, other_device_problem
from edgecnn.runtimes._staged import OnHost

name = "reference"
formats: tuple[str, ...] = ("onnx",)
requires: tuple[str, ...] = ("onnx>=1.18",)
modules: tuple[str, ...] = ("onnx",)
units: tuple[str, ...] = ("local",)
timed = False


def unavailable(device: Device) -> str | None:
    """Return why the evaluator cannot run on ``device``: absent, broken, or not a CPU."""
    problem = other_device_problem("the reference evaluator", device, *units)
    return problem or import_problem("onnx.reference", *requires)


def open(artifact: Artifact, device: Device, threads: int) -> "ReferenceSession":
    """Open an ONNX file; ``threads`` makes no difference here."""
    return ReferenceSession(artifact)


class ReferenceSession(OnHost):
    """An ``onnx.reference.ReferenceEvaluator`` with one image input."""

    def __init__(self, artifact: Artifact) -> None:
        artifact.single_input()
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._evaluator = _evaluator(artifact)

    def run(self, array: Array) -> Array:
        """Execute once; see :class:`edgecnn.runtimes.Session`."""
        feed = {self.inputs[0].name: as_input(array, self.inputs[0])}
        result: Array = self._evaluator.run([self.outputs[0].name], feed)[0]
        return result

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: times of the oracle mean nothing."""
        return ()

    def close(self) -> None:
        """Free the evaluator and the weights."""
        del self._evaluator


def _evaluator(artifact: Artifact) -> Any:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceEvaluator(onnx.load(artifact.path))
    except (
        DecodeError, OSError, ValueError, KeyError, RuntimeError, NotImplementedError,
        onnx.checker.ValidationError,
    ) as error:  # fmt: skip
        raise ArtifactError(
            f"{artifact.path}: onnx {onnx.__version__} cannot evaluate it: {error}"
        ) from error
