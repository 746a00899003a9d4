"""A small member of each family, for tests that export: narrow, shallow, at a low resolution."""

from dataclasses import replace

from edgecnn import families, layers
from edgecnn.errors import SpecError
from edgecnn.spec import ModelSpec

RESOLUTION = 64
WIDTH = 0.5
"""Of classic networks, most of which are wide."""
REPEATS = 2
"""Of a row at most: converters take time for each operator, and a third is as the second."""


def smallest() -> dict[str, ModelSpec]:
    """By family."""
    first = {spec.family: spec for spec in reversed(families.all().values())}
    return {family: small(spec) for family, spec in sorted(first.items())}


def small(spec: ModelSpec) -> ModelSpec:
    """The network at the lowest resolution of some that it can have; of digits as it is."""
    if spec.resolution <= RESOLUTION:
        return spec
    is_mobile = spec.family in {one.family for one in families.mobile()}
    narrow = shallow(spec if is_mobile else spec.scaled(WIDTH))
    for resolution in (RESOLUTION, 128):
        found = narrow.scaled(resolution=resolution)
        try:
            layers.lower(found)
        except SpecError:
            continue
        return found
    return narrow


def shallow(spec: ModelSpec) -> ModelSpec:
    """The network with each row at most `REPEATS` times."""
    rows = (replace(row, repeats=min(row.repeats, REPEATS)) for row in spec.blocks)
    return replace(spec, blocks=tuple(rows))
