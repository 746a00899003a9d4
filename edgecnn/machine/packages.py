"""Which Python packages are there, without importing them."""

import importlib.util
from collections.abc import Sequence


def importable(modules: Sequence[str]) -> list[str]:
    """Return those of the top-level ``modules`` that Python finds, whether or not they load."""
    importlib.invalidate_caches()
    return [name for name in modules if "." not in name and importlib.util.find_spec(name)]
