"""A TFLite model as a tree of objects, through the schema that ai-edge-litert brings."""

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_IDENTIFIER = b"TFL3"
_FIRST_SIZE_BYTES = 1 << 20


def unpack(content: bytes) -> Any:
    """Return the tree (``ModelT``) of a model; what lies behind the flatbuffer is left out."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def pack(model: Any) -> bytes:
    """Return the bytes of a tree."""
    for buffer in model.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            # The packer copies arrays whole, and anything else byte by byte.
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    builder = flatbuffers.Builder(_FIRST_SIZE_BYTES)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def set_metadata(model: Any, name: str, content: bytes) -> None:
    """Put ``content`` into the metadata buffer called ``name``, replacing one that is there."""
    entries = model.metadata or []
    found = next((entry for entry in entries if entry.name == name.encode()), None)
    if found is None:
        found = schema.MetadataT()
        found.name = name.encode()
        found.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*entries, found]
    model.buffers[found.buffer].data = np.frombuffer(content, np.uint8)
