"""The operators that a model executes, with their shapes and costs; no torch anywhere.

From a `ModelSpec` (a plain walk over `layers.lower`) or from an ONNX file. Both speak the same
vocabulary of operators, so their totals can be compared.

What is counted. Multiply-adds (`macs`): one per multiply-accumulate of convolutions and fully
connected layers, the literature's "FLOPs" for these networks; padding counts as if it were data.
Not counted: normalization, activations, additions, pooling, biases. Parameters: everything learnt,
thus weights, biases, and the two vectors of batch normalization, but not its running statistics.
Bytes assume float32 unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isclose, prod

from edgecnn import layers
from edgecnn.block import GELU_SCALE
from edgecnn.spec import Block, Conventions, ModelSpec

Dims = tuple[int, ...]
Step = tuple[int, Dims]
"""The index of the operator that made a result, and the result's shape."""

FLOAT_BYTES = 4
IN_PLACE = frozenset({
    "batch_norm", "clip", "flatten", "gelu", "gelu_scale", "gelu_sigmoid", "gelu_tanh", "hsigmoid",
    "hswish", "layer_norm", "layer_scale", "mul", "relu", "relu6", "sigmoid", "swish", "tanh",
})  # fmt: skip
FOLDED = ("batch_norm", "layer_scale")
"""What becomes part of the weights of a convolution before it."""


def is_gelu_scale(value: float | None) -> bool:
    """Whether a constant is what gelu_sigmoid multiplies by, as far as 8 bits can tell."""
    return value is not None and isclose(value, GELU_SCALE, rel_tol=1 / 512)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a workload.

    Shapes are (C, H, W) or (C,), without the batch. `inputs` are the indices of the operators whose
    results it reads, -1 for the model's input. `kernel` is the longer side of the window and `area`
    its number of taps (1x7: 7 and 7). `receptive_field` is the side, in input pixels, of
    the square that an output element can see along the main path (the global path through a
    squeeze-and-excitation gate left out); `jump` the distance between neighbouring elements.
    `activation` is computed on the result by the same operator, where a runtime fused it. `node` is
    the name that a file or a runtime has for the operator, empty where there is neither.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    kernel: int = 1
    area: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    params: int = 0
    receptive_field: int = 1
    jump: int = 1
    activation: str = "none"
    node: str = ""

    @property
    def macs(self) -> int:
        """Multiply-adds for one image, by the formula of its kind in `MACS`; 0 for the others."""
        formula = MACS.get(self.op)
        return formula(self) if formula else 0

    @property
    def out_bytes(self) -> int:
        """Size of the result as float32."""
        return prod(self.out_shape) * FLOAT_BYTES


def _conv_macs(o: Operator) -> int:
    return prod(o.out_shape) * (o.in_shape[0] // o.groups) * o.area


def _matmul_macs(o: Operator) -> int:
    return prod(o.out_shape) * o.in_shape[-1]


MACS: Mapping[str, Callable[[Operator], int]] = {
    "conv": _conv_macs,
    "depthwise_conv": _conv_macs,
    "linear": _matmul_macs,
    "matmul": _matmul_macs,
}


@dataclass(frozen=True)
class Workload:
    """All operators of a model in execution order, for one image.

    `unknown` names the operators of a graph for which there is no formula and no reason to think
    that they cost nothing; a total that leaves something out says so. `precision` is that of the
    file (`fp32 fp16 w8a8 w8a32`), as far as its tensors tell.
    """

    name: str
    input_shape: tuple[int, ...]
    operators: tuple[Operator, ...]
    unknown: tuple[str, ...] = ()
    precision: str = "fp32"

    @cached_property
    def params(self) -> int:
        """Number of parameters."""
        return sum(o.params for o in self.operators)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(o.macs for o in self.operators)

    @cached_property
    def unknown_share(self) -> float:
        """The part of all elements written that unknown operators write, from 0 to 1."""
        total = sum(prod(o.out_shape) for o in self.operators)
        missed = sum(prod(o.out_shape) for o in self.operators if o.op in self.unknown)
        return missed / total if total else 0.0

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of all intermediate results together, those computed in place counted once."""
        return sum(o.out_bytes for o in self.operators if o.op not in IN_PLACE)

    @cached_property
    def peak_activation_bytes(self) -> int:
        """The most bytes of activations that are alive at once, the input included.

        A result lives until its last reader has run, a shortcut thus until its addition; operators
        of `IN_PLACE` overwrite an input that nobody reads later. A lower bound for any runtime that
        runs operators one by one in this order.
        """
        return max(live for _, live in self.liveness())

    def liveness(self) -> Iterable[tuple[Operator, int]]:
        """Each operator with the bytes alive while it runs."""
        last_use = {source: i for i, o in enumerate(self.operators) for source in o.inputs}
        sizes = {-1: prod(self.input_shape) * FLOAT_BYTES}
        for index, operator in enumerate(self.operators):
            dying = {s for s in operator.inputs if last_use[s] == index}
            reuses = operator.op in IN_PLACE and operator.inputs[0] in dying
            sizes[index] = operator.out_bytes
            yield operator, sum(sizes.values()) - (operator.out_bytes if reuses else 0)
            for source in dying:
                del sizes[source]

    def folded(self) -> Workload:
        """The workload after batch normalization is folded into the convolution before it.

        What runtimes execute: the normalization is gone and the convolution has a bias. One that
        follows on something else stays. A layer scale is gone the same way.
        """
        keep: list[Operator] = []
        moved = {-1: -1}
        for index, operator in enumerate(self.operators):
            at = moved[operator.inputs[0]]
            if operator.op in FOLDED and at >= 0 and keep[at].op in MACS:
                moved[index] = at
                keep[at] = replace(keep[at], params=folded_params(keep[at], operator))
                continue
            moved[index] = len(keep)
            keep.append(replace(operator, inputs=tuple(moved[i] for i in operator.inputs)))
        return replace(self, operators=tuple(keep))


def folded_params(before: Operator, operator: Operator) -> int:
    """Parameters of a convolution or linear layer that takes up what follows on it.

    Normalization becomes its bias, where it has none yet.
    """
    weights = before.macs // prod(before.out_shape[1:])
    has_bias = before.params > weights
    adds_bias = operator.op == "batch_norm" and not has_bias
    return before.params + before.out_shape[0] * adds_bias


def from_spec(spec: ModelSpec) -> Workload:
    """The workload of a zoo model, as trained (batch normalization apart)."""
    operators: list[Operator] = []
    field = (1, 1)
    for index, (block, shape) in enumerate(layers.row_shapes(spec)):
        row = row_operators(block, shape, spec.conventions, f"{block.kind}{index}", field)
        operators.extend(_shifted(row, len(operators)))
        field = (operators[-1].receptive_field, operators[-1].jump)
    return Workload(spec.name, spec.input_shape, tuple(operators))


@lru_cache(maxsize=1 << 14)
def row_operators(
    block: Block,
    shape: layers.Shape,
    conventions: Conventions,
    prefix: str = "",
    field: tuple[int, int] = (1, 1),
) -> tuple[Operator, ...]:
    """The operators of one row, cached; its input has index -1 and `field` (size, jump)."""
    body, _ = layers.lower_row(block, shape, conventions)
    walk = Walk([], field)
    walk.body(body, prefix, -1, shape.dims)
    return tuple(walk.operators)


def _shifted(row: tuple[Operator, ...], offset: int) -> Iterable[Operator]:
    """The row's operators with indices into the whole network, where -1 is the row before."""
    for operator in row:
        yield replace(operator, inputs=tuple(i + offset for i in operator.inputs))


@dataclass
class Walk:
    """Walks layers and appends operators; `source` is an operator's index, -1 the row's input."""

    operators: list[Operator]
    field: tuple[int, int]

    def body(
        self,
        body: tuple[layers.Layer, ...],
        prefix: str,
        source: int,
        shape: Dims,
    ) -> Step:
        for layer in body:
            name = f"{prefix}.{layer.name}" if prefix else layer.name
            source, shape = self.layer(layer, name, source, shape)
        return source, shape

    def layer(self, layer: layers.Layer, name: str, source: int, shape: Dims) -> Step:
        return _VISITORS[type(layer)](self, layer, name, source, shape)

    def group(self, layer: layers.Group, name: str, source: int, shape: Dims) -> Step:
        return self.body(layer.body, name, source, shape)

    def residual(self, layer: layers.Residual, name: str, source: int, shape: Dims) -> Step:
        result, _ = self.body(layer.body, name, source, shape)
        return self.append(name, "add", (result, source), shape, shape)

    def projected(self, layer: layers.Projected, name: str, source: int, shape: Dims) -> Step:
        body, out = self.layer(layer.body, f"{name}.body", source, shape)
        shortcut, _ = self.layer(layer.shortcut, f"{name}.shortcut", source, shape)
        return self.append(name, "add", (body, shortcut), out, out)

    def scaled_residual(
        self, layer: layers.ScaledResidual, name: str, source: int, shape: Dims
    ) -> Step:
        body, _ = self.body(layer.body, name, source, shape)
        channels = layer.scale.channels
        scale = f"{name}.{layer.scale.name}"
        scaled, _ = self.append(scale, "layer_scale", (body,), shape, shape, params=channels)
        return self.append(name, "add", (scaled, source), shape, shape)

    def branches(self, layer: layers.Branches, name: str, source: int, shape: Dims) -> Step:
        ends = [self.layer(b, f"{name}.{b.name}", source, shape) for b in layer.branches]
        _, first = ends[0]
        out = (sum(end[0] for _, end in ends), *first[1:])
        return self.append(name, "concat", tuple(i for i, _ in ends), first, out)

    def scale(self, layer: layers.Scale, name: str, source: int, shape: Dims) -> Step:
        factors, _ = self.body(layer.body, name, source, shape)
        return self.append(name, "mul", (source, factors), shape, shape)

    def batch_norm(self, layer: layers.BatchNorm, name: str, source: int, shape: Dims) -> Step:
        params = 2 * layer.channels
        return self.append(name, "batch_norm", (source,), shape, shape, params=params)

    def activation(self, layer: layers.Activation, name: str, source: int, shape: Dims) -> Step:
        if layer.function == "none":
            # Of a gate's inner layer, where the row has no activation.
            return source, shape
        return self.append(name, layer.function, (source,), shape, shape)

    def layer_norm(self, layer: layers.LayerNorm, name: str, source: int, shape: Dims) -> Step:
        params = 2 * layer.channels
        return self.append(name, "layer_norm", (source,), shape, shape, params=params)

    def window(self, layer: layers.Pool, name: str, source: int, shape: Dims) -> Step:
        size = layer.size_of(shape[1])
        out = (shape[0], size, size)
        window = {"kernel": layer.kernel, "stride": layer.stride}
        return self.append(name, f"{layer.kind}_pool", (source,), shape, out, **window)

    def pool(self, layer: layers.GlobalPool, name: str, source: int, shape: Dims) -> Step:
        out = (shape[0], 1, 1)
        return self.append(name, "global_pool", (source,), shape, out, kernel=shape[1])

    def flatten(self, layer: layers.Flatten, name: str, source: int, shape: Dims) -> Step:
        # What reads a flattened map sees all of it.
        return self.append(name, "flatten", (source,), shape, (prod(shape),), kernel=shape[1])

    def dropout(self, layer: layers.Dropout, name: str, source: int, shape: Dims) -> Step:
        return source, shape

    def linear(self, layer: layers.Linear, name: str, source: int, shape: Dims) -> Step:
        params = (layer.in_features + 1) * layer.out_features
        out = (layer.out_features,)
        return self.append(name, "linear", (source,), shape, out, params=params)

    def conv(self, layer: layers.Conv, name: str, source: int, shape: Dims) -> Step:
        window = layer.dilation * (layer.kernel - 1) + 1
        size = (shape[1] + sum(layer.padding) - window) // layer.stride + 1
        area = layer.kernel**2
        per_output = layer.in_channels // layer.groups * area + layer.bias
        depthwise = layer.groups == layer.in_channels and layer.groups > 1
        return self.append(
            name,
            "depthwise_conv" if depthwise else "conv",
            (source,),
            shape,
            (layer.out_channels, size, size),
            kernel=layer.kernel,
            area=area,
            stride=layer.stride,
            groups=layer.groups,
            dilation=layer.dilation,
            params=layer.out_channels * per_output,
        )

    def strip_conv(self, layer: layers.StripConv, name: str, source: int, shape: Dims) -> Step:
        taps = layer.height * layer.width
        out = (layer.out_channels, *shape[1:])
        params = layer.out_channels * layer.in_channels * taps
        window = {"kernel": max(layer.height, layer.width), "area": taps}
        return self.append(name, "conv", (source,), shape, out, params=params, **window)

    def append(
        self,
        name: str,
        op: str,
        inputs: tuple[int, ...],
        in_shape: Dims,
        out_shape: Dims,
        *,
        kernel: int = 1,
        area: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        params: int = 0,
    ) -> Step:
        """Add an operator; the receptive field follows its first input, of a join the widest."""
        joined = inputs if op in ("add", "concat") else inputs[:1]
        size, jump = max(self.field_of(source) for source in joined)
        operator = Operator(
            name,
            op,
            inputs,
            in_shape,
            out_shape,
            kernel,
            area,
            stride,
            groups,
            dilation,
            params,
            size + (kernel - 1) * dilation * jump,
            jump * stride,
        )
        self.operators.append(operator)
        return len(self.operators) - 1, out_shape

    def field_of(self, source: int) -> tuple[int, int]:
        if source < 0:
            return self.field
        operator = self.operators[source]
        return operator.receptive_field, operator.jump


_VISITORS: Mapping[type, Callable[..., Step]] = {
    layers.Group: Walk.group,
    layers.Residual: Walk.residual,
    layers.Projected: Walk.projected,
    layers.ScaledResidual: Walk.scaled_residual,
    layers.Branches: Walk.branches,
    layers.Scale: Walk.scale,
    layers.Conv: Walk.conv,
    layers.StripConv: Walk.strip_conv,
    layers.BatchNorm: Walk.batch_norm,
    layers.LayerNorm: Walk.layer_norm,
    layers.Activation: Walk.activation,
    layers.Pool: Walk.window,
    layers.GlobalPool: Walk.pool,
    layers.Flatten: Walk.flatten,
    layers.Dropout: Walk.dropout,
    layers.Linear: Walk.linear,
}
