"""What the writers share: a network as a list of steps, with the spread of every result.

Weights are random, and their size is chosen so that numbers stay near 1 through the whole network:
a result that dies away, blows up or becomes subnormal would make operators faster or slower than
they are in a trained network. The spread is worked out, not measured: weights are independent of
what they multiply and have the mean zero, so the square of a convolution's result is the sum of the
squares of its inputs, on average (He et al. 2015, arXiv 1502.01852, section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecnn import layers
from edgecnn.errors import UsageError

T = TypeVar("T", np.float32, np.int8)
Dims = tuple[int, ...]
Array = NDArray[np.float64]

IMAGE = -1
"""The number of the network's input among the inputs of steps."""
BIAS_DEVIATION = 0.1

_REACH = 4.0
"""Half a range, in standard deviations: of a normal distribution, 1 value in 16,000 is outside."""
_DAMPING = 0.85
"""Weights are smaller than the spread asks for: functions like x * sigmoid(x) let large values grow
more than small ones, and a hundred layers of that grow out of any range. Biases keep numbers up."""
_SAME_OVER_A_MAP = 0.25
"""The part of a result's variance that is alike over a whole map, so that its mean keeps it."""
_CLAMPED = ("conv", "linear", "add", "mul")

FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "hsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    # Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2: an approximation.
    "gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}
CLAMPS = ("relu", "relu6")


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, mean square and range of a tensor's values."""

    mean: float
    square: float
    low: float
    high: float

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return sqrt(max(self.square - self.mean**2, 0.0))

    @classmethod
    def normal(cls, mean: float, square: float) -> Spread:
        """Values about the mean, alike to both sides."""
        reach = _REACH * sqrt(max(square - mean**2, 0.0))
        return cls(mean, square, mean - reach, mean + reach)


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: `conv`, `linear`, `add`, `mul`, `pool`, `flatten`, or a function's name.

    `shape` is that of its result, (C, H, W) or (C,). `clamp` is what it does to its own result:
    `none`, `relu` or `relu6`. `deviation` is the standard deviation of its weights.
    """

    op: str
    inputs: tuple[int, ...]
    shape: Dims
    spread: Spread
    layer: layers.Conv | layers.Linear | None = None
    clamp: str = "none"
    deviation: float = 0.0


@dataclass(frozen=True)
class Plan:
    """All steps of a network in order; `input_shape` is (C, H, W)."""

    name: str
    input_shape: Dims
    steps: tuple[Step, ...]

    def shape(self, index: int) -> Dims:
        """The shape of a step's result, or of the input."""
        return self.steps[index].shape if index >= 0 else self.input_shape

    def spread(self, index: int) -> Spread:
        """The spread of a step's result, or of the input: a normalized picture's."""
        return self.steps[index].spread if index >= 0 else _PICTURE


_PICTURE = Spread(0.0, 1.0, -2.5, 2.5)


def plan(name: str, body: Sequence[layers.Layer], input_shape: Dims) -> Plan:
    """Return the steps of layers as `layers.lower` gives them, on a square input (C, S, S).

    Normalization is part of the convolution before it, dropout is gone.

    Raises:
        UsageError: there is no operator in the layers, or one follows a fully connected layer.
    """
    planner = _Planner(input_shape)
    planner.body(body, IMAGE)
    made = Plan(name, input_shape, tuple(planner.steps))
    if not made.steps:
        raise UsageError(f"{name}: no layer in it computes anything; pass at least one that does.")
    if any(step.op == "linear" for step in made.steps[:-1]):
        raise UsageError(f"{name}: a fully connected layer can only be the last one.")
    return made


_WITHOUT_STEP = (layers.BatchNorm, layers.Dropout)


class _Planner:
    """Walks layers and appends steps; `held` are results that a shortcut reads later."""

    def __init__(self, input_shape: Dims) -> None:
        self.input_shape = input_shape
        self.steps: list[Step] = []
        self.held: set[int] = set()

    def body(self, body: Sequence[layers.Layer], source: int) -> int:
        for layer in body:
            if not isinstance(layer, _WITHOUT_STEP):
                source = self.layer(layer, source)
        return source

    def layer(self, layer: layers.Layer, source: int) -> int:
        match layer:
            case layers.Group():
                return self.body(layer.body, source)
            case layers.Residual():
                return self.joined("add", layer.body, source)
            case layers.Scale():
                return self.joined("mul", layer.body, source)
            case layers.Conv() | layers.Linear():
                return self.weighted(layer, source)
            case layers.Activation():
                return self.activation(layer.function, source)
            case layers.GlobalPool():
                return self.pool(source)
            case layers.Flatten():
                shape = (prod(self.shape(source)),)
                return self.append(Step("flatten", (source,), shape, self.spread(source)))
        raise UsageError(
            f"a {type(layer).__name__} layer cannot be written; only layers of mobile networks can."
        )

    def shape(self, index: int) -> Dims:
        return self.steps[index].shape if index >= 0 else self.input_shape

    def spread(self, index: int) -> Spread:
        return self.steps[index].spread if index >= 0 else _PICTURE

    def append(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def joined(self, op: str, body: Sequence[layers.Layer], source: int) -> int:
        """An addition of body and shortcut, or a product of features and gate, in that order."""
        self.held.add(source)
        other = self.body(body, source)
        x, y = self.spread(source), self.spread(other)
        if op == "add":
            mean = x.mean + y.mean
            square = x.square + y.square + 2 * x.mean * y.mean
            spread = Spread(mean, square, x.low + y.low, x.high + y.high)
            # Both ends at once are rare: a sum of many would have a far too wide range.
            reach = Spread.normal(mean, square)
            spread = replace(
                spread, low=max(spread.low, reach.low), high=min(spread.high, reach.high)
            )
            return self.append(Step("add", (other, source), self.shape(source), spread))
        ends = [a * b for a in (x.low, x.high) for b in (y.low, y.high)]
        spread = Spread(x.mean * y.mean, x.square * y.square, min(ends), max(ends))
        return self.append(Step("mul", (source, other), self.shape(source), spread))

    def weighted(self, layer: layers.Conv | layers.Linear, source: int) -> int:
        square, shape = self.spread(source).square, weight_shape(layer)
        out: Dims = shape[:1]
        if isinstance(layer, layers.Conv):
            size = _size(layer, self.shape(source)[1])
            out = (layer.out_channels, size, size)
        op = "conv" if isinstance(layer, layers.Conv) else "linear"
        terms = prod(shape[1:])
        spread = Spread.normal(0.0, 1.0 + BIAS_DEVIATION**2)
        deviation = _DAMPING / sqrt(terms * square)
        return self.append(Step(op, (source,), out, spread, layer, deviation=deviation))

    def activation(self, function: str, source: int) -> int:
        if function == "none":
            return source
        shape = self.shape(source)
        if function == "swish":
            gate = self.append(Step("sigmoid", (source,), shape, self.applied("sigmoid", source)))
            return self.append(Step("mul", (source, gate), shape, self.applied("swish", source)))
        spread = self.applied(function, source)
        if function in CLAMPS and self.takes_clamp(source):
            self.steps[source] = replace(self.steps[source], spread=spread, clamp=function)
            return source
        return self.append(Step(function, (source,), shape, spread))

    def takes_clamp(self, source: int) -> bool:
        """Whether a result can be clamped where it is made, since nothing else reads it."""
        if source < 0 or source != len(self.steps) - 1 or source in self.held:
            return False
        return self.steps[source].op in _CLAMPED and self.steps[source].clamp == "none"

    def applied(self, function: str, source: int) -> Spread:
        spread = self.spread(source)
        return _applied(function, spread.mean, spread.deviation)

    def pool(self, source: int) -> int:
        spread = self.spread(source)
        square = spread.mean**2 + _SAME_OVER_A_MAP * spread.deviation**2
        about = Spread.normal(spread.mean, square)
        within = replace(about, low=max(about.low, spread.low), high=min(about.high, spread.high))
        return self.append(Step("pool", (source,), (self.shape(source)[0], 1, 1), within))


def weight_shape(layer: layers.Conv | layers.Linear) -> Dims:
    """Output channels first, then those that one of them reads, then height and width."""
    if isinstance(layer, layers.Linear):
        return (layer.out_features, layer.in_features)
    return (layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel)


def _size(layer: layers.Conv, size: int) -> int:
    window = layer.dilation * (layer.kernel - 1) + 1
    return (size + sum(layer.padding) - window) // layer.stride + 1


@lru_cache(maxsize=1 << 12)
def _applied(function: str, mean: float, deviation: float) -> Spread:
    """The spread of a function of normally distributed values."""
    places = np.linspace(-_REACH, _REACH, 129)
    share = np.exp(-(places**2) / 2)
    share /= share.sum()
    values = FUNCTIONS[function](mean + deviation * places)
    return Spread(
        float(values @ share), float(values**2 @ share), float(values.min()), float(values.max())
    )


class Noise:
    """Random weights by a seed, as fast as memory can be copied.

    Cut out of one table of normally distributed numbers, at a random place. Its length is prime, so
    that no two filters of a layer are equal.
    """

    LENGTH = 65_521
    _LARGEST = 3.0

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        table = self._random.standard_normal(self.LENGTH).clip(-self._LARGEST, self._LARGEST)
        self._normal = np.tile(table.astype(np.float32), 2)
        self._integers: dict[int, NDArray[np.int8]] = {}

    def normal(self, shape: Dims, deviation: float) -> NDArray[np.float32]:
        """Return float32 weights of a standard deviation."""
        drawn = self._drawn(self._normal, shape)
        drawn *= np.float32(deviation)
        return drawn

    def integers(self, shape: Dims, limit: int) -> NDArray[np.int8]:
        """Return int8 weights from -limit to limit."""
        if limit not in self._integers:
            table = np.rint(self._normal * (limit / self._LARGEST))
            self._integers[limit] = table.astype(np.int8)
        return self._drawn(self._integers[limit], shape)

    def step(self, channels: int, limit: int, deviation: float) -> NDArray[np.float32]:
        """Return what one unit of integer weights stands for, for each output channel."""
        varied = 1 + 0.1 * self._drawn(self._normal, (channels,))
        return np.asarray(varied * (deviation * self._LARGEST / limit), np.float32)

    def _drawn(self, table: NDArray[T], shape: Dims) -> NDArray[T]:
        start = int(self._random.integers(self.LENGTH))
        # The table stands twice in memory: a cut out of it never has to be put together.
        return np.resize(table[start : start + self.LENGTH], shape)
