"""Discovery by folder: a module in the folder is an entry, and its file name is its name.

A trailing underscore, which keeps a file from hiding a real package (``torch_.py``), is not part
of the name. Nothing is imported until an entry is asked for.
"""

import importlib
import pkgutil
from types import ModuleType


def names(package: str) -> tuple[str, ...]:
    """Return the names of the entries in ``package`` (a dotted name), sorted."""
    folder = importlib.import_module(package).__path__
    found = (info.name for info in pkgutil.iter_modules(folder))
    return tuple(sorted(name.rstrip("_") for name in found if not name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Import the entry ``name`` of ``package``.

    Raises:
        KeyError: there is no such entry.
    """
    folder = importlib.import_module(package).__path__
    for info in pkgutil.iter_modules(folder):
        if info.name.rstrip("_") == name and not info.name.startswith("_"):
            return importlib.import_module(f"{package}.{info.name}")
    raise KeyError(name)
