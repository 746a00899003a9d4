"""What onnxruntime executes on a CPU: its graph optimizations, told of canonical operators.

As of onnxruntime 1.32, compared with the nodes that its profiler reports (x86-64 with AVX2, and
aarch64, where the package is built without NCHWc kernels). Float32 on x86 works on tensors in
blocks of channels (NCHWc, 8 of them, or 16 with AVX-512): convolutions that read such blocks need
channels in multiples of 4; where a tensor is wanted in the other layout, a ReorderInput or
ReorderOutput stands in between. Without NCHWc the layout stays as it is in the file. Quantized
networks (QDQ) work channels-last from the first convolution to the classifier.

Sources: onnxruntime, onnxruntime/core/optimizer/nchwc_transformer.cc, conv_activation_fusion.cc,
conv_add_act_fusion.cc, and the change that keeps activations in NCHWc (pull request 27691).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from edgecnn.fusion import (
    ACTIVATIONS,
    CONVOLUTIONS,
    START,
    Draft,
    Entry,
    Fused,
    Rest,
    Target,
    refuse_precision,
)
from edgecnn.workload import Operator

PLAIN, BLOCKED = "plain", "blocked"
CHANNELS_LAST, CLOSING = "channels last", "closing"
SCALED = ", scaled"
"""Behind the other forms: the constant of gelu_sigmoid was given the shape of a map on the way."""

NODES = {
    "conv": "Conv", "depthwise_conv": "Conv", "linear": "Gemm", "matmul": "MatMul", "add": "Add",
    "sub": "Sub", "mul": "Mul", "div": "Div", "relu": "Relu", "relu6": "Clip", "clip": "Clip",
    "sigmoid": "Sigmoid", "hsigmoid": "HardSigmoid", "swish": "QuickGelu", "gelu": "Gelu",
    "gelu_tanh": "Gelu", "gelu_sigmoid": "QuickGelu", "tanh": "Tanh", "softmax": "Softmax",
    "global_pool": "ReduceMean", "reduce_mean": "ReduceMean", "avg_pool": "AveragePool",
    "max_pool": "MaxPool", "concat": "Concat", "pad": "Pad", "transpose": "Transpose",
    "batch_norm": "BatchNormalization",
}  # fmt: skip
_BLOCKED_NODES = ("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool")
_FUSED_PLAIN = frozenset({"clip", "hsigmoid", "relu", "relu6", "sigmoid", "tanh"})
_FUSED_BLOCKED = _FUSED_PLAIN | {"hswish"}
_QUANTIZED = {
    "conv": ("QLinearConv",), "depthwise_conv": ("QLinearConv",), "linear": ("QGemm",),
    "add": ("QLinearAdd",), "mul": ("QLinearMul",), "global_pool": ("QLinearGlobalAveragePool",),
    "avg_pool": ("QLinearAveragePool",), "max_pool": ("MaxPool",), "concat": ("QLinearConcat",),
    "sigmoid": ("QLinearSigmoid",), "swish": ("QLinearSigmoid", "QLinearMul"),
    "gelu_sigmoid": ("QLinearMul", "QLinearSigmoid", "QLinearMul"),
    "pad": ("Pad",), "transpose": ("Transpose",),
}  # fmt: skip
_SATURATING = ("relu", "relu6", "clip")
_JOINING = ("add", "concat")
_MULTIPLE = 4
"""Channels of a reordered tensor are a multiple of this (MLAS, MlasReorderOutputNchw)."""


def fuse(operators: Sequence[Operator], target: Target, entry: Entry, rest: Rest) -> Fused:
    """See :class:`edgecnn.fusion.Fuses`. w8a32 is float32 from the first run on."""
    refuse_precision("ort", target, ("fp32", "w8a32", "w8a8"))
    if target.precision == "w8a8":
        return _Quantized(operators, entry, rest).fuse()
    return _Float(operators, entry, block_channels(target)).fuse(rest)


def block_channels(target: Target) -> int:
    """Channels in a block of onnxruntime's NCHWc layout; 0 where it has no kernels for it."""
    if target.machine.lower() not in ("x86_64", "amd64"):
        return 0
    return 16 if "avx512f" in target.isa else 8


class _Float:
    """Walks over operators and keeps for each result where it is plain and where in blocks."""

    def __init__(self, operators: Sequence[Operator], entry: Entry, block: int) -> None:
        self.draft, self.block = Draft(operators, entry.shape), block
        self.blocked: dict[int, int] = {-1: -1} if entry.form == BLOCKED else {}
        self.plain: dict[int, int] = {} if entry.form == BLOCKED else {-1: -1}

    def fuse(self, rest: Rest) -> Fused:
        for index, operator in enumerate(self.draft.old):
            _VISITORS.get(operator.op, _Float.other)(self, index, operator)
        last = len(self.draft.old) - 1
        if rest is Rest.NOTHING:
            self.as_plain(last)
        return Fused(tuple(self.draft.new), PLAIN if last in self.plain else BLOCKED)

    def as_plain(self, index: int) -> int:
        if index not in self.plain:
            at = self.blocked[index]
            self.plain[index] = self.draft.move(index, "reorder", "nchwc.ReorderOutput", at)
        return self.plain[index]

    def as_blocked(self, index: int) -> int:
        if index not in self.blocked:
            at = self.plain[index]
            self.blocked[index] = self.draft.move(index, "reorder", "nchwc.ReorderInput", at)
        return self.blocked[index]

    def conv(self, index: int, operator: Operator) -> None:
        source, channels = operator.inputs[0], operator.in_shape[0]
        if not self.takes_blocks(operator):
            at = self.draft.step(index, "Conv", [self.as_plain(source)])
            self.plain[index] = at
            return
        # So few channels are read as they lie.
        few = operator.groups == 1 and channels < self.block
        read = self.as_plain(source) if few else self.as_blocked(source)
        self.blocked[index] = self.draft.step(index, "nchwc.Conv", [read])

    def takes_blocks(self, operator: Operator) -> bool:
        channels, groups = operator.in_shape[0], operator.groups
        if not self.block or len(operator.in_shape) != 3:
            return False
        if groups == 1:
            return channels < self.block or channels % _MULTIPLE == 0
        if operator.op == "depthwise_conv" and operator.out_shape[0] == groups:
            return channels % _MULTIPLE == 0
        return not (channels // groups % self.block or operator.out_shape[0] // groups % self.block)

    def activation(self, index: int, operator: Operator) -> None:
        source = operator.inputs[0]
        places = self.blocked if source in self.blocked else self.plain
        fusing = _FUSED_BLOCKED if places is self.blocked else _FUSED_PLAIN
        if operator.op in fusing and self.can_take_over(source, places):
            at = places[index] = places[source]
            self.draft.absorb(at, activation=operator.op, node=_fused_node(self.draft.new[at]))
        elif operator.op == "hswish":
            # A function in ONNX: its body is executed where it is not fused.
            near = replace(operator, op="hsigmoid")
            factor = self.draft.append(replace(near, node="HardSigmoid"), [self.as_plain(source)])
            product = replace(operator, op="mul", node="Mul")
            self.plain[index] = self.draft.append(product, [self.plain[source], factor])
        else:
            places[index] = self.draft.step(index, NODES[operator.op], [places[source]])

    def can_take_over(self, index: int, places: dict[int, int]) -> bool:
        """Whether the operator that makes a result may go on with what its only reader does."""
        at = places.get(index, -1)
        if at < 0 or not self.draft.has_one_reader(index):
            return False
        maker = self.draft.new[at]
        return maker.activation == "none" and maker.op in (*CONVOLUTIONS, "linear")

    def add(self, index: int, operator: Operator) -> None:
        places = self.common(operator)
        inputs = operator.inputs
        for source, other in zip(inputs, reversed(inputs), strict=True):
            if self.can_add(source, places) and len(inputs) == 2:
                at = places[index] = places[source]
                conv = self.draft.new[at]
                addends = (*conv.inputs, places[other])
                self.draft.absorb(at, inputs=addends, node=_fused_node(conv))
                return
        places[index] = self.draft.step(index, "Add", [places[i] for i in inputs])

    def can_add(self, index: int, places: dict[int, int]) -> bool:
        if not self.can_take_over(index, places):
            return False
        maker = self.draft.new[places[index]]
        return maker.op in CONVOLUTIONS and len(maker.inputs) == 1

    def common(self, operator: Operator) -> dict[int, int]:
        """In blocks where all inputs are and have one shape, else plain."""
        inputs = operator.inputs
        same_shape = len({self.draft.shape(i) for i in inputs}) == 1
        if same_shape and all(i in self.blocked for i in inputs):
            return self.blocked
        for source in inputs:
            self.as_plain(source)
        return self.plain

    def mul(self, index: int, operator: Operator) -> None:
        places = self.common(operator)
        places[index] = self.draft.step(index, "Mul", [places[i] for i in operator.inputs])

    def pool(self, index: int, operator: Operator) -> None:
        node, source = _pool_node(operator), operator.inputs[0]
        is_whole = self.block and operator.in_shape[0] % self.block == 0
        # A global pool does not ask for blocks, but keeps to them.
        is_at_home = not node.startswith("Global") or source in self.blocked
        if node in _BLOCKED_NODES and is_whole and is_at_home:
            self.blocked[index] = self.draft.step(index, f"nchwc.{node}", [self.as_blocked(source)])
        else:
            self.plain[index] = self.draft.step(index, node, [self.as_plain(source)])

    def concat(self, index: int, operator: Operator) -> None:
        inputs = operator.inputs
        whole = self.block and all(self.draft.shape(i)[0] % self.block == 0 for i in inputs)
        if not whole or not all(i in self.blocked for i in inputs):
            self.other(index, operator)
            return
        self.blocked[index] = self.draft.step(index, "Concat", [self.blocked[i] for i in inputs])

    def batch_norm(self, index: int, operator: Operator) -> None:
        if operator.inputs[0] not in self.blocked:
            self.other(index, operator)
            return
        conv = replace(
            operator, op="depthwise_conv", groups=operator.in_shape[0], node="nchwc.Conv"
        )
        at = self.draft.append(conv, [self.blocked[operator.inputs[0]]])
        self.blocked[index] = at

    def linear(self, index: int, operator: Operator) -> None:
        source = operator.inputs[0]
        read = self.as_plain(source)
        if len(self.draft.shape(source)) == 3:
            read = self.draft.move(source, "flatten", "Reshape", read)
        node = operator.node if operator.node == "MatMul" else "Gemm"
        self.plain[index] = self.draft.step(index, node, [read])

    def other(self, index: int, operator: Operator) -> None:
        node = NODES.get(operator.op) or operator.node or operator.op
        inputs = [self.as_plain(i) for i in operator.inputs]
        self.plain[index] = self.draft.step(index, node, inputs)


_VISITORS: Mapping[str, Callable[[_Float, int, Operator], None]] = {
    **dict.fromkeys(CONVOLUTIONS, _Float.conv),
    **dict.fromkeys(ACTIVATIONS, _Float.activation),
    **dict.fromkeys(("avg_pool", "max_pool", "global_pool"), _Float.pool),
    "add": _Float.add,
    "mul": _Float.mul,
    "concat": _Float.concat,
    "batch_norm": _Float.batch_norm,
    "linear": _Float.linear,
}


def _pool_node(operator: Operator) -> str:
    """A mean over the image is ReduceMean as torch exports it, GlobalAveragePool elsewhere."""
    is_global = operator.node.startswith("Global")
    return operator.node if is_global else NODES[operator.op]


def _fused_node(operator: Operator) -> str:
    return {"Conv": "FusedConv", "Gemm": "FusedGemm"}.get(operator.node, operator.node)


class _Quantized:
    """Integer operators where onnxruntime has them; others between a dequantize and a quantize.

    Channels come last from the first convolution to the last. A result of the last one (`closing`)
    is transposed in front of what reads it, but behind a global pool, where less is left of it, and
    behind a sum or a concatenation with others that have channels last.

    All gelu_sigmoids share one constant. Those with channels last give it the shape of a map; so
    in front of the first of the others a Squeeze takes that back.
    """

    def __init__(self, operators: Sequence[Operator], entry: Entry, rest: Rest) -> None:
        self.draft, self.form = Draft(operators, entry.shape), entry.form.removesuffix(SCALED)
        self.is_scaled = entry.form.endswith(SCALED)
        self.plain = {-1} if self.form == PLAIN else set()
        self.closing = {-1} if self.form == CLOSING else set()
        convolutions = [i for i, o in enumerate(operators) if o.op in CONVOLUTIONS]
        goes_on = rest is Rest.CONVOLUTIONS or not convolutions
        self.last_convolution = None if goes_on else convolutions[-1]

    def fuse(self) -> Fused:
        for index, operator in enumerate(self.draft.old):
            self.visit(index, operator)
        last = len(self.draft.old) - 1
        forms = {last: CHANNELS_LAST} | dict.fromkeys(self.plain, PLAIN)
        form = (forms | dict.fromkeys(self.closing, CLOSING))[last]
        return Fused(tuple(self.draft.new), form + SCALED * self.is_scaled)

    def visit(self, index: int, operator: Operator) -> None:
        draft, source = self.draft, operator.inputs[0]
        if self.form == START and -1 in operator.inputs:
            self.enter()
        shrinks = operator.op == "global_pool" and prod(operator.in_shape[1:]) > 1
        stays = operator.op in (*_SATURATING, *_JOINING) or shrinks
        waits = self.closing & set(operator.inputs) and not self.plain & set(operator.inputs)
        if (stays and waits) or index == self.last_convolution:
            self.closing.add(index)
        else:
            self.meet(index, operator)
        inputs = [draft.place[i] for i in operator.inputs]
        if operator.op == "linear" and len(draft.shape(source)) == 3:
            inputs = [draft.move(source, "flatten", "Reshape", inputs[0])]
        if operator.op in _SATURATING:
            # The range of the quantized result is that of the activation.
            draft.place[index] = inputs[0]
        elif operator.op in _QUANTIZED:
            if operator.op == "gelu_sigmoid":
                self.scale(index)
            draft.place[index] = draft.steps(index, self.nodes(index, operator), inputs)
        else:
            draft.place[index] = self.in_float(index, operator, inputs)

    def nodes(self, index: int, operator: Operator) -> tuple[str, ...]:
        has_channels_last = index not in self.plain
        is_other = operator.op == "max_pool" and has_channels_last
        return ("NhwcMaxPool",) if is_other else _QUANTIZED[operator.op]

    def scale(self, index: int) -> None:
        """Take back the shape of gelu_sigmoid's constant, or note that it has another now."""
        if index not in self.plain:
            self.is_scaled = True
        elif self.is_scaled:
            name = f"{self.draft.old[index].name}:Squeeze"
            self.draft.append(Operator(name, "flatten", (), (1,), (1,), node="Squeeze"), ())
            self.is_scaled = False

    def enter(self) -> None:
        at = self.draft.move(-1, "quantize", "QuantizeLinear", -1)
        self.draft.place[-1] = self.draft.move(-1, "transpose", "Transpose", at)
        self.form = CHANNELS_LAST

    def meet(self, index: int, operator: Operator) -> None:
        """Transpose inputs where one is plain or closing; the result is plain then."""
        if not (self.plain | self.closing) & set(operator.inputs):
            return
        self.plain.add(index)
        for source in set(operator.inputs) - self.plain:
            at = self.draft.place[source]
            self.draft.place[source] = self.draft.move(source, "transpose", "Transpose", at)
            self.plain.add(source)
            self.closing.discard(source)

    def in_float(self, index: int, operator: Operator, inputs: list[int]) -> int:
        floats = [
            self.draft.move(source, "dequantize", "DequantizeLinear", at)
            for source, at in zip(operator.inputs, inputs, strict=True)
        ]
        # HardSwish is a function in ONNX, whose body is executed.
        hard = ("HardSigmoid", "Mul")
        node = NODES.get(operator.op) or operator.node or operator.op
        at = self.draft.steps(index, hard if operator.op == "hswish" else (node,), floats)
        return self.draft.move(index, "quantize", "QuantizeLinear", at)
