"""The operators of networks, numbered: equal ones, which take equal time, have one number."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.encoding import Encoder, Signature, placed
from edgecnn.environment import Environment
from edgecnn.fusion import Target
from edgecnn.spec import ModelSpec


class Operators:
    """What a runtime executes for networks on a machine; `signatures[number]` is an operator."""

    def __init__(self, runtime: str, precision: str, environment: Environment) -> None:
        target = Target(precision, environment.machine, frozenset(environment.isa))
        self._encoder = Encoder(runtime, target)
        self._numbers: dict[Signature, int] = {}
        self.signatures: list[Signature] = []

    @property
    def precision(self) -> str:
        """Of the files."""
        return self._encoder.target.precision

    def signatures_of(self, numbers: Sequence[int]) -> list[Signature]:
        """What these are."""
        return [self.signatures[number] for number in numbers]

    def of(self, spec: ModelSpec) -> list[int]:
        """The numbers of a network's operators, in order."""
        rows = self._encoder.rows(spec)
        operators = [number for row in rows for number in self._encoder.operators[row]]
        network = [self._encoder.signatures[number] for number in operators]
        return [self._number(one) for one in placed(network, self.precision)]

    def _number(self, of: Signature) -> int:
        found = self._numbers.setdefault(of, len(self.signatures))
        if found == len(self.signatures):
            self.signatures.append(of)
        return found
