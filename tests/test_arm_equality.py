"""A file computes on emulated aarch64 boards what it computes at the desk.

Packages are installed once for all boards, and stay in the cache from run to run.
"""

from collections.abc import Iterator
from typing import Any

import export_cases
import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn import devices, images
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL, Device
from edgecnn.errors import UnavailableError
from edgecnn.host import Host
from edgecnn.hosted import Hosted
from edgecnn.remote import setup, sysroot, wheels
from edgecnn.remote.host import RemoteHost
from edgecnn.remote.qemu import Emulated

pytestmark = pytest.mark.slow

BOARDS = ("rpi4", "rpi5")
"""Without and with instructions for products of 8-bit integers (asimddp)."""
RUNTIME = {"onnx": "ort", "tflite": "litert"}
TIMEOUT_S = 120.0
PICTURES = 4

MOST_OF_STD = {"fp32": 1e-4, "w8a8": 1e-5}
"""What logits may be off, as a share of their standard deviation. In w8a8 all layers but the last
give integers, which are the same everywhere; only what comes after them is rounded."""


def installed(host: RemoteHost) -> dict[str, Any]:
    """What an earlier installation left: version by package."""
    with host.start("install") as installer:
        site = installer.request("installed", TIMEOUT_S)["site"]
    return dict(site["packages"]) if site else {}


def what_is_lacking(host: RemoteHost) -> set[str]:
    """Packages that the desk has in a certain version, and the board has not."""
    wanted = {text for text in wheels.packages_for(list(RUNTIME.values())) if "==" in text}
    return wanted - {f"{name}=={version}" for name, version in installed(host).items()}


@pytest.fixture(scope="module", params=BOARDS)
def board(request: pytest.FixtureRequest) -> Iterator[RemoteHost]:
    """A board, set up offline where no earlier run has done that. All have one home."""
    try:
        way = Emulated(request.param, sysroot.board_folder(BOARDS[0]) / "equality")
        with RemoteHost(way) as host:
            lacking = what_is_lacking(host)
        if lacking:
            wanted = setup.Request(tuple(RUNTIME.values()), offline=True)
            setup.on_board(RemoteHost(way), wanted, print)
    except UnavailableError as error:
        pytest.skip(f"no emulated board here: {error}")
    with RemoteHost(way) as host:
        yield host


def logits(made: Artifact, device: Device, host: Host) -> NDArray[np.float64]:
    """The golden sample has to be right; then the logits of some pictures, a row each."""
    process = Hosted(host, made, RUNTIME[made.format], device, threads=1, verify=True)
    try:
        pictures = images.list_images(export_cases.pictures())[:PICTURES]
        paths = [process.staged(picture) for picture in pictures]
        found = process.ask("logits", TIMEOUT_S, paths=paths)["logits"]
    finally:
        process.close()
    assert process.golden is not None
    return np.asarray(found)


def test_a_board_gets_runtimes_and_no_converters(board: RemoteHost) -> None:
    packages = set(installed(board))
    assert {"ai-edge-litert", "onnxruntime", "opencv-python-headless"} <= packages
    assert not {"torch", "onnx"} & packages


@pytest.mark.parametrize("precision", MOST_OF_STD)
@pytest.mark.parametrize("format_name", RUNTIME)
def test_a_board_computes_what_the_desk_computes(
    format_name: str, precision: str, board: RemoteHost
) -> None:
    made = export_cases.exported(format_name, precision)
    with devices.connect(LOCAL) as desk:
        here = logits(made, LOCAL, desk)
    there = logits(made, Device("emulated", address=board.where.partition(":")[2]), board)
    assert np.ptp(here, axis=0).max() > 0.1, "the pictures have to differ for the network"
    off = np.abs(there - here).max(axis=1) / here.std(axis=1)
    assert off.max() <= MOST_OF_STD[precision]
