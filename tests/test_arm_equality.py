"""A file computes on an emulated aarch64 board what it computes at the desk.

The board's packages are installed once, and stay in the cache from run to run.
"""

from collections.abc import Iterator

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

BOARD = Device("emulated", address="rpi4")
RUNTIME = {"onnx": "ort", "tflite": "litert"}
TIMEOUT_S = 120.0
PICTURES = 4

MOST_OF_STD = {"fp32": 1e-4, "w8a8": 1e-5}
"""What logits may be off, as a share of their standard deviation. In w8a8 all layers but the last
give integers, which are the same everywhere; only what comes after them is rounded."""


def what_is_lacking(host: RemoteHost) -> set[str]:
    """Packages that the desk has in a certain version, and the board has not."""
    wanted = {text for text in wheels.packages_for(list(RUNTIME.values())) if "==" in text}
    with host.start("install") as installer:
        site = installer.request("installed", TIMEOUT_S)["site"]
    packages = site["packages"] if site else {}
    return wanted - {f"{name}=={version}" for name, version in packages.items()}


@pytest.fixture(scope="module")
def board() -> Iterator[RemoteHost]:
    """The board, set up offline where no earlier run has done that."""
    try:
        way = Emulated(BOARD.address, sysroot.board_folder(BOARD.address) / "equality")
        with RemoteHost(way) as host:
            lacking = what_is_lacking(host)
        if lacking:
            request = setup.Request(tuple(RUNTIME.values()), offline=True)
            setup.on_board(RemoteHost(way), request, print)
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


@pytest.mark.parametrize("precision", MOST_OF_STD)
@pytest.mark.parametrize("format_name", RUNTIME)
def test_a_board_computes_what_the_desk_computes(
    format_name: str, precision: str, board: RemoteHost
) -> None:
    made = export_cases.exported(format_name, precision)
    with devices.connect(LOCAL) as desk:
        here = logits(made, LOCAL, desk)
    there = logits(made, BOARD, board)
    assert np.ptp(here, axis=0).max() > 0.1, "the pictures have to differ for the network"
    off = np.abs(there - here).max(axis=1) / here.std(axis=1)
    assert off.max() <= MOST_OF_STD[precision]
