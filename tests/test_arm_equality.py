"""A file computes on an emulated aarch64 board what it computes at the desk."""

import shutil
from collections.abc import Iterator

import pytest

from edgecnn import devices
from edgecnn.device import Device
from edgecnn.errors import UnavailableError
from edgecnn.host import Host
from edgecnn.remote import sysroot
from edgecnn.remote.setup import Request

pytestmark = pytest.mark.slow

BOARD = Device("emulated", address="rpi4")
RUNTIME = {"onnx": "ort", "tflite": "litert"}
TIMEOUT_S = 120.0
ROUNDINGS = {"fp32": 1e-4, "w8a8": 1e-5}
"""What the logits may be off, as a share of their standard deviation. In w8a8 all layers but the
last give integers, which are the same everywhere; float32 operations come only after them."""


@pytest.fixture(scope="module")
def board() -> Iterator[Host]:
    """The emulated board, set up offline where no earlier run has done that."""
    for program in (sysroot.QEMU, "mmdebstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}; {sysroot.INSTALL}")
    try:
        if missing := runtimes_lacking():
            request = Request(tuple(RUNTIME.values()), offline=True)
            devices.get(BOARD.kind).setup(BOARD, request, print)
    except UnavailableError as error:
        pytest.skip(f"the emulated board cannot be set up: {error}")
    with devices.connect(BOARD, "a test") as host:
        yield host
