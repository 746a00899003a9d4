"""ncnn: its two files and the contract in one stored zip archive, ``.ncnn``.

``model.param`` is ncnn's text graph and ``model.bin`` its weights, byte for byte as pnnx writes
them; take them out of the archive for other tools. The text graph's grammar is in ncnn's wiki,
"param and model file structure".
"""

from pathlib import Path

from edgecnn.contract import Contract, TensorSpec, image_layout
from edgecnn.errors import ArtifactError
from edgecnn.formats import Header
from edgecnn.formats import _zipped as zipped

name = "ncnn"
suffix = ".ncnn"

PARAM_MEMBER, WEIGHTS_MEMBER, CONTRACT_MEMBER = "model.param", "model.bin", "edgecnn.json"
MAX_WEIGHTS_BYTES = 4 << 30
_MAGIC = "7767517"
_WIDTH, _HEIGHT, _CHANNELS = "0", "1", "2"


def matches(head: bytes, suffix: str) -> bool:
    """Tell by the ending: the content is a zip archive, as that of other formats is."""
    return suffix == ".ncnn"


def inspect(path: Path) -> Header:
    """Read the header. Raises ArtifactError where the file is truncated or damaged.

    ncnn knows no batch: shapes are given with a batch of 1. The graph does not state the size of
    an output; it is known where a contract is there and -1 otherwise.
    """
    with zipped.opening(path) as archive:
        param = zipped.member_bytes(archive, PARAM_MEMBER).decode()
        contract = zipped.contract_text(archive, CONTRACT_MEMBER)
        if WEIGHTS_MEMBER not in archive.namelist():
            raise ArtifactError(f"{path}: the archive lacks {WEIGHTS_MEMBER}.")
    try:
        inputs, outputs = _edges(param)
    except (ValueError, IndexError) as error:
        raise ArtifactError(f"{path}: {PARAM_MEMBER} is no ncnn graph ({error}).") from error
    classes = -1 if contract is None else Contract.from_json(contract, path).output.classes
    return Header(
        inputs=inputs,
        outputs=tuple(TensorSpec(output, (1, classes), "float32") for output in outputs),
        contract=contract,
    )


def embed(path: Path, contract: Contract) -> None:
    """Put ``contract`` into the archive, replacing one that is there."""
    zipped.write_contract(path, CONTRACT_MEMBER, contract)


def read(path: Path) -> tuple[str, bytes]:
    """Return the text graph and the weights.

    Raises:
        ArtifactError: the archive is damaged, or a member is absent or implausibly large.
    """
    with zipped.opening(path) as archive:
        param = zipped.member_bytes(archive, PARAM_MEMBER).decode()
        return param, zipped.member_bytes(archive, WEIGHTS_MEMBER, MAX_WEIGHTS_BYTES)


def write(path: Path, param: str, weights: bytes) -> None:
    """Write a new file that has no contract yet."""
    zipped.write_archive(path, {PARAM_MEMBER: param.encode(), WEIGHTS_MEMBER: weights})


def _edges(param: str) -> tuple[tuple[TensorSpec, ...], list[str]]:
    """Return the inputs, and the names of the blobs that no layer consumes."""
    lines = [line.split() for line in param.splitlines() if line.strip()]
    if lines[0] != [_MAGIC]:
        raise ValueError(f"it starts with {lines[0][0][:20]!r} instead of {_MAGIC}")
    layer_count, layers = int(lines[1][0]), lines[2:]
    if layer_count != len(layers):
        raise ValueError(f"{len(layers)} layers of {layer_count}")
    inputs, produced, consumed = [], [], set()
    for kind, _, bottoms, tops, *rest in layers:
        bottom_count, top_count = int(bottoms), int(tops)
        blobs, options = rest[: bottom_count + top_count], rest[bottom_count + top_count :]
        if min(bottom_count, top_count) < 0 or len(blobs) < bottom_count + top_count:
            raise ValueError(f"a {kind} layer names too few blobs")
        consumed.update(blobs[:bottom_count])
        produced.extend(blobs[bottom_count:])
        if kind == "Input":
            inputs.append(_input(blobs[0], dict(option.split("=", 1) for option in options)))
    return tuple(inputs), [blob for blob in produced if blob not in consumed]


def _input(blob: str, sizes: dict[str, str]) -> TensorSpec:
    shape = (1, *(int(sizes.get(axis, -1)) for axis in (_CHANNELS, _HEIGHT, _WIDTH)))
    return TensorSpec(blob, shape, "float32", image_layout(shape))
