"""The profiler's times of nodes become shares of the latency that was timed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import families
from edgecnn.encoding import Encoder
from edgecnn.fusion import Target
from edgecnn.latency.nodes import are_of, as_parts
from edgecnn.latency.sample import NodeTime


def test_what_profiling_adds_is_found_and_taken_off() -> None:
    true = [np.array([0.5, 0.1, 0.4]), np.array([0.2, 0.3]), np.array([1.0, 2.0, 3.0, 4.0])]
    found = as_parts([(one + 0.05).tolist() for one in true], [float(one.sum()) for one in true])
    for part, one in zip(found, true, strict=True):
        assert part == pytest.approx(one)


@given(
    st.lists(
        st.tuples(st.lists(st.floats(0.001, 10), max_size=6), st.floats(0.01, 100)),
        min_size=1,
        max_size=8,
    )
)
def test_parts_sum_to_the_latency(networks: list[tuple[list[float], float]]) -> None:
    found = as_parts([nodes for nodes, _ in networks], [ms for _, ms in networks])
    for part, (nodes, ms) in zip(found, networks, strict=True):
        assert (part is None) == (not nodes)
        if part is not None:
            assert part.sum() == pytest.approx(ms) and (part > 0).all()


def test_nodes_that_are_others_are_not_taken_for_ours() -> None:
    encoder = Encoder("ort", Target("fp32", "x86_64", frozenset({"avx512f"})))
    rows = encoder.rows(families.get("mobilenet_v2"))
    operators = [encoder.signatures[one] for row in rows for one in encoder.operators[row]]
    nodes = [NodeTime(one.node.removeprefix("nchwc."), 1.0) for one in operators]
    assert are_of(nodes, operators)
    assert not are_of(nodes[:-1], operators)
    assert not are_of([NodeTime("Resize", 1.0), *nodes[1:]], operators)
    assert not are_of([], operators)
