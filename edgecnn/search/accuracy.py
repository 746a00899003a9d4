"""How accurate a network is: trained here for a short while, published, or told by the caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from edgecnn import families, train_data
from edgecnn.errors import EdgecnnError
from edgecnn.space import Space
from edgecnn.spec import ModelSpec

if TYPE_CHECKING:
    from edgecnn.train import Epoch, Recipe

Kind = Literal["measured", "published", "given"]
Report = Callable[[int, float], None]
"""Called with the epoch (from 1) and top-1 in percent so far; what it raises ends the judging."""


class CandidateError(EdgecnnError):
    """One network cannot be judged; a search notes why, and goes on with others."""


class Accuracy(Protocol):
    """A source of accuracies.

    `kind` marks its figures. `identity` is equal for sources whose figures can be compared: a study
    takes one alone.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def identity(self) -> str: ...

    def network(self, spec: ModelSpec) -> ModelSpec:
        """The network that is judged for one of the space; its latency counts."""
        ...

    def top1(self, spec: ModelSpec, report: Report) -> float | None:
        """Top-1 in percent; None where it is not known."""
        ...

    def listed(self, space: Space) -> Sequence[ModelSpec] | None:
        """The networks of the space that can be judged; None where all can."""
        ...


@dataclass(frozen=True)
class Proxy:
    """Trains each network by a short recipe; what was trained before is read from `work`.

    `data` is a folder, zip file or MNIST folder, see `train_data.load`. Raises DataError.
    """

    data: Path
    recipe: Recipe
    work: Path
    kind: Kind = "measured"

    @cached_property
    def pictures(self) -> train_data.Pictures:
        """The pictures, read once."""
        return train_data.load(self.data)

    @property
    def identity(self) -> str:
        return f"proxy {self.recipe.digest} on {self.pictures.digest[:12]}"

    def network(self, spec: ModelSpec) -> ModelSpec:
        return self.pictures.adapted(spec)

    def top1(self, spec: ModelSpec, report: Report) -> float:
        from edgecnn import train  # torch: other sources of accuracy work without it

        def watch(epoch: Epoch) -> None:
            # After the last epoch there is nothing left to save by stopping.
            if epoch.number < self.recipe.epochs:
                report(epoch.number, epoch.top1)

        try:
            return train.proxy(spec, self.pictures, self.recipe, self.work, watch).top1
        except train.DivergedError as error:
            raise CandidateError(str(error)) from error

    def listed(self, space: Space) -> None:
        return None


@dataclass(frozen=True)
class Published:
    """Published top-1 on ImageNet, known for networks of the zoo alone."""

    kind: Kind = "published"
    identity: str = "published"

    def network(self, spec: ModelSpec) -> ModelSpec:
        return next((known for known in _zoo() if _same(known, spec)), spec)

    def top1(self, spec: ModelSpec, report: Report) -> float | None:
        known = self.network(spec).accuracy
        return None if known is None else known[0]

    def listed(self, space: Space) -> tuple[ModelSpec, ...]:
        return tuple(spec for spec in _zoo() if spec in space)


def _zoo() -> tuple[ModelSpec, ...]:
    return tuple(spec for spec in families.all().values() if spec.accuracy is not None)


def _same(a: ModelSpec, b: ModelSpec) -> bool:
    return (a.resolution, a.blocks) == (b.resolution, b.blocks)


@dataclass(frozen=True)
class Given:
    """A function of the caller: top-1 in percent, None where unknown. `identity` is its name."""

    function: Callable[[ModelSpec], float | None]
    identity: str
    kind: Kind = "given"

    def network(self, spec: ModelSpec) -> ModelSpec:
        return spec

    def top1(self, spec: ModelSpec, report: Report) -> float | None:
        return self.function(spec)

    def listed(self, space: Space) -> None:
        return None
