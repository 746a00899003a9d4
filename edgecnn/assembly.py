"""What the readers of graph files share: operators appended in the order of the file."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import prod

from edgecnn.workload import Operator, Workload

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """Window of an operator; `area` is the number of taps of a convolution, else 1."""

    kernel: int = 1
    area: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1

    @classmethod
    def flattening(cls, in_shape: Dims, out_shape: Dims) -> Geometry:
        """Of a change of view: what reads a flattened (square) map sees all of it."""
        is_map = len(in_shape) == 3 and in_shape[1] == in_shape[2]
        return cls(kernel=in_shape[1]) if is_map and len(out_shape) == 1 else cls()

    def refined(self, op: str, channels: int) -> str:
        """`conv` or `depthwise_conv`; other operators as they are."""
        return "depthwise_conv" if op == "conv" and self.groups == channels > 1 else op


@dataclass
class Assembly:
    """The operators so far; knows which tensor came from which of them.

    A tensor is whatever the file names it by: a text in ONNX, a number in TFLite.
    """

    operators: list[Operator] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)
    makers: dict[Hashable, int] = field(default_factory=dict)
    input_shape: Dims = ()

    def append(
        self,
        name: str,
        op: str,
        node: str,
        *,
        sources: Sequence[Hashable],
        results: Sequence[Hashable],
        in_shape: Dims,
        out_shape: Dims,
        geometry: Geometry,
        params: int = 0,
    ) -> None:
        """Add an operator that reads the tensors `sources`, constants left out."""
        inputs = tuple(self.makers.get(source, -1) for source in sources)
        size, jump = self._field_of(inputs, op)
        operator = Operator(
            name=name,
            op=geometry.refined(op, in_shape[0] if in_shape else 1),
            inputs=inputs,
            in_shape=in_shape,
            out_shape=out_shape,
            kernel=geometry.kernel,
            area=geometry.area,
            stride=geometry.stride,
            groups=geometry.groups,
            dilation=geometry.dilation,
            params=params,
            receptive_field=size + (geometry.kernel - 1) * geometry.dilation * jump,
            jump=jump * geometry.stride,
            node=node,
        )
        self.makers.update(dict.fromkeys(results, len(self.operators)))
        self.operators.append(operator)

    def workload(self, name: str, precision: str) -> Workload:
        """What was read."""
        return Workload(
            name, self.input_shape, tuple(self.operators), tuple(self.unknown), precision
        )

    def _field_of(self, inputs: Sequence[int], op: str) -> tuple[int, int]:
        """Receptive field and jump at the largest input: a gate's 1x1 map does not count.

        All maps that are joined along the channels count.
        """
        known = [self.operators[i] for i in inputs if i >= 0]
        if not known:
            return 1, 1
        widest = 0 if op == "concat" else max(prod(o.out_shape) for o in known)
        fields = [(o.receptive_field, o.jump) for o in known if prod(o.out_shape) >= widest]
        return max(fields)
