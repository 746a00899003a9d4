"""What a selection keeps in its work folder, under names that say what it depends on."""

import hashlib
import json

import edgecnn


def key_of(*parts: object) -> str:
    """Return 12 hex digits that depend on all ``parts``, and on the edgecnn version."""
    text = json.dumps([edgecnn.__version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def safe_name(name: str) -> str:
    """Return a name that may stand in a path."""
    return "".join(c if c.isalnum() or c in "-_.," else "_" for c in name)
