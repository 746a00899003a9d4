"""What a runtime's own profiler says of a network's operators, made comparable to its latency.

Profiling adds to each node, and a profiled run is not the run that was timed. So what profiling
adds is found from all networks together and taken off, and what is left of each node counts as a
share of the network's latency.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Signature
from edgecnn.latency.sample import NodeTime

Floats = NDArray[np.float64]
_LEAST_LEFT = 0.2
"""Of a node's profiled time, where less would be left of it."""


def are_of(nodes: Sequence[NodeTime], operators: Sequence[Signature]) -> bool:
    """Whether the nodes are the operators, one by one; profilers leave out a node's domain."""
    return [node.op for node in nodes] == [one.node.rpartition(".")[2] for one in operators]


def as_parts(
    profiled_ms: Sequence[Sequence[float] | None], latencies_ms: Sequence[float]
) -> list[Floats | None]:
    """Milliseconds of each node that sum to the network's latency; None where nothing was told."""
    pairs = list(zip(profiled_ms, latencies_ms, strict=True))
    added = [(sum(nodes) - latency) / len(nodes) for nodes, latency in pairs if nodes]
    added_ms = max(0.0, float(np.median(added))) if added else 0.0
    return [_parts(np.array(nodes), added_ms, ms) if nodes else None for nodes, ms in pairs]


def _parts(nodes_ms: Floats, added_ms: float, latency_ms: float) -> Floats:
    left = np.maximum(nodes_ms - added_ms, _LEAST_LEFT * nodes_ms)
    found: Floats = left * (latency_ms / left.sum())
    return found
