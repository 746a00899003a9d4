"""Regression trees as plain numbers: read from JSON and evaluated with numpy, no code in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]
A = TypeVar("A", bound=NDArray[Any])
_BATCH_CELLS = 1 << 21
"""Rows times trees that are walked at a time: bounds the memory."""


@dataclass(frozen=True)
class Forest:
    """The sum of many binary trees, the nodes of all of them in one numbering.

    At node `i` a row goes to `left[i]` where its `feature[i]` is at most `threshold[i]`, else to
    `right[i]`; a leaf leads to itself. `roots` are where the trees begin, `depth` the longest way
    down.

    Raises ValueError where the numbers do not make such trees.
    """

    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats
    depth: int

    def __post_init__(self) -> None:
        size = len(self.feature)
        nodes = np.arange(size)
        is_leaf = (self.left == nodes) & (self.right == nodes)
        # Children come after their parent, so that every way down ends.
        falls = (self.left > nodes) & (self.right > nodes)
        inside = (self.left < size) & (self.right < size)
        lengths = {len(self.threshold), len(self.left), len(self.right), len(self.value)}
        if lengths != {size} or not np.all((is_leaf | falls) & inside):
            raise ValueError("the nodes of the trees are out of order")
        if self.roots.size and not 0 <= self.roots.min() <= self.roots.max() < size:
            raise ValueError("a tree begins at a node that is not there")
        if not 0 <= self.depth <= size or not np.all(np.isfinite(self.value)):
            raise ValueError("the trees hold values that are no numbers")

    def predict(self, rows: Floats) -> Floats:
        """The sums for rows of features, shape (n, features) to (n,).

        Raises ValueError where the rows have fewer features than the trees look at.
        """
        if self.feature.size and not 0 <= self.feature.min() <= self.feature.max() < rows.shape[1]:
            raise ValueError(f"the trees look at more than {rows.shape[1]} features")
        step = max(1, _BATCH_CELLS // max(1, len(self.roots)))
        parts = [self._batch(rows[start : start + step]) for start in range(0, len(rows), step)]
        return np.concatenate([np.empty(0), *parts])

    def _batch(self, rows: Floats) -> Floats:
        index = np.arange(len(rows))[:, None]
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(self.depth):
            goes_left = rows[index, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        total: Floats = self.value[node].sum(axis=1)
        return total

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "roots": self.roots.tolist(),
            "feature": self.feature.tolist(),
            "threshold": self.threshold.tolist(),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "value": self.value.tolist(),
            "depth": self.depth,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Forest:
        """Read what `to_dict` wrote. Raises ValueError, KeyError or TypeError."""
        return cls(
            roots=_integers(data["roots"]),
            feature=_integers(data["feature"]),
            threshold=_floats(data["threshold"]),
            left=_integers(data["left"]),
            right=_integers(data["right"]),
            value=_floats(data["value"]),
            depth=int(data["depth"]),
        )


def _integers(values: Any) -> Integers:
    return _flat(np.array(values, np.int32))


def _floats(values: Any) -> Floats:
    return _flat(np.array(values, np.float64))


def _flat(array: A) -> A:
    if array.ndim != 1:
        raise ValueError("the trees are no lists of numbers")
    return array


@dataclass
class Growing:
    """A forest in the making, tree by tree."""

    roots: list[int]
    nodes: list[tuple[int, float, int, int, float]]
    depth: int = 0

    def add(self, tree: dict[str, Any]) -> None:
        """Add a tree as `lightgbm.Booster.dump_model` gives its structure."""
        self.roots.append(len(self.nodes))
        self._node(tree, 0)

    def _node(self, node: dict[str, Any], depth: int) -> int:
        at = len(self.nodes)
        self.depth = max(self.depth, depth)
        if "split_feature" not in node:
            self.nodes.append((0, 0.0, at, at, float(node["leaf_value"])))
            return at
        self.nodes.append((0, 0.0, at, at, 0.0))
        left = self._node(node["left_child"], depth + 1)
        right = self._node(node["right_child"], depth + 1)
        split = int(node["split_feature"]), float(node["threshold"])
        self.nodes[at] = (*split, left, right, 0.0)
        return at

    def done(self) -> Forest:
        """The forest."""
        feature, threshold, left, right, value = zip(*self.nodes, strict=True)
        return Forest(
            np.array(self.roots, np.int32),
            np.array(feature, np.int32),
            np.array(threshold),
            np.array(left, np.int32),
            np.array(right, np.int32),
            np.array(value),
            self.depth,
        )
