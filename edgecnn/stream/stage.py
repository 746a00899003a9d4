"""A step of a stream in a thread of its own, which leaves what it makes in a slot."""

from abc import ABC, abstractmethod
from threading import Thread
from typing import Generic, TypeVar

from edgecnn.errors import EdgecnnError
from edgecnn.stream.slot import Slot

T = TypeVar("T")


class Stage(ABC, Generic[T]):
    """Works until what it takes from has ended, or nobody takes what it makes.

    ``error`` is what ended it, where something went wrong.
    """

    def __init__(self, name: str) -> None:
        self.slot: Slot[T] = Slot(lossless=True)
        self.error: EdgecnnError | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Fill the slot; return at the end."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End; the slot that it takes from is closed by whoever fills that."""
        self.slot.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self.work()
        except EdgecnnError as error:
            self.error = error
        finally:
            self.slot.close()
