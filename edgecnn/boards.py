"""Known boards: one file ``edgecnn/devices/NAME.toml`` each, and what others measured on them.

A description says what a board of that kind is; :mod:`edgecnn.machine` says what the machine at
hand is. :func:`check` compares the two.
"""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgecnn.errors import DataError, UsageError
from edgecnn.machine import Machine, cpuinfo

_FOLDER = Path(__file__).parent / "devices"
_PUBLISHED = Path(__file__).parent / "data" / "published_latency.csv"
_LEAST_MEMORY = 0.8
"""Share of a variant's memory that has to be there: the firmware and the kernel keep some."""
_CLOCK_TOLERANCE = 0.04
T = TypeVar("T")


@dataclass(frozen=True)
class Cluster:
    """Cores of one kind, as /proc/cpuinfo would show each; ``core`` is the design's name."""

    core: str
    implementer: int
    part: int
    count: int
    max_mhz: int
    features: tuple[str, ...]


@dataclass(frozen=True)
class Quirk:
    """Something to know before measuring on a board, and where it was said."""

    text: str
    source: str


@dataclass(frozen=True)
class PublishedLatency:
    """A latency that others measured. Their conditions are theirs: not comparable with ours.

    ``threads`` is empty where the source does not say; ``precision`` is in the source's words.
    """

    model: str
    resolution: int | None
    precision: str
    runtime: str
    device: str
    threads: str
    batch: int
    latency_ms: float
    accelerator: str
    date: str
    source: str
    note: str


@dataclass(frozen=True)
class Board:
    """A board. ``clusters`` are in the order of its processors' numbers.

    ``models`` are beginnings of what it calls itself (/proc/device-tree/model), ``memory_bytes``
    the variants sold, ``qemu_cpu`` QEMU's nearest processor (``qemu-aarch64 -cpu``) and
    ``qemu_note`` in what that differs. ``published_devices`` are the names under which published
    latencies know it.
    """

    name: str
    title: str
    soc: str
    arch: str
    models: tuple[str, ...]
    memory_bytes: tuple[int, ...]
    clusters: tuple[Cluster, ...]
    qemu_cpu: str
    sources: tuple[str, ...]
    published_devices: tuple[str, ...] = ()
    qemu_note: str | None = None
    quirks: tuple[Quirk, ...] = ()

    @property
    def cores(self) -> int:
        """The number of processors."""
        return sum(cluster.count for cluster in self.clusters)

    @property
    def isa(self) -> tuple[str, ...]:
        """The vector instruction flags that all cores share, sorted."""
        flags = (cluster.features for cluster in self.clusters)
        return tuple(sorted(cpuinfo.ISA_FLAGS.intersection(*flags)))

    def published(self) -> tuple[PublishedLatency, ...]:
        """Return what others measured on this board."""
        return tuple(row for row in _published() if row.device in self.published_devices)


def names() -> tuple[str, ...]:
    """Return the names of the known boards, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def get(name: str) -> Board:
    """Return the board called ``name``.

    Raises:
        UsageError: it is not known.
        DataError: its description is damaged.
    """
    if name not in names():
        raise UsageError(f"unknown board {name!r}; known: {', '.join(names())}.")
    return load(_FOLDER / f"{name}.toml")


def recognise(machine: Machine) -> Board | None:
    """Return the board that ``machine`` is, by what it calls itself; None if it is not known."""
    found = [
        (len(model), board)
        for board in map(get, names())
        for model in board.models
        if (machine.model or "").startswith(model)
    ]
    return max(found, key=lambda entry: entry[0])[1] if found else None


def check(machine: Machine, board: Board) -> tuple[str, ...]:
    """Say in which points ``machine`` is not what a ``board`` should be."""
    return tuple(_differences(machine, board))


def load(path: Path) -> Board:
    """Read a board's description.

    Raises:
        DataError: the file is missing or damaged, a key is unknown or missing, or a value is of
            another type than it should be.
    """
    try:
        data = tomllib.loads(path.read_text())
        memory = tuple(round(2**20 * size) for size in _list(data.pop("memory_mib"), int))
        clusters = tuple(_cluster(entry) for entry in _list(data.pop("cluster"), dict))
        quirks = tuple(_build(Quirk, entry) for entry in _list(data.pop("quirk", []), dict))
        lists = {
            key: tuple(_list(data.pop(key), str))
            for key in ("models", "sources", "published_devices")
            if key in data
        }
        made = {"name": path.stem, "memory_bytes": memory, "clusters": clusters, "quirks": quirks}
        if data.keys() & made:
            raise ValueError(f"unknown keys: {', '.join(sorted(data.keys() & made))}")
        return _build(Board, data | lists | made)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a description of a board ({error!r}).") from error


def _differences(machine: Machine, board: Board) -> Iterator[str]:
    if machine.bits == 32 or machine.arch.startswith("armv7"):
        yield (
            f"a 32-bit system ({machine.arch}, {machine.bits}-bit Python) on a 64-bit board: "
            "onnxruntime and LiteRT have no packages for it; install the 64-bit system"
        )
    if machine.cores < board.cores:
        yield f"{machine.cores} cores are online, the board has {board.cores}"
    for feature in cpuinfo.FEATURES:
        if cpuinfo.has(feature, board.isa) and not machine.features[feature]:
            yield f"the kernel does not tell of {feature}, which the board's cores have"
    smallest = min(board.memory_bytes)
    if machine.memory_bytes is not None and machine.memory_bytes < _LEAST_MEMORY * smallest:
        yield (
            f"{machine.memory_bytes / 2**20:.0f} MiB of memory, less than any variant of the board "
            f"has ({smallest / 2**20:.0f} MiB)"
        )
    yield from _core_differences(machine, board)


def _core_differences(machine: Machine, board: Board) -> Iterator[str]:
    for cluster in machine.clusters:
        clocks = [known.max_mhz for known in board.clusters if known.core == cluster.core]
        if not clocks:
            cores = " and ".join(dict.fromkeys(known.core for known in board.clusters))
            yield f"the cores are {cluster.core}, the board's are {cores}"
        elif (found := cluster.max_mhz) is not None:
            expected = min(clocks, key=lambda clock: abs(clock - found))
            if abs(found - expected) > _CLOCK_TOLERANCE * expected:
                yield (
                    f"the {cluster.core} cores run at up to {found} MHz, those of the board at "
                    f"{expected}: latencies of other boards of this kind do not apply"
                )


def _build(kind: type[T], data: Mapping[str, Any]) -> T:
    """Make a value of a dataclass; every key has to be a field of the right type.

    Raises:
        ValueError: a key is unknown or missing, or a value has another type.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    required = {name for name, field in known.items() if field.default is MISSING}
    if unknown := data.keys() - known:
        raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
    if missing := required - data.keys():
        raise ValueError(f"missing keys: {', '.join(sorted(missing))}")
    for name, value in data.items():
        wanted = _scalar(known[name].type)
        if wanted is not None and type(value) is not wanted:
            raise ValueError(f"{name} = {value!r} should be of type {wanted.__name__}")
    return kind(**data)


def _scalar(annotation: object) -> type | None:
    """Return the type of a plain field; lists are checked where they are read."""
    scalars: dict[object, type] = {str: str, int: int, str | None: str}
    return scalars.get(annotation)


def _cluster(data: Mapping[str, Any]) -> Cluster:
    features = data.get("features")
    if not isinstance(features, str):
        raise ValueError("features should be the text of a Features line of /proc/cpuinfo")
    return _build(Cluster, {**data, "features": tuple(features.split())})


def _list(value: object, kind: type[T]) -> list[T]:
    if not isinstance(value, list) or not all(type(entry) is kind for entry in value):
        raise ValueError(f"{value!r} should be a list of {kind.__name__}")
    return value


@cache
def _published() -> tuple[PublishedLatency, ...]:
    with _PUBLISHED.open(newline="") as file:
        return tuple(map(_published_row, csv.DictReader(file)))


def _published_row(row: Mapping[str, str]) -> PublishedLatency:
    values = {name: row[name] for name in ("model", "precision", "runtime", "device", "threads",
                                           "accelerator", "date", "source", "note")}  # fmt: skip
    return PublishedLatency(
        **values,
        resolution=int(row["resolution"]) if row["resolution"] else None,
        batch=int(row["batch"]),
        latency_ms=float(row["latency_ms"]),
    )
