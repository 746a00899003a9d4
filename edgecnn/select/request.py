"""What to choose among, and under which limits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from edgecnn import export, images, runtimes
from edgecnn.choice import Row
from edgecnn.comparison import Plan
from edgecnn.contract import Recipe
from edgecnn.device import LOCAL, Device
from edgecnn.errors import UsageError
from edgecnn.export.calibration import DEFAULT_IMAGES
from edgecnn.latency.table import Table
from edgecnn.profile import Target

Progress = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What to choose among, and under which limits.

    Candidates are models x formats x precisions x runtimes x threads. Without ``runtimes`` all
    available ones that open the format take part. ``data`` are photographs, for calibration and
    accuracy; at most ``limit`` of them measure accuracy. ``work`` keeps files and measurements;
    with ``fresh`` latencies are measured again. With ``finalists``, candidates of a shortlist, only
    these take part of all combinations; ``tables`` are what predicted them.
    """

    models: tuple[str, ...]
    target: Target
    work: Path
    device: Device = LOCAL
    formats: tuple[str, ...] = ("onnx", "tflite")
    precisions: tuple[str, ...] = ("fp32", "w8a8")
    runtimes: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    data: Path | None = None
    labels_file: Path | None = None
    weights: str = "auto"
    limit: int | None = None
    fresh: bool = False
    plan: Plan = field(default_factory=lambda: Plan(stages=False))
    finalists: tuple[Row, ...] = ()
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("no models to choose among; `edgecnn models` lists the zoo.")
        for name in self.formats:
            export.get(name)
        for name in self.precisions:
            Recipe.parse(name)
        for name in self.runtimes:
            runtimes.get(name)

    @classmethod
    def of_finalists(cls, finalists: Sequence[Row], **others: Any) -> "Request":
        """Return the request that measures these candidates and no others."""
        return cls(
            models=_unique(row.name for row in finalists),
            formats=_unique(row.format for row in finalists),
            precisions=_unique(row.precision for row in finalists),
            runtimes=_unique(row.runtime for row in finalists if row.runtime),
            threads=_unique(row.threads for row in finalists if row.threads),
            finalists=tuple(finalists),
            **others,
        )

    def wants(self, model: str, format_name: str, precision: str) -> bool:
        """Return whether such a file takes part."""
        wanted = {(row.name, row.format, row.precision) for row in self.finalists}
        return not wanted or (model, format_name, precision) in wanted

    def times(self, row: Row, runtime: str, threads: int) -> bool:
        """Return whether the file of a row takes part on a runtime with so many threads."""
        wanted = {one.place for one in self.finalists}
        return not wanted or replace(row, runtime=runtime, threads=threads).place in wanted

    @cached_property
    def listing(self) -> tuple[Path, ...]:
        """The photographs of ``data``; none without it."""
        return () if self.data is None else images.list_images(self.data)

    @cached_property
    def calibration_sha256(self) -> str:
        """The digest of the photographs that an export would calibrate on."""
        return images.images_sha256(images.calibration_subset(self.listing, DEFAULT_IMAGES))


def _unique(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))
