"""Ranges with which an int8 product is the same on every processor.

XNNPACK rounds the product of two int8 tensors through float32 on x86, where half a step goes to the
even neighbour, and in fixed point on ARM, where it goes up (kernels ``qs8-vmul-minmax-fp32`` and
``-rndnu``). With a step of the result that is an odd number of the product's units there are no
halves: each value is at least half a unit away from them, far more than either way rounds off.
Such pairs are common where an activation is small: x * sigmoid(x) is then about x / 2, and the
ratio of the steps a power of two.
"""

import math
from collections.abc import Mapping

from ai_edge_litert.schema_py_generated import BuiltinOperator

from edgecnn.export._ranges import Range
from edgecnn.formats import _tflite_tree

_STEPS = 255
_SIGMOID_STEP = 1.0 / 256.0
"""Fixed in the TFLite quantization specification, LOGISTIC."""


def without_halves(content: bytes, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return the ranges with those of products widened, by 2 percent at most, mostly by less.

    A tensor that is zero on all images gets a range of 1: XNNPACK refuses the tiny step that it
    would have otherwise, and another image may bring it to life.
    """
    model = _tflite_tree.unpack(content)
    graph, result = model.subgraphs[0], {name: _alive(found) for name, found in ranges.items()}
    steps = {name: _step(found) for name, found in result.items()}
    for operator in graph.operators:
        inputs = [graph.tensors[int(index)].name.decode() for index in operator.inputs]
        output = graph.tensors[int(operator.outputs[0])].name.decode()
        found = kind(model.operatorCodes[operator.opcodeIndex])
        if found == BuiltinOperator.LOGISTIC:
            steps[output] = _SIGMOID_STEP
        elif found == BuiltinOperator.MUL and all(name in steps for name in (*inputs, output)):
            unit = steps[inputs[0]] * steps[inputs[1]]
            grown = _odd_from(steps[output] / unit) * unit / steps[output]
            result[output] = (result[output][0] * grown, result[output][1] * grown)
            steps[output] = _step(result[output])
    return result


def _odd_from(value: float) -> int:
    """Return the smallest odd number that is not below ``value``."""
    whole = math.ceil(value - 1e-9)
    return whole if whole % 2 else whole + 1


def _alive(found: Range) -> Range:
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    return (low, high) if low < high else (0.0, 1.0)


def _step(found: Range) -> float:
    return (found[1] - found[0]) / _STEPS


def kind(code: object) -> int:
    """Return the operator, which newer files write into another field than older ones."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))  # type: ignore[attr-defined]
