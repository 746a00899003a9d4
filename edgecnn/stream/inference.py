"""Running the network: on demand for a camera, one frame ahead in a batch."""

from dataclasses import dataclass
from time import monotonic_ns
from typing import Any, Self

from numpy.typing import NDArray

from edgecnn.stream.preparation import Prepared
from edgecnn.stream.slot import Slot
from edgecnn.stream.stage import Stage


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What the network gave for an input, and when it began and ended."""

    prepared: Prepared
    output: NDArray[Any]
    began_ns: int
    ended_ns: int

    @classmethod
    def of(cls, prepared: Prepared) -> Self:
        """Run it now."""
        began_ns = monotonic_ns()
        output = prepared.classifier.run(prepared.array)
        return cls(prepared, output, began_ns, monotonic_ns())


class Ahead(Stage[Ran]):
    """Runs the network in a thread of its own, while the caller looks at the result before.

    Only in a batch: of a camera, a result that waits for a slow caller would grow old.
    """

    def __init__(self, prepared: Slot[Prepared]) -> None:
        super().__init__("inference")
        self._prepared = prepared

    def work(self) -> None:
        """Run what is prepared, one after another."""
        while (prepared := self._prepared.take()) is not None:
            if not self.slot.put(Ran.of(prepared)):
                return
