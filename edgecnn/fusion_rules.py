"""The model of a runtime whose fusions a table can tell: `Rules`, and applying them.

For runtimes that do not change the layout of tensors between operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgecnn.fusion import ACTIVATIONS, CONVOLUTIONS, START, Draft, Entry, Fused, Rest
from edgecnn.workload import Operator

MAP, VECTOR, RESHAPED = "map", "vector", "reshaped"
"""Forms of a result: one with height and width; one made from a mean over them; and a map of one
pixel that a vector was made."""


@dataclass(frozen=True)
class Rules:
    """How a runtime executes canonical operators.

    `nodes`: its names for an operator; where there are several, each reads the step before, the
    last of them the operator's first input as well. `takes`: the activations that an operator
    computes on its own result, by the operator's kind. `adds`: whether a convolution adds a
    shortcut to its result. `entry` and `exit`: kind and name of what is executed on the model's
    input and output. `on_vector`: the name of a convolution that reads a vector, where that is
    another operator.
    """

    nodes: Mapping[str, tuple[str, ...]]
    takes: Mapping[str, frozenset[str]]
    adds: bool = False
    entry: tuple[tuple[str, str], ...] = ()
    exit: tuple[tuple[str, str], ...] = ()
    on_vector: str = ""
    reshaping: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """What is executed in front of an operator that takes a vector as a map, by the operator's
    kind; and in front of `linear`, where it comes behind such a one."""
    after_add: bool = field(default=False, kw_only=True)
    """Whether a convolution that added a shortcut still takes an activation."""


def apply(rules: Rules, operators: Sequence[Operator], entry: Entry, rest: Rest) -> Fused:
    """Return what is executed for a stretch of canonical operators; see `fusion.Fuses`."""
    draft = Draft(operators, entry.shape)
    forms = {-1: MAP if entry.form == START else entry.form}
    if entry.form == START:
        for op, node in rules.entry:
            draft.place[-1] = draft.move(-1, op, node, draft.place[-1])
    for index, operator in enumerate(operators):
        source = operator.inputs[0]
        forms[index] = _form(rules, operator, forms[source])
        if RESHAPED in (forms[index], forms[source]) and forms[index] != forms[source]:
            node = rules.reshaping[operator.op]
            draft.place[source] = draft.move(source, "flatten", node, draft.place[source])
        if not (_is_taken(rules, draft, index) or _is_added(rules, draft, index)):
            is_vector = operator.op in CONVOLUTIONS and forms[source] == VECTOR
            nodes = rules.nodes.get(operator.op, (operator.node or operator.op,))
            _execute(draft, index, (rules.on_vector,) if is_vector and rules.on_vector else nodes)
    last = len(operators) - 1
    if rest is Rest.NOTHING:
        for op, node in rules.exit:
            draft.move(last, op, node, draft.place[last])
    return Fused(tuple(draft.new), forms[last])


def _form(rules: Rules, operator: Operator, before: str) -> str:
    """The form of a result of what has the form `before`."""
    if operator.op == "global_pool":
        return VECTOR
    if operator.op not in rules.reshaping:
        return before
    if operator.op == "linear":
        return VECTOR if before == RESHAPED else before
    return RESHAPED if before == VECTOR and len(operator.in_shape) == 3 else before


def _execute(draft: Draft, index: int, nodes: Sequence[str]) -> None:
    inputs = [draft.place[i] for i in draft.old[index].inputs]
    draft.place[index] = draft.steps(index, nodes, inputs)


def _maker(draft: Draft, index: int) -> Operator | None:
    """The new operator that makes an old result, if it has no activation and one reader."""
    at = draft.place[index]
    if index < 0 or at < 0 or not draft.has_one_reader(index):
        return None
    return draft.new[at] if draft.new[at].activation == "none" else None


def _is_taken(rules: Rules, draft: Draft, index: int) -> bool:
    """Give an activation to the operator before it, if that takes it."""
    operator = draft.old[index]
    if operator.op not in ACTIVATIONS:
        return False
    maker = _maker(draft, operator.inputs[0])
    if maker is None or operator.op not in rules.takes.get(maker.op, ()):
        return False
    if maker.op in CONVOLUTIONS and len(maker.inputs) > 1 and not rules.after_add:
        return False
    at = draft.place[index] = draft.place[operator.inputs[0]]
    draft.absorb(at, activation=operator.op)
    return True


def _is_added(rules: Rules, draft: Draft, index: int) -> bool:
    """Give a shortcut's addition to a convolution that makes one of the operands."""
    operator = draft.old[index]
    if not rules.adds or operator.op != "add" or len(operator.inputs) != 2:
        return False
    for source, other in (operator.inputs, operator.inputs[::-1]):
        at = draft.place[source]
        is_free = source >= 0 and draft.has_one_reader(source) and at > draft.place[other]
        if is_free and draft.new[at].op in CONVOLUTIONS and len(draft.new[at].inputs) == 1:
            draft.absorb(at, inputs=(*draft.new[at].inputs, draft.place[other]))
            draft.place[index] = at
            return True
    return False
