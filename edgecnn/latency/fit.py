"""Fitting a model of operators to the latencies of whole networks.

A node alone does not take the time that it takes in a network. So whole networks are looked at: the
sum over a network's operators is
fitted to the logarithm of its latency, the linear part by non-negative least squares, the trees by
gradient boosting (LightGBM) with the gradient of that sum. Where a runtime tells the time of its
nodes, they say a little too: of operators that always come together, which one takes the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgecnn.encoding import Signature
from edgecnn.errors import UnavailableError
from edgecnn.latency import figures
from edgecnn.latency.forest import Forest, Growing
from edgecnn.latency.model import TERMS, Floats, Member, Model, terms

MEMBERS = 5
ROUNDS = 500
_PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.1,
    "num_leaves": 31,
    "max_depth": 8,
    "min_data_in_leaf": 15,
    "min_sum_hessian_in_leaf": 1.0,
    "lambda_l2": 0.05,
    "feature_fraction": 0.6,
    "verbose": -1,
    "monotone_constraints": [int(name in figures.OF_PLACE) for name in figures.TREES],
    "deterministic": True,
    "force_row_wise": True,
}
_RIDGE = 1e-3
_REWEIGHTED = 3
_LEAST_MS = 1e-5
_OUTLIER = 0.05
"""Errors beyond this (of the logarithm) pull no harder: a disturbed measurement is no law."""
_RUN_UNIT_MS = 1e-2
_NODES_WEIGHT = 0.1
"""Of the nodes of a network beside its sum: 0.05 to 0.3 were tried on one table (onnxruntime w8a8),
whose median error on the zoo was 3.8, 3.4 and 4.1 %, and 4.0 % without."""
_NODES_OUTLIER = 0.15
_NODES_WEIGHT_IN_SUMS = 0.3
"""Of what the nodes of a kind take beside the sum of a network, in the linear part. Without,
operators that always come together share their time by chance: onnxruntime's w8a8 had the input's
quantization take 5 % of a network, and not 1 %, in the place of hard swishes. Its median error on
the zoo was 4.9 % without and 3.9 % with 0.3, and 4.5 % with 2."""

Network = Sequence[int]
"""The operators of a network, as indices into a list of signatures."""


@dataclass(frozen=True)
class Fitted:
    """A model, and what its members predict for the networks that each did not see, in ms."""

    model: Model
    held_out_ms: Floats


@dataclass(frozen=True)
class _Data:
    """All networks: `operators` one after another, `network` tells whose each is.

    `nodes_ms` is what the runtime's profiler says of each operator; NaN where it says nothing.
    """

    linear: Floats
    trees: Floats
    kinds: NDArray[np.intp]
    operators: NDArray[np.intp]
    network: NDArray[np.intp]
    log_ms: Floats
    nodes_ms: Floats

    def part(self, networks: NDArray[np.intp]) -> _Data:
        """Some of the networks, numbered anew."""
        number = np.full(len(self.log_ms), -1)
        number[networks] = np.arange(len(networks))
        belongs = number[self.network]
        keep = belongs >= 0
        return _Data(
            self.linear, self.trees, self.kinds,
            self.operators[keep], belongs[keep], self.log_ms[networks], self.nodes_ms[keep],
        )  # fmt: skip

    def sums(self, operators_ms: Floats, run_ms: float) -> Floats:
        """Milliseconds of each network, from those of each operator in the list of all."""
        times = operators_ms[self.operators]
        found = np.bincount(self.network, times, minlength=len(self.log_ms)) + run_ms
        return np.asarray(found, np.float64)


def fit(
    networks: Sequence[Network],
    latencies_ms: Sequence[float],
    signatures: Sequence[Signature],
    precision: str,
    *,
    nodes_ms: Sequence[Floats | None] | None = None,
    prior: Model | None = None,
    threads: int = 1,
    seed: int = 0,
) -> Fitted:
    """Fit a model; equal arguments give equal models.

    `nodes_ms` are the times of each network's operators, where they are known; they sum to its
    latency (`edgecnn.latency.nodes`). `prior` is a model to start from.

    Raises:
        UnavailableError: LightGBM or SciPy is not installed.
    """
    used = sorted({number for network in networks for number in network})
    seen = [signatures[number] for number in used]
    kinds = tuple(sorted({figures.kind(one) for one in seen}))
    activations = tuple(sorted({one.activation for one in seen}))
    nodes = nodes_ms or [None] * len(networks)
    linear = terms(seen, precision, prior)
    trees = figures.trees(seen, precision, kinds, activations)
    data = _data(networks, latencies_ms, nodes, used, seen, kinds, linear, trees)
    held_out = np.empty(len(networks))
    members = []
    order = np.random.default_rng(seed).permutation(len(networks))
    for number, out in enumerate(np.array_split(order, MEMBERS)):
        seen_by = data.part(np.setdiff1d(order, out))
        member = _fit_member(seen_by, len(kinds), seed + number, threads)
        held_out[out] = data.sums(_operators_ms(member, data), member.run_ms)[out]
        members.append(member)
    spans = _spans(seen, precision, kinds)
    return Fitted(Model(precision, kinds, activations, spans, tuple(members), prior), held_out)


def rough_ms(
    networks: Sequence[Network],
    latencies_ms: Sequence[float],
    signatures: Sequence[Signature],
    precision: str,
    prior: Model | None = None,
    seed: int = 0,
) -> Floats:
    """Latencies, in ms, by the linear part alone, fitted to the other networks: in a second.

    Raises:
        UnavailableError: SciPy is not installed.
    """
    used = sorted({number for network in networks for number in network})
    seen = [signatures[number] for number in used]
    kinds = tuple(sorted({figures.kind(one) for one in seen}))
    linear, no_trees = terms(seen, precision, prior), np.empty((len(seen), 0))
    no_nodes = [None] * len(networks)
    data = _data(networks, latencies_ms, no_nodes, used, seen, kinds, linear, no_trees)
    found = np.empty(len(networks))
    order = np.random.default_rng(seed).permutation(len(networks))
    for out in np.array_split(order, MEMBERS):
        coefficients, run_ms = _fit_linear(data.part(np.setdiff1d(order, out)), len(kinds))
        operators_ms = (data.linear * coefficients[data.kinds]).sum(axis=1)
        found[out] = data.sums(operators_ms, run_ms)[out]
    return found


def _data(
    networks: Sequence[Network],
    latencies_ms: Sequence[float],
    nodes_ms: Sequence[Floats | None],
    used: Sequence[int],
    seen: Sequence[Signature],
    kinds: Sequence[str],
    linear: Floats,
    trees: Floats,
) -> _Data:
    position = {number: at for at, number in enumerate(used)}
    return _Data(
        linear,
        trees,
        np.array([kinds.index(figures.kind(one)) for one in seen], np.intp),
        np.array([position[number] for network in networks for number in network], np.intp),
        np.repeat(np.arange(len(networks)), [len(network) for network in networks]),
        np.log(np.asarray(latencies_ms, np.float64)),
        np.concatenate([
            np.full(len(network), np.nan) if nodes is None else nodes
            for network, nodes in zip(networks, nodes_ms, strict=True)
        ]),
    )  # fmt: skip


def _operators_ms(member: Member, data: _Data) -> Floats:
    corrections = np.exp(member.corrections.predict(data.trees))
    found: Floats = member.linear_ms(data.linear, data.kinds) * corrections
    return found


def _fit_member(data: _Data, kinds: int, seed: int, threads: int) -> Member:
    coefficients, run_ms = _fit_linear(data, kinds)
    base = (data.linear * coefficients[data.kinds]).sum(axis=1)
    forest = _fit_trees(data, base, run_ms, seed, threads)
    return Member(coefficients, run_ms, forest)


def _fit_linear(data: _Data, kinds: int) -> tuple[Floats, float]:
    """Coefficients by kind that are not negative, and the time of a run, by relative errors."""
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise _missing(error) from error
    width = len(TERMS)
    system = np.zeros((len(data.log_ms), kinds * width + 1))
    columns = data.kinds[data.operators, None] * width + np.arange(width)
    np.add.at(system, (data.network[:, None], columns), data.linear[data.operators])
    system[:, -1] = _RUN_UNIT_MS
    relative = system * np.exp(-data.log_ms)[:, None]
    told, told_share = _told_by_nodes(data, kinds, columns, system.shape[1])
    ridge = _RIDGE * np.eye(system.shape[1])
    weight = np.ones(len(system))
    for _ in range(_REWEIGHTED):
        rows = np.vstack([relative * weight[:, None], told, ridge])
        found, _ = nnls(rows, np.concatenate([weight, told_share, np.zeros(len(ridge))]))
        off = np.abs(relative @ found - 1)
        # From least squares towards least deviations: few disturbed networks then pull little.
        weight = np.sqrt(np.minimum(1.0, np.median(off) / np.maximum(off, 1e-12)))
    coefficients = found[:-1].reshape(kinds, width)
    # The correction is a factor: every operator needs something to be a factor of.
    coefficients[:, 0] = np.maximum(coefficients[:, 0], _LEAST_MS / figures.UNITS[0])
    return coefficients, float(found[-1] * _RUN_UNIT_MS)


def _told_by_nodes(
    data: _Data, kinds: int, columns: NDArray[np.intp], width: int
) -> tuple[Floats, Floats]:
    """What nodes say of the coefficients: rows, shape (at most width + 1, width), and their values.

    For each network and kind, that its operators of this kind take the share of the network's
    latency that their nodes took. So many rows are brought down to a few that weigh the same.
    """
    told = np.isfinite(data.nodes_ms)
    kind_in_network = data.network[told] * kinds + data.kinds[data.operators[told]]
    groups, group = np.unique(kind_in_network, return_inverse=True)
    rows = np.zeros((len(groups), width + 1))
    np.add.at(rows, (group[:, None], columns[told]), data.linear[data.operators[told]])
    rows[:, -1] = np.bincount(group, data.nodes_ms[told], len(groups))
    rows *= np.sqrt(_NODES_WEIGHT_IN_SUMS) * np.exp(-data.log_ms)[groups // kinds, None]
    reduced = cast(Floats, np.linalg.qr(rows, mode="r"))
    return reduced[:, :-1], reduced[:, -1]


def _fit_trees(data: _Data, base: Floats, run_ms: float, seed: int, threads: int) -> Forest:
    """Trees for the logarithm of the correction of each operator.

    The loss is the squared error of the logarithm of a network's sum; an operator takes part in it
    by its share of the sum. With the share as the second derivative too, a step never overshoots,
    even where all operators of a network move together. Where the times of nodes are known, the
    squared error of each joins in, by its share too.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise _missing(error) from error

    of_operators, network = base[data.operators], data.network
    told = np.isfinite(data.nodes_ms)
    nodes_ms = np.where(told, np.maximum(data.nodes_ms, _LEAST_MS), _LEAST_MS)
    nodes_log = np.log(nodes_ms)
    nodes_weight = np.where(told, _NODES_WEIGHT * nodes_ms / np.exp(data.log_ms)[network], 0.0)

    def objective(scores: Floats, _: Any) -> tuple[Floats, Floats]:
        times = of_operators * np.exp(scores)
        sums = run_ms + np.bincount(network, times)
        error = np.log(sums) - data.log_ms
        share = times / sums[network]
        pull, weight = _robust(error, _OUTLIER)
        node_pull, node_weight = _robust(np.log(times) - nodes_log, _NODES_OUTLIER)
        return (
            pull[network] * share + node_pull * nodes_weight,
            weight[network] * share + node_weight * nodes_weight + 1e-9,
        )

    rows = lightgbm.Dataset(data.trees[data.operators], params={"verbose": -1})
    settings = {**_PARAMETERS, "objective": objective, "seed": seed, "num_threads": threads}
    booster = lightgbm.train(settings, rows, ROUNDS)
    growing = Growing([], [])
    for tree in booster.dump_model()["tree_info"]:
        growing.add(tree["tree_structure"])
    return growing.done()


def _robust(error: Floats, limit: float) -> tuple[Floats, Floats]:
    """Errors that pull no harder than `limit`, and the weight that this leaves each of them."""
    weight = np.minimum(1.0, limit / np.maximum(np.abs(error), 1e-12))
    return error * weight, weight


def _spans(seen: Sequence[Signature], precision: str, kinds: Sequence[str]) -> Floats:
    values = figures.spanned(seen, precision)
    of = np.array([kinds.index(figures.kind(one)) for one in seen])
    parts = [values[of == at] for at in range(len(kinds))]
    return np.array([(part.min(axis=0), part.max(axis=0)) for part in parts])


def _missing(error: ImportError) -> UnavailableError:
    return UnavailableError(
        f'calibrating needs {error.name}. Install it with: pip install "edgecnn[calibrate]"'
    )
