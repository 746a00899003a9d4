"""ONNX: a protobuf ``ModelProto``, read field by field without the onnx package.

Only what an artifact needs is parsed: inputs and outputs of the graph and the model's metadata.
Field numbers are those of onnx.proto (IR version 10).
"""

from collections.abc import Iterator
from pathlib import Path

from edgecnn.contract import CONTRACT_KEY, Contract, TensorSpec, image_layout
from edgecnn.errors import ArtifactError
from edgecnn.files import replace_file
from edgecnn.formats import Header

name = "onnx"
suffix = ".onnx"

_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 7, 8, 14
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DIMENSION = 2**31 - 1

Field = tuple[int, int, int, int]
"""Field number, wire type, and the span of its payload (for a varint: value, 0)."""


def matches(head: bytes, suffix: str) -> bool:
    """ONNX has no magic number: the ending decides, or a first field that is ``ir_version``."""
    return suffix == ".onnx"


def inspect(path: Path) -> Header:
    """Read inputs, outputs and the contract.

    Raises:
        ArtifactError: the file is no ONNX model or is truncated.
    """
    data = path.read_bytes()
    try:
        model = list(_fields(data, 0, len(data)))
        graph = list(_fields(data, *_graph_span(model)))
        metadata = dict(_metadata(data, model))
        weights = {_initializer_name(data, f) for f in graph if f[0] == _GRAPH_INITIALIZER}
        inputs = tuple(_tensor(data, f) for f in graph if f[0] == _GRAPH_INPUT)
        outputs = tuple(_tensor(data, f) for f in graph if f[0] == _GRAPH_OUTPUT)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: not a complete ONNX file ({error}); it may be truncated or of another format."
        ) from error
    return Header(
        inputs=tuple(spec for spec in inputs if spec.name not in weights),
        outputs=outputs,
        contract=metadata.get(CONTRACT_KEY),
    )


def embed(path: Path, contract: Contract) -> None:
    """Put ``contract`` into the model's metadata, replacing one that is there."""
    data = path.read_bytes()
    kept = bytearray()
    start = 0
    for end, field in _fields_with_ends(data, 0, len(data)):
        is_ours = field[0] == _MODEL_METADATA and _entry(data, field)[0] == CONTRACT_KEY
        if not is_ours:
            kept += data[start:end]
        start = end
    entry = _text_field(1, CONTRACT_KEY) + _text_field(2, contract.to_json())
    kept += _key(_MODEL_METADATA, _BYTES) + _varint(len(entry)) + entry
    replace_file(path, bytes(kept))


def _fields_with_ends(data: bytes, start: int, end: int) -> Iterator[tuple[int, Field]]:
    """Yield each field of the message in ``data[start:end]`` with the offset behind it."""
    while start < end:
        key, start = _read_varint(data, start, end)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, start = _read_varint(data, start, end)
            yield start, (number, wire, value, 0)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            length, start = _read_varint(data, start, end)
        if length is None or number == 0:
            raise ValueError(f"wire type {wire} at byte {start}")
        if start + length > end:
            raise ValueError(f"field {number} needs {start + length - end} bytes more")
        yield start + length, (number, wire, start, start + length)
        start += length


def _fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    return (field for _, field in _fields_with_ends(data, start, end))


def _read_varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if start >= end:
            raise ValueError("it ends inside a number")
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
    raise ValueError(f"number too long at byte {start}")


def _graph_span(model: list[Field]) -> tuple[int, int]:
    """Return where the only graph lies. A cut file may still end between two fields."""
    found = {number for number, _, _, _ in model}
    for number, what in ((_MODEL_IR_VERSION, "ir_version"), (_MODEL_OPSET, "opset_import")):
        if number not in found:
            raise ValueError(f"it has no {what}")
    graphs = [(a, b) for number, wire, a, b in model if (number, wire) == (_MODEL_GRAPH, _BYTES)]
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs")
    return graphs[0]


def _metadata(data: bytes, model: list[Field]) -> Iterator[tuple[str, str]]:
    return (_entry(data, field) for field in model if field[0] == _MODEL_METADATA)


def _entry(data: bytes, field: Field) -> tuple[str, str]:
    parts = {number: data[a:b].decode() for number, _, a, b in _fields(data, *field[2:])}
    return parts.get(1, ""), parts.get(2, "")


def _initializer_name(data: bytes, field: Field) -> str:
    for number, wire, a, b in _fields(data, *field[2:]):
        if number == 8 and wire == _BYTES:
            return data[a:b].decode()
    return ""


def _tensor(data: bytes, field: Field) -> TensorSpec:
    """Read a ValueInfoProto: name 1, type 2 {tensor_type 1 {elem_type 1, shape 2 {dim 1}}}."""
    parts = {number: (a, b) for number, _, a, b in _fields(data, *field[2:])}
    tensor_name = data[slice(*parts[1])].decode() if 1 in parts else ""
    type_ = {n: (a, b) for n, _, a, b in _fields(data, *parts.get(2, (0, 0)))}
    dtype, shape = "unknown", []
    for number, _, a, b in _fields(data, *type_.get(1, (0, 0))):
        if number == 1:
            dtype = _DTYPES.get(a, "unknown")
        if number == 2:
            shape = [_dimension(data, dim) for dim in _fields(data, a, b)]
    return TensorSpec(tensor_name, tuple(shape), dtype, image_layout(tuple(shape)))


def _dimension(data: bytes, field: Field) -> int:
    values = [
        a for number, wire, a, _ in _fields(data, *field[2:]) if (number, wire) == (1, _VARINT)
    ]
    if values and values[0] > _MAX_DIMENSION:
        raise ValueError(f"a tensor has the size {values[0]}")
    return values[0] if values else -1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _text_field(number: int, text: str) -> bytes:
    encoded = text.encode()
    return _key(number, _BYTES) + _varint(len(encoded)) + encoded
