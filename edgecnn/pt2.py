"""Opening a `.pt2` file (torch.export) without executing anything that it brings along.

`torch.export.load` itself may unpickle: weights and constants marked `use_pickle`, custom objects,
files of older formats, and example inputs that refuse `weights_only=True`. It evaluates symbolic
shape expressions and guards as Python, writes argument names into source code, and loads compiled
libraries. Such files are refused here before torch sees them; what `torch.export.save` writes for a
plain network passes.
"""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import SourceError

if TYPE_CHECKING:
    from torch import nn

MAX_BYTES = 4 << 30
_FOLDERS = ("data/weights/", "data/constants/", "data/sample_inputs/", "models/")
_PLAIN_FILES = re.compile(
    r"\.?(data/)?(archive_format|archive_version|version|byteorder|serialization_id|\.format_version"
    r"|\.storage_alignment|format_version)|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|models/model\.json|extra/.*"
)
# Every string of the graph outside node metadata is a plain word. Torch turns some of them into
# Python source (argument names, guards) or evaluates them (shape expressions).
_WORD = re.compile(r"[\w.]*")
_ALLOWED_STRINGS = {
    "torch_version": re.compile(r"[\w.+]*"),
    "expr_str": re.compile(r"\d+|Symbol\('\w+'(, (positive|integer)=True)*\)"),
    "target": re.compile(r"torch\.ops\.(aten|prims)\._?[a-z]\w*\.\w+|_operator\.getitem"),
}
_TREE_STRING = re.compile(r'null|builtins\.(tuple|list|dict)|\[[\w", ]*\]')


def load(path: Path) -> nn.Module:
    """The program of a .pt2 file as a module. Raises SourceError where it cannot or must not."""
    import torch

    if path.stat().st_size > MAX_BYTES:
        raise SourceError(f"{path}: larger than {MAX_BYTES >> 30} GiB")
    # read once, so that what was checked is what is loaded
    data = path.read_bytes()
    require_plain(data, path)
    try:
        return torch.export.load(io.BytesIO(data)).module()
    except (RuntimeError, ValueError, KeyError, AssertionError, TypeError) as error:
        raise SourceError(f"{path}: torch cannot load it ({_first_line(error)})") from error


def require_plain(data: bytes, path: Path) -> None:
    """Refuse an archive that holds more than tensors and a graph of tensor operators."""
    from torch.export.pt2_archive._package import PT2ArchiveReader

    try:
        # torch's own reader, so that both see the same archive
        with PT2ArchiveReader(io.BytesIO(data)) as archive:
            files = {name: archive.read_bytes(name) for name in _checked_names(archive, path)}
    except (RuntimeError, ValueError, KeyError) as error:
        raise SourceError(
            f"{path}: not a program saved by torch.export.save ({_first_line(error)})"
        ) from error
    for name, content in files.items():
        if name.endswith("_config.json"):
            _require_plain_payloads(_json(content, name, path), path)
        elif name.startswith("models/"):
            _require_plain_graph(_json(content, name, path), path)
        elif name.startswith("data/sample_inputs/"):
            _require_plain_inputs(content, path)


def _checked_names(archive: Any, path: Path) -> list[str]:
    names: list[str] = archive.get_file_names()
    odd = [name for name in names if not _PLAIN_FILES.fullmatch(name)]
    if odd or len(set(names)) != len(names) or "models/model.json" not in names:
        raise SourceError(
            f"{path}: not a plain exported program; unexpected in it: "
            f"{', '.join(odd[:3]) or 'doubled or missing files'}. Save it again with "
            "torch.export.save, without compiled code or custom objects."
        )
    return [n for n in names if n.endswith((".json", "sample_inputs/model.pt"))]


def _json(content: bytes, name: str, path: Path) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise SourceError(f"{path}: {name} in it is not JSON ({_first_line(error)})") from error


def _require_plain_payloads(config: Any, path: Path) -> None:
    entries = config.get("config", {}) if isinstance(config, Mapping) else {}
    for name, entry in entries.items():
        plain = isinstance(entry, Mapping) and not entry.get("use_pickle")
        if not plain or not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise SourceError(
                f"{path}: {name} is stored as a pickled object, which would have to be executed to "
                "be read. Save it again with plain tensors."
            )


def _require_plain_graph(graph: Any, path: Path) -> None:
    if not isinstance(graph, dict) or graph.get("guards_code"):
        raise SourceError(f"{path}: carries Python code for guards; export it with fixed shapes")
    for key, text in _strings(graph):
        plain = _WORD.fullmatch(key) and (
            _plain_tree(text)
            if key in ("in_spec", "out_spec")
            else _ALLOWED_STRINGS.get(key, _WORD).fullmatch(text)
        )
        if not plain:
            raise SourceError(
                f"{path}: {key} {text[:60]!r} in its graph is not plain. Accepted are graphs of "
                "torch.ops.aten operators with fixed shapes or a dynamic batch, tensors in and "
                "out. If you trust the file, load it in your own FILE.py:CALLABLE."
            )


def _plain_tree(text: str) -> bool:
    try:
        return all(_TREE_STRING.fullmatch(value) for _, value in _strings(json.loads(text)))
    except ValueError:
        return False


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Each string with the key it stands under; keys of objects too; node metadata left out."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        key, item = stack.pop()
        if isinstance(item, str):
            yield key, item
        elif isinstance(item, list):
            stack.extend((key, entry) for entry in item)
        elif isinstance(item, dict):
            stack.extend((name, entry) for name, entry in item.items() if name != "metadata")
            yield from ((name, "") for name in item if not _WORD.fullmatch(name))


def _require_plain_inputs(content: bytes, path: Path) -> None:
    import torch

    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise SourceError(
            f"{path}: its example inputs are not plain tensors ({_first_line(error)})"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:200] or type(error).__name__
