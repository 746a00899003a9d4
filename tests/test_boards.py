"""Descriptions of boards, and what others published about them."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_machine as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import boards, machine
from edgecnn.errors import DataError, UsageError
from edgecnn.machine import cpuinfo
from edgecnn.machine.clusters import Cluster

QEMU_CPUS = {"cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1"}
"""Those of QEMU 7.2, which Debian bookworm has; later ones have more."""

BOARDS = pytest.mark.parametrize("board", [boards.get(name) for name in boards.names()],
                                 ids=boards.names())  # fmt: skip


@BOARDS
def test_descriptions_are_complete(board: boards.Board) -> None:
    assert board.title
    assert board.sources
    assert board.memory_bytes == tuple(sorted(board.memory_bytes))
    assert board.memory_bytes[0] >= 2**29
    assert board.qemu_cpu in QEMU_CPUS
    assert board.arch == "aarch64"
    assert {"fp", "asimd", "cpuid"} <= set(board.clusters[0].features)
    for cluster in board.clusters:
        assert 1000 <= cluster.max_mhz <= 3500
        assert cluster.core == cpuinfo.core_name(cluster.implementer, cluster.part)
    for quirk in board.quirks:
        assert quirk.text.endswith(".")
        assert quirk.source


@BOARDS
def test_only_v8_2_cores_have_dotprod(board: boards.Board) -> None:
    old = {"Cortex-A53", "Cortex-A57", "Cortex-A72"}
    for cluster in board.clusters:
        assert ("asimddp" in cluster.features) == (cluster.core not in old)
        assert "i8mm" not in cluster.features, "none of these is an Armv8.6 core"


@BOARDS
def test_published_latencies_are_of_the_board(board: boards.Board) -> None:
    rows = board.published()
    assert {row.device for row in rows} == set(board.published_devices)
    assert all(row.latency_ms > 0 and row.source and row.batch == 1 for row in rows)


def test_every_published_row_belongs_to_one_board() -> None:
    devices = [device for name in boards.names() for device in boards.get(name).published_devices]
    assert len(devices) == len(set(devices))
    assert {row.device for row in boards._published()} == set(devices)


def test_the_boards_that_the_design_names_are_there() -> None:
    expected = {"rpizero2w", "rpi3", "rpi4", "rpi5", "jetsonnano", "jetsonorinnano", "rk3588"}
    assert expected <= set(boards.names())


def test_qemu_knows_its_processors() -> None:
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None:
        pytest.skip("no qemu-aarch64: apt install qemu-user-static")
    # It prints its list, and ends with 1 because no program was named.
    told = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True, check=False)
    assert {boards.get(name).qemu_cpu for name in boards.names()} <= set(told.stdout.split())


def test_unknown_boards_name_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'rpi9'.*rpi4, rpi5"):
        boards.get("rpi9")
    with pytest.raises(UsageError):
        boards.get("../devices/rpi4")


RPI4 = (Path(boards.__file__).parent / "devices" / "rpi4.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("soc =", "sock =", "sock"),
        ("part = 0xd08", "", "missing keys: part"),
        ("part = 0xd08", 'part = "0xd08"', "type int"),
        ("count = 4", "count = true", "type int"),
        ("count = 4", "count = 4\ncolour = 1", "unknown keys: colour"),
        ('features = "', 'features = 3 # "', "Features line"),
        ("memory_mib = [1024,", 'memory_mib = ["1",', "list of int"),
        ('models = ["', 'models = "" # ["', "list of str"),
        ("[[cluster]]", "[cluster]", "list of dict"),
        ("title = ", "title ", "rpi4.toml"),
        ("title = ", "name = 'x'\ntitle = ", "unknown keys: name"),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "rpi4.toml"
    assert old in RPI4
    path.write_text(RPI4.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        boards.load(path)


@given(st.integers(0, len(RPI4) - 1), st.characters())
def test_any_text_is_a_board_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, character: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "board.toml"
    path.write_text(RPI4[:at] + character + RPI4[at + 1 :], errors="surrogatepass")
    try:
        boards.load(path)
    except DataError as error:
        assert "board.toml" in str(error)


@pytest.mark.parametrize(
    ("make", "name"),
    [(fake.pi4, "rpi4"), (fake.pi5, "rpi5"), (fake.zero2w, "rpizero2w"), (fake.rk3588, "rk3588"),
     (fake.jetson, "jetsonnano"), (fake.desk, None)],
)  # fmt: skip
def test_machines_are_recognised(
    tmp_path: Path, make: Callable[[Path], Path], name: str | None
) -> None:
    found = boards.recognise(machine.describe(make(tmp_path)))
    assert (found.name if found else None) == name


@pytest.mark.parametrize("model", [None, "", "Raspberry Pi 500 Rev 1.0", "Raspberry Pi 400 Rev 1.0",
                                   "Raspberry Pi 3 Model B Rev 1.2"])  # fmt: skip
def test_relatives_are_not_taken_for_a_board(tmp_path: Path, model: str | None) -> None:
    assert boards.recognise(replace(machine.describe(fake.pi4(tmp_path)), model=model)) is None


@pytest.mark.parametrize("make", [fake.pi4, fake.pi5, fake.zero2w, fake.rk3588])
def test_a_board_as_it_should_be(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    found = replace(machine.describe(make(tmp_path)), arch="aarch64", bits=64)
    board = boards.recognise(found)
    assert board is not None
    assert boards.check(found, board) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cores": 3}, "3 cores are online, the board has 4"),
        ({"isa": ("asimd",)}, "dotprod"),
        ({"memory_bytes": 300 * 2**20}, "300 MiB of memory, less than any variant"),
        ({"arch": "armv7l"}, "32-bit system"),
        ({"bits": 32}, "32-bit Python"),
        ({"clusters": (Cluster("all", (0, 1, 2, 3), 2900, "Cortex-A76"),)}, "up to 2900 MHz"),
        ({"clusters": (Cluster("all", (0,), None, "Cortex-A72"),)}, "cores are Cortex-A72"),
    ],
)
def test_differences_are_told(tmp_path: Path, change: dict[str, object], words: str) -> None:
    found = replace(machine.describe(fake.pi5(tmp_path)), arch="aarch64", bits=64)
    told = boards.check(replace(found, **change), boards.get("rpi5"))  # type: ignore[arg-type]
    assert any(words in line for line in told), told


def test_a_jetson_in_a_slow_mode_is_not_whole(tmp_path: Path) -> None:
    found = machine.describe(fake.jetson(tmp_path))
    told = boards.check(replace(found, arch="aarch64", bits=64), boards.get("jetsonnano"))
    assert told == ("2 cores are online, the board has 4",)
