"""Latency models of boards that are not at hand, from latencies that others published.

ncnn's repository publishes what its benchmark's networks take on many ARM boards;
`data/published_ncnn.csv` has those of 64-bit processors with up to 6 threads, without a GPU, since
June 2022 (before, ncnn had other kernels; boards with a name here are in it with older ones too).
`data/published_networks.json` says what the networks execute. One fit over all boards gives each
its prices of a few terms of work (`_published_terms`, `_published_fit`).

What to expect is told by leaving out a network and predicting it. `unseen`: left out on all boards,
as good as a network that nobody published. `here`: left out on this board, other boards' latencies
of it used. The settings of the model were chosen among several with these errors in sight, so
they are a little too good. A published latency is another person's: of their board, cooling,
system and version of ncnn.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgecnn.encoding import Signature
from edgecnn.errors import DataError, UsageError
from edgecnn.latency._published_fit import Problem, matrix, prices
from edgecnn.latency._published_terms import TERMS, Floats, terms, total

_DATA = Path(__file__).parents[1] / "data"
_SOURCE = "Tencent/ncnn benchmark/README.md@a4d2ea1"
_OUTLIER = 1.25
"""A mean this many times the smallest sample is replaced by the smallest."""
_HALF = ("A55", "A76", "A77", "A78", "A520", "A720", "X1 ", "X4", "KunPeng", "Kunpeng", "Carmel",
         "MacBook", "Kyro460", "855", "8 Gen", "888", "765G", "D64ps", "Oryon", "Jetson Orin",
         "Dimensity")  # fmt: skip
"""Processors with half-precision arithmetic, which ncnn's "float" uses where there is any."""


@dataclass(frozen=True)
class _Place:
    device: str
    precision: str


_PLACES = {
    "jetsonnano-ncnn": _Place("NVIDIA Jetson Nano", "fp32"),
    "jetsonorinnano-ncnn": _Place("NVIDIA Jetson Orin Nano", "fp16"),
    "rpi3b+-ncnn": _Place(
        "Raspberry Pi 3 Model B+ Broadcom BCM2837B0, Cortex-A53 (ARMv8) (1.4GHz x 4)", "fp32"
    ),
    "rpi4b-ncnn": _Place(
        "Raspberry Pi 4 Model B Broadcom BCM2711B0, Cortex-A72 (ARMv8) (1.8GHz x 4)", "fp32"
    ),
    "rpi5-ncnn": _Place("Raspberry Pi 5 Broadcom BCM2712, Cortex-A76 (ARMv8) (2.4GHz x 4)", "fp16"),
    "rpizero2w-ncnn": _Place(
        "Raspberry Pi Zero 2 W Broadcom BCM2710A1, Cortex-A53 (ARMv8) (1.0GHz x 4)", "fp32"
    ),
}


@dataclass(frozen=True)
class Row:
    """One published latency of a network; `used_ms` is the mean, or the minimum of an outlier."""

    network: str
    device: str
    threads: int
    mean_ms: float
    min_ms: float
    runtime: str
    date: str
    source: str
    powersave: int
    """0: all cores, 1: the little ones, 2: the big ones."""

    @property
    def used_ms(self) -> float:
        return self.min_ms if self.mean_ms > _OUTLIER * self.min_ms else self.mean_ms


@dataclass(frozen=True)
class LeftOut:
    """Relative errors of predictions of a network that was left out, see the head of this file."""

    network: str
    published_ms: float
    unseen: float
    here: float


@dataclass(frozen=True)
class Share:
    """How far predictions were off: median size, and shares of networks within 10 and 20 %."""

    networks: int
    median: float
    within_10: float
    within_20: float

    @classmethod
    def of(cls, errors: Iterable[float]) -> Share:
        sizes = [abs(one) for one in errors]
        within = [sum(one <= limit for one in sizes) / len(sizes) for limit in (0.1, 0.2)]
        return cls(len(sizes), median(sizes), *within)


@dataclass(frozen=True)
class Fitted:
    """A board's model.

    `prices` are milliseconds by term, `kinds` the kinds of operators that some network has.
    `runtime_version` is that of the rows, a revision of ncnn's repository.
    """

    name: str
    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    prices: Mapping[str, float]
    kinds: tuple[str, ...]
    rows: tuple[Row, ...]
    errors: tuple[LeftOut, ...]
    run_ms: float = 0.0

    @cached_property
    def _prices(self) -> Floats:
        return np.array([self.prices[name] for name in TERMS])

    @property
    def unseen(self) -> Share:
        """Errors of networks that were left out on all boards: what to expect of others."""
        return Share.of(one.unseen for one in self.errors)

    @property
    def here(self) -> Share:
        """Errors of networks that were left out on this board only."""
        return Share.of(one.here for one in self.errors)

    def knows(self, signature: Signature) -> bool:
        """Whether some network has operators of this kind."""
        return signature.op in self.kinds

    def row_ms(self, signature: Signature, precision: str) -> float:
        """Milliseconds of one operator; those of unknown kinds are taken to move their numbers.

        Raises:
            UsageError: the latencies are not of this precision.
        """
        if precision != self.precision:
            raise UsageError(
                f"{self.name} was fitted to {self.precision} latencies, not {precision}; "
                f"ask for {self.precision}."
            )
        return float(terms(signature) @ self._prices)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fitted:
        """Read what `to_dict` wrote.

        Raises:
            DataError: a part is missing or has another form, or it has other terms.
        """
        try:
            if set(data["prices"]) != set(TERMS):
                raise ValueError("the prices are of other terms than this edgecnn has")
            return cls(
                **{key: str(data[key]) for key in ("name", "device", "runtime", "precision",
                                                   "runtime_version")},
                threads=int(data["threads"]),
                prices={name: float(data["prices"][name]) for name in TERMS},
                kinds=tuple(map(str, data["kinds"])),
                rows=tuple(Row(**one) for one in data["rows"]),
                errors=tuple(LeftOut(**one) for one in data["errors"]),
                run_ms=float(data["run_ms"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a model fitted to published latencies ({error!r}).") from error


def names() -> tuple[str, ...]:
    """Return the boards and runtimes that there are models for."""
    return tuple(_PLACES)


def threads_of(name: str) -> tuple[int, ...]:
    """Return the thread counts that were published. Raises UsageError where `name` is unknown."""
    device = _place(name).device
    return tuple(sorted(key[2] for key in _boards() if key[0] == device))


def fit(name: str, threads: int = 1, precision: str | None = None) -> Fitted:
    """Fit the model of a board, and leave out each of its networks once (some seconds).

    `precision` is that of the published latencies: ncnn's "float" is fp16 where the processor has
    half-precision arithmetic (Raspberry Pi 5), else fp32.

    Raises:
        UsageError: there is nothing published for this name, number of threads or precision.
    """
    place = _place(name)
    if precision not in (None, place.precision):
        raise UsageError(
            f"the published latencies of {name} are of {place.precision}, not of {precision}; "
            f"ask for {place.precision}."
        )
    if threads not in threads_of(name):
        allowed = ", ".join(map(str, threads_of(name)))
        raise UsageError(f"nothing is published for {name} with {threads} threads; "
                         f"published: {allowed}.")  # fmt: skip
    key = next(k for k in _boards() if k[0] == place.device and k[2] == threads)
    rows = _boards()[key]
    return Fitted(
        name=name,
        device=place.device,
        runtime="ncnn",
        runtime_version=rows[0].runtime.removeprefix("ncnn (").removesuffix(")"),
        precision=place.precision,
        threads=threads,
        prices=dict(zip(TERMS, map(float, _prices()[key]), strict=True)),
        kinds=tuple(sorted({one.op for network in networks().values() for one in network})),
        rows=rows,
        errors=tuple(_left_out(row, key) for row in rows),
    )


@cache
def networks() -> Mapping[str, tuple[Signature, ...]]:
    """What ncnn executes for the networks of its benchmark, by its names for them."""
    stored = json.loads((_DATA / "published_networks.json").read_text())["networks"]
    return {name: tuple(map(_signature, rows)) for name, rows in stored.items()}


def _signature(fields: Sequence[Any]) -> Signature:
    op, activation, entering, second, leaving, kernel, stride, groups = fields
    return Signature(op, "", activation, tuple(entering), tuple(second), tuple(leaving), kernel,
                     kernel**2, stride, groups, 1)  # fmt: skip


def _place(name: str) -> _Place:
    if name not in _PLACES:
        raise UsageError(f"nothing is published for {name!r}; published: {', '.join(names())}.")
    return _PLACES[name]


_Key = tuple[str, str, int, int]
"""Device, version, threads, powersave."""


@cache
def _boards() -> Mapping[_Key, tuple[Row, ...]]:
    """Published latencies by board."""
    found: dict[_Key, list[Row]] = {}
    with (_DATA / "published_ncnn.csv").open(newline="") as file:
        for row in map(_row, csv.DictReader(file)):
            key = (row.device, row.runtime, row.threads, row.powersave)
            found.setdefault(key, []).append(row)
    return {key: tuple(rows) for key, rows in found.items()}


def _row(data: Mapping[str, str]) -> Row:
    return Row(
        data["model"],
        data["device"],
        int(data["threads"]),
        float(data["latency_ms"]),
        float(data["min_ms"]),
        data["runtime"],
        data["date"],
        f"{_SOURCE} L{data['line']}",
        int(data["powersave"]),
    )


def _is_any(text: str, parts: Sequence[str]) -> bool:
    return any(part in text for part in parts)


def _class(key: _Key) -> int:
    return 2 * _is_any(key[0], _HALF) + (key[2] > 1)


@cache
def _work() -> Mapping[str, Floats]:
    return {name: total(operators) for name, operators in networks().items()}


@cache
def _prices(without: str = "", device: str = "") -> Mapping[_Key, Floats]:
    """Prices of all boards, fitted without a network, on one device or, by default, on all."""
    boards, work = _boards(), _work()
    latencies = [
        {
            row.network: row.used_ms
            for row in rows
            if row.network != without or device not in ("", row.device)
        }
        for rows in boards.values()
    ]
    used = [name for name in work if any(name in one for one in latencies)]
    classes = np.array([_class(key) for key in boards], np.intp)
    problem = Problem(np.array([work[name] for name in used]), matrix(latencies, used), classes)
    return dict(zip(boards, prices(problem), strict=True))


def _left_out(row: Row, key: _Key) -> LeftOut:
    work = _work()[row.network]
    unseen, here = _prices(row.network), _prices(row.network, row.device)
    errors = (float(work @ found[key]) / row.used_ms - 1 for found in (unseen, here))
    return LeftOut(row.network, row.used_ms, *errors)
