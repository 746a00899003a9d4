"""One row of an architecture table, as text and as a value.

    mbconv_r2_k3_s2_e6_c24_se0.25_swish

means two inverted bottlenecks, 3x3 depthwise, the first with stride 2, expansion 6, 24 output
channels, squeeze-and-excitation of ratio 0.25, swish. `str(Block.parse(text)) == text` for every
canonical text.

Adding a kind of block: one row in `KINDS` here, one lowering function in `edgecnn/lowering`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import count
from typing import Any

from edgecnn import branches
from edgecnn.errors import SpecError

ACTIVATIONS = (
    "none",
    "relu",
    "relu6",
    "swish",
    "hswish",
    "gelu",
    # approximations of it by tanh and by x * sigmoid(1.702 x): arXiv 1606.08415, section 2
    "gelu_tanh",
    "gelu_sigmoid",
    "sigmoid",
    "hsigmoid",
    "tanh",
)
GELU_SCALE = 1.702
"""By which gelu_sigmoid multiplies what it gives to the sigmoid."""
FLAGS = ("noskip", "bias", "both", "fixw", "upw", "fixd", "ceil", "first")


@dataclass(frozen=True)
class Kind:
    """Which tokens a kind of row must have and may have, and whether depth scaling repeats it."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    stage: bool = True
    flags: tuple[str, ...] = ("fixw", "upw", "fixd")


KINDS: Mapping[str, Kind] = {
    # stem and head: convolution, batch normalization, activation. Depth scaling leaves them alone.
    "stem": Kind(("kernel", "stride", "channels", "activation"), ("padding",), stage=False),
    "head": Kind(("channels", "activation"), stage=False, flags=("bias", "fixw", "upw")),
    "conv": Kind(
        ("repeats", "kernel", "stride", "channels", "activation"),
        ("groups", "dilation", "padding"),
        flags=("bias", "both", "fixw", "upw", "fixd"),
    ),
    # depthwise separable convolution of MobileNetV1: activation after both parts, no shortcut
    "dws": Kind(("repeats", "kernel", "stride", "channels", "activation")),
    # inverted bottleneck of MobileNetV2; with expansion 1 it has no expanding convolution
    "mbconv": Kind(
        ("repeats", "kernel", "stride", "expand", "channels", "activation"),
        ("se", "hse"),
        flags=("noskip", "fixw", "upw", "fixd"),
    ),
    # fused inverted bottleneck of EfficientNet-EdgeTPU; with expansion 1 it is one convolution
    "fused": Kind(
        ("repeats", "kernel", "stride", "expand", "channels", "activation"),
        ("se", "hse"),
        flags=("noskip", "fixw", "upw", "fixd"),
    ),
    # universal inverted bottleneck of MobileNetV4: `a` is the kernel of the depthwise convolution
    # before the expansion, `k` of the one after it; 0 leaves it out
    "uib": Kind(
        ("repeats", "start_kernel", "kernel", "stride", "expand", "channels", "activation"),
        ("se", "hse"),
        flags=("noskip", "fixw", "upw", "fixd"),
    ),
    # two 3x3 convolutions (ResNet-18 and 34), or 1x1, 3x3, 1x1 with `e` times the row's channels in
    # between (ResNet-50 and more, ResNeXt with groups); an addition, then the last activation
    "basic": Kind(("repeats", "kernel", "stride", "channels", "activation"), ("se",)),
    "bottle": Kind(
        ("repeats", "kernel", "stride", "expand", "channels", "activation"),
        ("groups", "se"),
        flags=("fixw", "upw", "fixd", "first"),
    ),
    # parallel branches side by side (GoogLeNet, Inception): see `branches.py`
    "mixed": Kind(("stride", "branches", "activation"), stage=False, flags=("fixw",)),
    # ConvNeXt: depthwise, layer normalization, an inverted bottleneck, layer scale; where the row
    # has a stride or other channels, a normalization and a patchifying convolution come first
    "cnext": Kind(
        ("repeats", "kernel", "stride", "expand", "channels", "activation"),
        flags=("fixw", "upw", "fixd"),
    ),
    # layer normalization over the channels of each pixel
    "norm": Kind((), stage=False, flags=()),
    "maxpool": Kind(("kernel", "stride"), ("padding",), stage=False, flags=("ceil",)),
    "avgpool": Kind(("kernel", "stride"), ("padding",), stage=False, flags=("ceil",)),
    # LeNet's: the mean of a window, times a trained coefficient plus a trained bias, one per map
    "subsample": Kind(("kernel", "stride", "activation"), stage=False, flags=()),
    "pool": Kind((), stage=False, flags=()),
    "dense": Kind(("channels", "activation"), stage=False, flags=("fixw",)),
    # Network in Network's classifier: a map for each class (1x1 convolution), and its mean
    "classmap": Kind(("channels", "activation"), stage=False, flags=()),
    "linear": Kind(("channels",), stage=False, flags=()),
}
CLASSIFIERS = ("linear", "classmap")
"""Kinds of rows that a network can end with; their channels are the classes."""


@dataclass(frozen=True)
class Token:
    """How a field of `Block` is written: its prefix and its range (both ends allowed)."""

    prefix: str
    type: Callable[[str], float]
    low: float
    high: float


TOKENS: Mapping[str, Token] = {
    "repeats": Token("r", int, 1, 256),
    "start_kernel": Token("a", int, 0, 31),
    "kernel": Token("k", int, 0, 31),
    "stride": Token("s", int, 1, 8),
    "expand": Token("e", float, 0.1, 64),
    "channels": Token("c", int, 1, 1 << 20),
    "groups": Token("g", int, 1, 1 << 20),
    "dilation": Token("d", int, 1, 64),
    "padding": Token("p", int, 0, 31),
    "se": Token("se", float, 1e-3, 1),
    "hse": Token("hse", float, 1e-3, 1),
}
_BY_PREFIX = {token.prefix: name for name, token in TOKENS.items()}
_NUMBERED = re.compile(r"([a-z]+)(\d+(?:\.\d+)?(?:e-?\d+)?)")


@dataclass(frozen=True)
class Block:
    """One row of an architecture table.

    `se` is squeeze-and-excitation as in MnasNet and EfficientNet: the ratio is of the row's *input*
    channels (of its output channels in basic and bottle rows, as in SE-ResNet), the inner
    activation is the row's, the gate is a sigmoid. `hse` is MobileNetV3's: the ratio is of the
    *expanded* channels, rounded to 8, inner activation ReLU, gate hard-sigmoid.
    `padding` in pixels on each side; without it the convention decides. `branches` are those of a
    mixed row, each as text.
    Flags: `noskip` no shortcut; `bias` a bias in place of batch normalization; `both` a bias and
    batch normalization; `fixw` width scaling leaves the row alone; `upw` width scaling only widens
    it; `fixd` depth scaling leaves it alone; `ceil` a last window may reach over the edge; `first`
    the stride is in the first convolution, as in ResNet's paper, in place of the 3x3.

    Raises SpecError where a field does not belong to the kind or is out of range.
    """

    kind: str
    channels: int = 0
    repeats: int = 1
    kernel: int = 1
    stride: int = 1
    expand: float = 1.0
    start_kernel: int = 0
    se: float = 0.0
    hse: float = 0.0
    activation: str = "none"
    flags: tuple[str, ...] = ()
    groups: int = 1
    dilation: int = 1
    padding: int = -1
    branches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise SpecError(f"unknown block kind {self.kind!r}; known: {', '.join(KINDS)}")
        for name in kind.required:
            self._check_field(name)
        for name in kind.optional:
            if getattr(self, name) != _DEFAULTS[name]:
                self._check_field(name)
        for item in _INSTANCE_FIELDS - {*kind.required, *kind.optional}:
            if getattr(self, item) != _DEFAULTS[item]:
                raise SpecError(f"{self.kind} takes no {item}, got {getattr(self, item)!r}")
        self._check_flags(kind)

    def _check_field(self, name: str) -> None:
        value = getattr(self, name)
        if name == "branches":
            branches.check(value)
            return
        if name == "activation":
            if value not in ACTIVATIONS:
                raise SpecError(
                    f"unknown activation {value!r} in a {self.kind} row; "
                    f"known: {', '.join(ACTIVATIONS)}"
                )
            return
        token = TOKENS[name]
        if not token.low <= value <= token.high:
            raise SpecError(
                f"{name} of a {self.kind} row is {value:g}; "
                f"allowed: {token.low:g} to {token.high:g}"
            )

    def _check_flags(self, kind: Kind) -> None:
        for flag in self.flags:
            if flag not in kind.flags:
                allowed = ", ".join(kind.flags) or "none"
                raise SpecError(f"{self.kind} takes no flag {flag!r}; allowed: {allowed}")
        if list(self.flags) != sorted(set(self.flags), key=FLAGS.index):
            raise SpecError(f"flags {self.flags} must be unique and in the order {FLAGS}")
        if self.se and self.hse:
            raise SpecError("a row takes se or hse, not both")
        if self.kind != "uib" and self.kernel == 0:
            raise SpecError(f"kernel of a {self.kind} row is 0; only uib may leave one out")
        if self.kind == "uib" and self.stride > 1 and not (self.kernel or self.start_kernel):
            raise SpecError("a uib row with stride > 1 needs a depthwise kernel (a or k above 0)")

    @classmethod
    def parse(cls, text: str) -> Block:
        """Read one row. Raises SpecError naming the token that is unknown, missing or doubled."""
        kind_name, *tokens = _tokens(text)
        kind = KINDS.get(kind_name)
        if kind is None:
            raise SpecError(
                f"unknown block kind {kind_name!r} in {text!r}; known: {', '.join(KINDS)}"
            )
        values: dict[str, Any] = {}
        flags: list[str] = []
        for token in tokens:
            if token in kind.flags and token not in flags:
                flags.append(token)
                continue
            if "branches" in kind.required and branches.looks_like(token):
                values["branches"] = (*values.get("branches", ()), token)
                continue
            name, value = _parse_token(token, kind_name, text)
            if name in values or name not in (*kind.required, *kind.optional):
                raise SpecError(_unexpected(token, kind_name, text))
            values[name] = value
        missing = [_written(name) for name in kind.required if name not in values]
        if missing:
            raise SpecError(f"{text!r} lacks {', '.join(missing)}")
        return cls(kind=kind_name, flags=tuple(sorted(flags, key=FLAGS.index)), **values)

    def __str__(self) -> str:
        kind = KINDS[self.kind]
        names = [n for n in _ORDER if n in kind.required]
        names += [n for n in _ORDER if n in kind.optional and getattr(self, n) != _DEFAULTS[n]]
        parts = [f"{TOKENS[n].prefix}{getattr(self, n)!r}".removesuffix(".0") for n in names]
        activation = [self.activation] if "activation" in kind.required else []
        return "_".join([self.kind, *parts, *self.branches, *activation, *self.flags])

    @cached_property
    def number(self) -> int:
        """Equal rows have equal numbers, in one process; to look them up millions of times."""
        return _NUMBERS.setdefault(tuple(getattr(self, name) for name in _DEFAULTS), next(_NEXT))

    def __hash__(self) -> int:
        return hash(self.number)

    def __reduce__(self) -> tuple[Callable[[str], Block], tuple[str]]:
        """Pickled as text: rows have other numbers in another process."""
        return Block.parse, (str(self),)

    @property
    def skip(self) -> bool:
        """Whether the row's kind has shortcuts (where shape allows) and they are not turned off."""
        return "noskip" not in self.flags


_NUMBERS: dict[tuple[Any, ...], int] = {}
_NEXT = count()
_ORDER = tuple(TOKENS)
_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Block)}
_INSTANCE_FIELDS = {*TOKENS, "activation", "branches"}


def _tokens(text: str) -> list[str]:
    """The parts of a row; an activation's name may hold an underscore of its own."""
    tokens: list[str] = []
    for part in text.split("_"):
        if len(tokens) > 1 and f"{tokens[-1]}_{part}" in ACTIVATIONS:
            tokens[-1] += f"_{part}"
        else:
            tokens.append(part)
    return tokens


def _parse_token(token: str, kind: str, text: str) -> tuple[str, float | str]:
    if token in ACTIVATIONS:
        return "activation", token
    match = _NUMBERED.fullmatch(token)
    if match is None or match[1] not in _BY_PREFIX:
        raise SpecError(_unexpected(token, kind, text))
    name = _BY_PREFIX[match[1]]
    try:
        return name, TOKENS[name].type(match[2])
    except ValueError:
        raise SpecError(f"{token!r} in {text!r}: {name} is a whole number") from None


def _written(name: str) -> str:
    words = {"activation": "an activation", "branches": f"branches ({branches.EXAMPLE})"}
    return words.get(name) or f"{TOKENS[name].prefix}<number> ({name})"


def _unexpected(token: str, kind_name: str, text: str) -> str:
    kind = KINDS[kind_name]
    allowed = [_written(name) for name in (*kind.required, *kind.optional)] + list(kind.flags)
    return (
        f"token {token!r} in {text!r} is unknown or given twice; {kind_name} takes: "
        f"{', '.join(allowed) or 'nothing'} (activations: {', '.join(ACTIVATIONS)})"
    )


def parse_rows(text: str) -> tuple[Block, ...]:
    """Read rows separated by white space. Raises SpecError as `Block.parse`."""
    return tuple(Block.parse(row) for row in text.split())
