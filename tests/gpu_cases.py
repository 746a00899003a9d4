"""What the tests of the GPU paths share."""

import warnings
from typing import Any

import numpy as np
import pytest
import tiny

from edgecnn import runtimes
from edgecnn.artifact import Artifact
from edgecnn.device import Device
from edgecnn.errors import UsageError

CUDA = Device("cuda")
FP16_ATOL = 5e-3


def opened(name: str, made: Artifact, device: Device = CUDA) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specified provider")
        return runtimes.open_session(runtimes.get(name), made, device, 1)


def check(session: Any, made: Artifact, atol: float) -> None:
    """Two images, the first again, and the transfers of another in between."""
    first, second = (tiny.image(seed) for seed in (0, 1))
    answers = [session.run(tiny.arranged(image, made)) for image in (first, second)]
    found = session.transfers(tiny.arranged(second, made), 2)
    answers.append(session.run(tiny.arranged(first, made)))
    for answer, image in zip(answers, (first, second, first), strict=True):
        assert (answer.shape, answer.dtype) == ((1, tiny.CLASSES), np.float32)
        assert np.allclose(answer, tiny.expected(image), rtol=0, atol=atol)
    assert min(found.in_ms, found.compute_ms, found.out_ms) > 0
    with pytest.raises(UsageError, match="takes float32"):
        session.transfers(first[0], 2)
