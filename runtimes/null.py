"""Nothing: opens every format and computes nothing of it.

It makes select, search and stream deterministic in tests. The answer is a function of the input
alone, so that equal frames get equal answers and different ones, as a rule, different ones.
"""

import zlib
from collections.abc import Callable

import numpy as np

from edgecnn import formats as file_formats
from edgecnn.artifact import Artifact
from edgecnn.device import UNITS, Device
from edgecnn.errors import ArtifactError
from edgecnn.profile import LayerTime
from edgecnn.runtimes import Array, as_input
from edgecnn.runtimes._staged import OnHost

name = "null"
formats: tuple[str, ...] = file_formats.names()
requires: tuple[str, ...] = ()
modules: tuple[str, ...] = ()
units: tuple[str, ...] = UNITS
timed = False

Answer = Callable[[Array, int], int]
"""From an input and the count of classes to the class that gets the highest logit."""


def unavailable(device: Device) -> str | None:
    """Return None: nothing can be computed everywhere."""
    return None


def open(artifact: Artifact, device: Device, threads: int) -> "NullSession":
    """Open any file; only its header is looked at."""
    return NullSession(artifact)


def checksum_class(array: Array, classes: int) -> int:
    """Choose a class by the CRC-32 of the input's bytes."""
    return zlib.crc32(array.tobytes()) % classes


class NullSession(OnHost):
    """Answers at once: a logit of 1 for the class that ``answer`` chooses, 0 for the others."""

    def __init__(self, artifact: Artifact, answer: Answer = checksum_class) -> None:
        artifact.single_input()
        self.inputs, self.outputs = artifact.inputs, artifact.outputs
        self._answer = answer
        shape = self.outputs[0].shape
        if any(size <= 0 for size in shape):
            raise ArtifactError(
                f"{artifact.path}: output {self.outputs[0].name!r} has the dynamic shape "
                f"{list(shape)}; the null runtime needs a fixed one."
            )

    def run(self, array: Array) -> Array:
        """Answer; see :class:`edgecnn.runtimes.Session`."""
        output = self.outputs[0]
        logits = np.zeros(output.shape, output.dtype)
        logits.flat[self._answer(as_input(array, self.inputs[0]), logits.size)] = 1
        return logits

    def layers(self, array: Array, runs: int) -> tuple[LayerTime, ...]:
        """Return nothing: no layer is executed."""
        return ()

    def close(self) -> None:
        """Do nothing: nothing is held."""
