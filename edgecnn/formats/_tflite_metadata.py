"""Standard TFLite Metadata, so that other people's tools read normalization and labels too.

The flatbuffer is built slot by slot after metadata_schema.fbs (schema 1.5.0, identifier ``M001``)
of TFLite Support: https://www.tensorflow.org/lite/models/convert/metadata. Associated files are
a stored zip archive behind the model.
"""

import io
import zipfile
from collections.abc import Sequence

import flatbuffers

from edgecnn.contract import Contract, InputContract

BUFFER_NAME = "TFLITE_METADATA"
LABEL_FILE = "labels.txt"

_IDENTIFIER = b"M001"
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1
_COLOR_SPACES = {"RGB": (1, "RGB"), "gray": (2, "grayscale")}
"""Numbers of the schema's ColorSpaceType, and words."""
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2
_MIN_PARSER_VERSION = "1.0.0"
_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)


def build(contract: Contract) -> bytes:
    """Return the metadata flatbuffer of a contract."""
    builder = flatbuffers.Builder(1024)
    inputs = _vector(builder, [_input_tensor(builder, contract)])
    outputs = _vector(builder, [_output_tensor(builder, contract)])
    subgraph = _table(builder, 10, {2: inputs, 3: outputs})
    model = _table(
        builder,
        8,
        {
            0: builder.CreateString(contract.name),
            1: builder.CreateString(f"{contract.name}, {contract.precision}, made by edgecnn"),
            3: _vector(builder, [subgraph]),
            7: builder.CreateString(_MIN_PARSER_VERSION),
        },
    )
    builder.Finish(model, _IDENTIFIER)
    return bytes(builder.Output())


def with_label_file(content: bytes, contract: Contract) -> bytes:
    """Return a model with the label file, one name per line, zipped behind it (if it has names).

    The archive's offsets count from the start of the whole, so that plain zip tools read it.
    """
    if not contract.output.labels:
        return content
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABEL_FILE, _EARLIEST_TIME)
        archive.writestr(info, "\n".join(contract.output.labels))
    return whole.getvalue()


def _input_tensor(builder: flatbuffers.Builder, contract: Contract) -> int:
    """A file of uint8 pixels normalizes by itself: readers are told mean 0 and deviation 1."""
    image = contract.input
    folded = image.dtype == "uint8"
    mean, std = ((0.0,), (1.0,)) if folded else (image.mean, image.std)
    options = _table(builder, 2, {0: _floats(builder, mean), 1: _floats(builder, std)})
    unit = _union_table(builder, _NORMALIZATION_OPTIONS, options)
    lowest, highest = ((0.0,), (255.0,)) if folded else _limits(image.mean, image.std)
    _, word = _COLOR_SPACES[image.color]
    return _tensor(
        builder,
        name=image.name,
        description=f"{word} picture, {image.imgsz} x {image.imgsz} pixels",
        content=_image_content(builder, image),
        more={
            4: _vector(builder, [unit]),
            5: _table(builder, 2, {0: _floats(builder, highest), 1: _floats(builder, lowest)}),
        },
    )


def _output_tensor(builder: flatbuffers.Builder, contract: Contract) -> int:
    more = {}
    if contract.output.labels:
        name = builder.CreateString(LABEL_FILE)
        file = _table(builder, 5, {0: name}, scalars={2: _TENSOR_AXIS_LABELS})
        more[6] = _vector(builder, [file])
    properties = _table(builder, 0, {})
    content = _union_table(builder, _FEATURE_PROPERTIES, properties)
    return _tensor(
        builder,
        name=contract.output.name,
        description="one logit per class",
        content=content,
        more=more,
    )


def _tensor(
    builder: flatbuffers.Builder, *, name: str, description: str, content: int, more: dict[int, int]
) -> int:
    texts = {0: builder.CreateString(name), 1: builder.CreateString(description)}
    return _table(builder, 7, {**texts, 3: content, **more})


def _image_content(builder: flatbuffers.Builder, image: InputContract) -> int:
    builder.StartObject(2)
    builder.PrependUint32Slot(0, image.imgsz, 0)
    builder.PrependUint32Slot(1, image.imgsz, 0)
    size = builder.EndObject()
    properties = _table(builder, 2, {1: size}, scalars={0: _COLOR_SPACES[image.color][0]})
    return _union_table(builder, _IMAGE_PROPERTIES, properties)


def _union_table(builder: flatbuffers.Builder, kind: int, value: int) -> int:
    """A table whose first field is a union: its kind in slot 0, its table in slot 1."""
    builder.StartObject(3)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, value, 0)
    return int(builder.EndObject())


def _table(
    builder: flatbuffers.Builder,
    slots: int,
    offsets: dict[int, int],
    scalars: dict[int, int] | None = None,
) -> int:
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (scalars or {}).items():
        builder.PrependInt8Slot(slot, value, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def _limits(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the lowest and highest normalized values of each channel."""
    pairs = list(zip(mean, std, strict=True))
    return [(0.0 - m) / s for m, s in pairs], [(255.0 - m) / s for m, s in pairs]
