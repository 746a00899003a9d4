"""Prices of terms on many boards at once, from latencies of whole networks.

A board has a dozen published networks and there are more terms than that. So boards share: the
logarithm of a price is the sum of what it is everywhere, of what is particular to a class of boards
(number format, one thread or several), of what is particular to the board, and of its speed. All
but the speed are drawn towards 0, where 0 everywhere stands for `EXPECTED`: a hierarchical model,
and its most probable values. Least drawn are the prices that are hardly a matter of the speed at
which a board computes: of calling an operator, and of weights that are read once. Residuals are of
logarithms, relative errors thus, and large ones count linearly, not by their square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from edgecnn.latency._published_terms import EXPECTED, Floats

EVERYWHERE, CLASS = 0.5, 0.3
"""Standard deviations of the parts of a price's logarithm."""
BOARD = np.array([1.0 if term in ("operator", "vector_weights") else 0.2 for term in EXPECTED])
"""The same, of what is particular to a board, by term."""
RESIDUAL = 0.1
_STEPS = 500


@dataclass(frozen=True)
class Problem:
    """Published latencies: `work` is (networks, terms), `ms` is (boards, networks), NaN for none.

    `classes` are the numbers of the boards' classes, shape (boards,).
    """

    work: Floats
    ms: Floats
    classes: NDArray[np.intp]


def prices(problem: Problem) -> Floats:
    """The most probable prices, shape (boards, terms): milliseconds for a unit of a term."""
    expected = np.log(np.array(list(EXPECTED.values())))
    boards, terms = len(problem.ms), len(expected)
    known = ~np.isnan(problem.ms)
    wanted = np.log(np.where(known, problem.ms, 1.0))
    member = np.eye(problem.classes.max() + 1)[problem.classes]
    shapes = ((terms,), (member.shape[1], terms), (boards,), (boards, terms))
    spreads: tuple[Floats | float, ...] = (EVERYWHERE, CLASS, np.inf, BOARD)

    def loss(flat: Floats) -> tuple[float, Floats]:
        parts = _split(flat, shapes)
        price = np.exp(_logarithms(parts, expected, member))
        ms = price @ problem.work.T
        error = np.where(known, np.log(ms) - wanted, 0.0) / RESIDUAL
        root = np.sqrt(1 + error**2)
        slope = (error / root / RESIDUAL / ms) @ problem.work * price
        slopes = (slope.sum(0), member.T @ slope, slope.sum(1), slope)
        drawn = [part / spread**2 for part, spread in zip(parts, spreads, strict=True)]
        value = float((root - 1).sum())
        value += 0.5 * sum(float((p * d).sum()) for p, d in zip(parts, drawn, strict=True))
        found = [s + d for s, d in zip(slopes, drawn, strict=True)]
        return value, np.concatenate([one.ravel() for one in found])

    plain = np.log(problem.work @ np.exp(expected))
    speed = np.where(known, wanted - plain, 0).sum(1) / known.sum(1)
    start = [np.zeros(shapes[0]), np.zeros(shapes[1]), speed, np.zeros(shapes[3])]
    flat = np.concatenate([one.ravel() for one in start])
    result = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    found: Floats = np.exp(_logarithms(_split(result.x, shapes), expected, member))
    return found


def matrix(latencies: Sequence[Mapping[str, float]], networks: Sequence[str]) -> Floats:
    """Rows of latencies by network, NaN where there is none."""
    return np.array([[one.get(name, np.nan) for name in networks] for one in latencies])


def _split(flat: Floats, shapes: Sequence[tuple[int, ...]]) -> list[Floats]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]


def _logarithms(parts: Sequence[Floats], expected: Floats, member: Floats) -> Floats:
    everywhere, classes, speed, board = parts
    found: Floats = expected + everywhere + member @ classes + speed[:, None] + board
    return found
