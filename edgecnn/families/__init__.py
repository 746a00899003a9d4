"""The model zoo: one file per family, each with its rows, golden figures and checkpoints.

A family file has `MODELS`, a tuple of `ModelSpec`, and may have `PUBLISHED`, published figures of
scaled variants by their canonical name (`mobilenet_v2@w0.75,r192`), and `MOBILE`, those of its
models that are meant for boards where that is not all of them. Adding a family is adding a file;
nothing here or elsewhere lists them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from edgecnn import discovery
from edgecnn.errors import SpecError
from edgecnn.spec import ModelSpec, Published, parse_name


def names() -> tuple[str, ...]:
    """The families, sorted: the names of the files in this folder."""
    return discovery.names(__name__)


@lru_cache(maxsize=1)
def all() -> Mapping[str, ModelSpec]:
    """Every model of the zoo by name, family by family in the order of the family's file."""
    found: dict[str, ModelSpec] = {}
    for family in names():
        for spec in discovery.load(__name__, family).MODELS:
            if spec.name in found or spec.family != family:
                raise SpecError(f"{spec.name} in family {family}: name doubled or family wrong")
            found[spec.name] = spec
    return MappingProxyType(found)


@lru_cache(maxsize=1)
def mobile() -> tuple[ModelSpec, ...]:
    """The models that are meant for boards, in the order of `all`.

    Their operators are those that a latency table is calibrated for and checked on; searches over
    the whole zoo try these. The classic networks are there to be built, described, exported and
    compared.
    """
    modules = (discovery.load(__name__, family) for family in names())
    return tuple(s for m in modules for s in getattr(m, "MOBILE", m.MODELS))


def get(name: str) -> ModelSpec:
    """A model by name, scaled where the name says so: `mobilenet_v2@w0.75,d1.2,r192`.

    Published figures are attached where they exist for exactly this variant. Raises SpecError on an
    unknown name, with the nearest known ones, or on a scaling that is not understood.
    """
    zoo = all()
    if name in zoo:
        return zoo[name]
    base, width, depth, resolution = parse_name(name)
    if base not in zoo:
        raise SpecError(_unknown(base, zoo))
    spec = zoo[base].scaled(width, depth)
    listed = zoo.get(spec.name, spec)
    scaled = listed.scaled(resolution=resolution)
    return replace(scaled, published=scaled.published or _published(scaled))


def _published(spec: ModelSpec) -> Published | None:
    module = discovery.load(__name__, spec.family)
    figures: Mapping[str, Published] = getattr(module, "PUBLISHED", {})
    return figures.get(spec.name)


def _unknown(name: str, zoo: Mapping[str, ModelSpec]) -> str:
    if name in names():
        members = ", ".join(spec.name for spec in zoo.values() if spec.family == name)
        return f"{name!r} is a family, not a model; its models: {members}"
    near = difflib.get_close_matches(name, zoo, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`edgecnn models` lists them."
    return f"unknown model {name!r}; {hint} Families: {', '.join(names())}"
