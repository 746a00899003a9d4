"""Saved results: JSON documents that carry the number of their schema."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgecnn.errors import DataError
from edgecnn.files import replace_file

MAX_BYTES = 256 * 2**20
T = TypeVar("T")


def save(path: Path, document: dict[str, Any]) -> None:
    """Write a document in one step.

    Raises:
        DiskError: the file cannot be written.
    """
    replace_file(path, json.dumps(document, indent=1).encode())


def load(
    path: Path,
    schema: int,
    build: Callable[[dict[str, Any]], T],
    advice: str = "Measure again.",
) -> T:
    """Read a document and make a value of it with ``build``; ``advice`` says how it is made anew.

    Raises:
        DataError: the file is missing, too large, damaged, or of another schema.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        data = json.loads(path.read_bytes())
        if data["schema"] != schema:
            raise ValueError(f"schema {data['schema']!r}, this edgecnn reads {schema}")
        return build(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a readable result ({error}). {advice}") from error
