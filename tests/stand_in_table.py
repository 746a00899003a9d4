"""A latency table that needs no calibration: a millisecond for each million of multiply-adds."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecnn import latency
from edgecnn.environment import Environment
from edgecnn.latency import OutsideTableError
from edgecnn.spec import ModelSpec
from edgecnn.workload import from_spec

LARGEST_MS = 5000.0


def macs_ms(spec: ModelSpec) -> float:
    """Milliseconds. Raises OutsideTableError for very large networks."""
    ms = from_spec(spec).macs / 1e6
    if ms > LARGEST_MS:
        raise OutsideTableError(f"{spec.name} is outside what the table knows")
    return ms


def install(
    monkeypatch: pytest.MonkeyPatch,
    device: str = "local",
    functions: dict[str, Callable[[ModelSpec], float]] | None = None,
) -> None:
    """Let `latency.load` give stand-ins; `functions` by the stem of the file's name."""

    def load(path: Path) -> Any:
        function = (functions or {}).get(path.stem, macs_ms)
        table = SimpleNamespace(
            device=device, runtime="ort", precision="w8a8", threads=1, kind="predicted",
            source="measured", environment=Environment.now(()),
        )  # fmt: skip
        return SimpleNamespace(name=path.name, table=table, predict=function)

    monkeypatch.setattr(latency, "load", load)


def file(folder: Path, name: str = "table.json") -> Path:
    """A file that stands for a table."""
    path = folder / name
    path.write_text("{}")
    return path
