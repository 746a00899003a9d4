"""PyTorch: an exported program as ``torch.export.save`` writes it, ``.pt2``.

The archive is a stored zip whose members lie below one folder; the graph is JSON and the weights
are raw bytes, so that the header can be read without torch. Files that are put along by
``extra_files=`` lie in its folder ``extra``; the contract is one of them. Loading the program
itself needs torch, and care: see :mod:`edgecnn.pt2`.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from edgecnn.contract import Contract, TensorSpec, image_layout
from edgecnn.errors import ArtifactError
from edgecnn.formats import Header
from edgecnn.formats import _zipped as zipped

name = "pt2"
suffix = ".pt2"

MODEL_MEMBER, CONTRACT_MEMBER = "models/model.json", "extra/edgecnn.json"
WEIGHTS_MEMBER = "data/weights/model_weights_config.json"
MAX_MODEL_BYTES = 256 << 20
# torch._export.serde.schema.ScalarType
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 12: "bool", 13: "bfloat16", 28: "uint16",
}  # fmt: skip


def matches(head: bytes, suffix: str) -> bool:
    """Tell by the ending: the content is a zip archive, as that of other formats is."""
    return suffix == ".pt2"


def inspect(path: Path) -> Header:
    """Read the header. Raises ArtifactError where the file is truncated or damaged."""
    with zipped.opening(path) as archive:
        graph_module = read_model(archive)["graph_module"]
        if root(archive) + WEIGHTS_MEMBER not in archive.namelist():
            raise ArtifactError(f"{path}: the archive lacks {WEIGHTS_MEMBER}.")
        contract = zipped.contract_text(archive, root(archive) + CONTRACT_MEMBER)
    try:
        tensors, signature = graph_module["graph"]["tensor_values"], graph_module["signature"]
        inputs = [_user_tensor(spec, "user_input") for spec in signature["input_specs"]]
        outputs = [_user_tensor(spec, "user_output") for spec in signature["output_specs"]]
        return Header(
            inputs=tuple(_spec(tensor, tensors[tensor]) for tensor in inputs if tensor),
            outputs=tuple(_spec(tensor, tensors[tensor]) for tensor in outputs if tensor),
            contract=contract,
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"{path}: {MODEL_MEMBER} is no exported program that edgecnn knows ({error!r}). Save "
            "it again with torch.export.save of torch 2.9 or newer."
        ) from error


def embed(path: Path, contract: Contract) -> None:
    """Put ``contract`` into the archive, replacing one that is there."""
    with zipped.opening(path) as archive:
        member = root(archive) + CONTRACT_MEMBER
    zipped.write_contract(path, member, contract)


def root(archive: zipfile.ZipFile) -> str:
    """Return the folder that holds all members, with its slash.

    Raises:
        ArtifactError: there is no such folder.
    """
    roots = {member.partition("/")[0] for member in archive.namelist() if "/" in member}
    if len(roots) != 1 or any("/" not in member for member in archive.namelist()):
        raise ArtifactError(
            f"{archive.filename}: not an archive of torch.export.save of torch 2.9 or newer: its "
            "members do not lie in one folder."
        )
    return f"{roots.pop()}/"


def read_model(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the graph and its signature, as JSON.

    Raises:
        ArtifactError: the member is absent, larger than 256 MiB, or no JSON object.
    """
    data = zipped.member_bytes(archive, root(archive) + MODEL_MEMBER, MAX_MODEL_BYTES)
    try:
        model = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{archive.filename}: {MODEL_MEMBER} is no JSON ({error}).") from error
    if not isinstance(model, dict) or not isinstance(model.get("graph_module"), dict):
        raise ArtifactError(f"{archive.filename}: {MODEL_MEMBER} holds no graph.")
    return model


def _user_tensor(spec: dict[str, Any], kind: str) -> str | None:
    """Return the name of a tensor that the caller gives or gets; None for weights."""
    if kind not in spec:
        return None
    return str(spec[kind]["arg"]["as_tensor"]["name"])


def _spec(tensor: str, meta: dict[str, Any]) -> TensorSpec:
    sizes = [size.get("as_int") for size in meta["sizes"]]
    shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
    return TensorSpec(tensor, shape, _DTYPES.get(meta["dtype"], "unknown"), image_layout(shape))
