"""Max pools whose padding is minus infinity.

The converter puts it around the map with an operator of its own (PADV2): TFLite's pools pad only by
the sizes of map and window, at other places than PyTorch. In int8 the smallest value stands for it,
so that the padded map has the range of the map inside.
"""

from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from edgecnn.export._tflite_products import kind
from edgecnn.formats import _tflite_tree

_MINUS_INFINITY = np.float32(-np.inf).tobytes()


def around_max_pools(content: bytes) -> dict[str, str]:
    """Return the names of the maps padded with minus infinity, each with that of the map inside."""
    model = _tflite_tree.unpack(content)
    graph, found = model.subgraphs[0], {}
    for operator in graph.operators:
        if kind(model.operatorCodes[operator.opcodeIndex]) != BuiltinOperator.PADV2:
            continue
        inner, _, value = (graph.tensors[int(index)] for index in operator.inputs)
        if _is_minus_infinity(model, value):
            padded = graph.tensors[int(operator.outputs[0])]
            found[padded.name.decode()] = inner.name.decode()
    return found


def _is_minus_infinity(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return tensor.type == TensorType.FLOAT32 and data is not None and bytes(data) == _MINUS_INFINITY
