"""Running the network: on demand for a camera, one frame ahead in a batch."""

from dataclasses import dataclass
from threading import Thread
from time import monotonic_ns
from typing import Any, Self

from numpy.typing import NDArray

from edgecnn.errors import EdgecnnError
from edgecnn.stream.preparation import Prepared
from edgecnn.stream.slot import Slot


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


class Ahead:
    """Runs the network in a thread of its own, while the caller looks at the result before.

    Only in a batch: of a camera, a result that waits for a slow caller would grow old.
    """

    def __init__(self, prepared: Slot[Prepared]) -> None:
        self.slot: Slot[Ran] = Slot(lossless=True)
        self.error: EdgecnnError | None = None
        self._prepared = prepared
        self._thread = Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End; the inputs' slot is closed by whoever fills it."""
        self.slot.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (prepared := self._prepared.take()) is not None:
                if not self.slot.put(Ran.of(prepared)):
                    return
        except EdgecnnError as error:
            self.error = error
        finally:
            self.slot.close()
