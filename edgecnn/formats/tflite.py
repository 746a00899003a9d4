"""TFLite: a flatbuffer ``Model``, read table by table without a schema package.

Slot numbers are those of TFLite's schema (version 3c).
"""

import struct
from pathlib import Path

from edgecnn.contract import CONTRACT_KEY, Contract, TensorSpec, image_layout
from edgecnn.errors import ArtifactError, UnavailableError
from edgecnn.files import replace_file
from edgecnn.formats import Header

name = "tflite"
suffix = ".tflite"

_IDENTIFIER = b"TFL3"
_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 2, 4, 6
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 1, 3, 4
_TENSOR_SHAPE_SIGNATURE = 7
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
    9: "int8", 10: "float64", 15: "uint32", 16: "uint16",
}  # fmt: skip


def matches(head: bytes, suffix: str) -> bool:
    """A TFLite file has the identifier ``TFL3`` at byte 4."""
    return head[4:8] == _IDENTIFIER or suffix == ".tflite"


def inspect(path: Path) -> Header:
    """Read inputs, outputs and the contract.

    Raises:
        ArtifactError: the file is no TFLite model or is truncated.
    """
    data = path.read_bytes()
    try:
        if data[4:8] != _IDENTIFIER:
            raise ValueError("the identifier TFL3 is missing")
        model = _Table.root(data)
        buffers = model.tables(_MODEL_BUFFERS)
        for buffer in buffers:
            buffer.check_vector(0)
        subgraph = model.tables(_MODEL_SUBGRAPHS)[0]
        tensors = subgraph.tables(_SUBGRAPH_TENSORS)
        inputs = _edge(tensors, subgraph.ints(_SUBGRAPH_INPUTS))
        outputs = _edge(tensors, subgraph.ints(_SUBGRAPH_OUTPUTS))
        contract = None
        for entry in model.tables(_MODEL_METADATA):
            if entry.text(0) == CONTRACT_KEY:
                contract = buffers[entry.scalar(1, "<I")].blob(0).decode()
    except (ValueError, IndexError, struct.error) as error:
        raise ArtifactError(
            f"{path}: not a complete TFLite file ({error}); it may be truncated or of another "
            "format."
        ) from error
    return Header(inputs=inputs, outputs=outputs, contract=contract)


def embed(path: Path, contract: Contract) -> None:
    """Put ``contract`` and the standard TFLite Metadata into a file, replacing what is there.

    The label file, which standard metadata keeps outside the flatbuffer, is zipped behind it.

    Raises:
        UnavailableError: ai-edge-litert, whose schema is used, is not installed.
        DiskError: the file cannot be written.
    """
    try:
        from edgecnn.formats import _tflite_metadata, _tflite_tree
    except ImportError as error:
        raise UnavailableError(
            f"writing into a TFLite file needs {error.name}. Install it with: pip install "
            '"ai-edge-litert>=2.0"'
        ) from error
    model = _tflite_tree.unpack(path.read_bytes())
    _tflite_tree.set_metadata(model, CONTRACT_KEY, contract.to_json().encode())
    _tflite_tree.set_metadata(model, _tflite_metadata.BUFFER_NAME, _tflite_metadata.build(contract))
    replace_file(path, _tflite_metadata.with_label_file(_tflite_tree.pack(model), contract))


def _edge(tensors: list["_Table"], indices: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    if any(index < 0 for index in indices):
        raise ValueError(f"a tensor has the number {min(indices)}")
    return tuple(_tensor(tensors[index]) for index in indices)


def _tensor(table: "_Table") -> TensorSpec:
    shape = tuple(table.ints(_TENSOR_SHAPE_SIGNATURE) or table.ints(_TENSOR_SHAPE))
    dtype = _DTYPES.get(table.scalar(_TENSOR_TYPE, "<b"), "unknown")
    scale, zero_point = None, None
    quantization = table.table(_TENSOR_QUANTIZATION)
    if quantization is not None and len(quantization.numbers(_QUANTIZATION_SCALE, "<f")) == 1:
        scale = float(quantization.numbers(_QUANTIZATION_SCALE, "<f")[0])
        zero_point = int((quantization.numbers(_QUANTIZATION_ZERO_POINT, "<q") or (0,))[0])
    return TensorSpec(
        table.text(_TENSOR_NAME), shape, dtype, image_layout(shape), scale, zero_point
    )


class _Table:
    """A flatbuffer table at ``position``; slots that are absent read as empty or zero."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - self._read("<i", position)
        self._slots = (self._read("<H", self._vtable) - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _read(self, code: str, position: int) -> int:
        if position < 0:
            raise ValueError(f"offset {position} lies before the file")
        return int(struct.unpack_from(code, self._data, position)[0])

    def _field(self, slot: int) -> int:
        """Return the position of a slot's value, or 0 where it is absent."""
        if slot >= self._slots:
            return 0
        offset = self._read("<H", self._vtable + 4 + 2 * slot)
        return self._position + offset if offset else 0

    def _target(self, position: int) -> int:
        return position + self._read("<I", position)

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Return where a vector's elements start, and their count."""
        position = self._field(slot)
        if not position:
            return 0, 0
        start = self._target(position)
        count = self._read("<I", start)
        if start + 4 + count * width > len(self._data):
            raise ValueError("a vector reaches behind the end of the file")
        return start + 4, count

    def scalar(self, slot: int, code: str) -> int:
        position = self._field(slot)
        return self._read(code, position) if position else 0

    def numbers(self, slot: int, code: str) -> tuple[float, ...]:
        start, count = self._vector(slot, struct.calcsize(code))
        return struct.unpack_from(f"<{count}{code[-1]}", self._data, start) if count else ()

    def ints(self, slot: int) -> tuple[int, ...]:
        return tuple(int(value) for value in self.numbers(slot, "<i"))

    def blob(self, slot: int) -> bytes:
        start, count = self._vector(slot, 1)
        return self._data[start : start + count]

    def check_vector(self, slot: int) -> None:
        self._vector(slot, 1)

    def text(self, slot: int) -> str:
        return self.blob(slot).decode()

    def table(self, slot: int) -> "_Table | None":
        position = self._field(slot)
        return _Table(self._data, self._target(position)) if position else None

    def tables(self, slot: int) -> list["_Table"]:
        start, count = self._vector(slot, 4)
        return [_Table(self._data, self._target(start + 4 * i)) for i in range(count)]
