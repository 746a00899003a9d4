"""Steps of int8 products, so that no processor's way of rounding halves matters."""

import export_cases
import numpy as np
import pytest

pytest.importorskip("ai_edge_quantizer", reason="pip install ai-edge-quantizer")

from ai_edge_litert.schema_py_generated import BuiltinOperator
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.export import _tflite_products
from edgecnn.formats import _tflite_tree


def test_no_product_of_a_file_lies_on_half_a_step() -> None:
    made = export_cases.exported("tflite", "w8a8")
    model = _tflite_tree.unpack(made.path.read_bytes())
    graph, seen = model.subgraphs[0], 0
    for operator in graph.operators:
        if _tflite_products.kind(model.operatorCodes[operator.opcodeIndex]) == BuiltinOperator.MUL:
            tensors = [graph.tensors[int(i)] for i in (*operator.inputs, *operator.outputs)]
            a, b, out = (float(tensor.quantization.scale[0]) for tensor in tensors)
            parts = out / (a * b)
            assert parts == pytest.approx(round(parts), rel=1e-5)
            assert round(parts) % 2 == 1
            seen += 1
    assert seen > 0


@given(st.floats(0.01, 1e5))
def test_a_range_grows_to_the_next_odd_number(value: float) -> None:
    odd = _tflite_products._odd_from(value)
    assert odd % 2 == 1
    assert value - 1e-6 <= odd <= value + 2


def test_products_of_a_power_of_two_are_the_case_that_matters() -> None:
    products = np.arange(-65025, 65026)
    halves = {parts: int((2 * products % (2 * parts) == parts).sum()) for parts in (127, 128, 129)}
    assert halves[128] > 0
    assert halves[127] == halves[129] == 0
