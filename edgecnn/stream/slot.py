"""What one thread hands to another: the newest value, or in a batch every value, one at a time."""

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """Room for a single value, so that nothing ever queues.

    A new value takes the place of one that was not taken yet; with ``lossless`` it waits until the
    old one is taken.
    """

    def __init__(self, *, lossless: bool = False) -> None:
        self._changed = Condition()
        self._lossless = lossless
        self._value: T | None = None
        self._closed = False

    def put(self, value: T) -> bool:
        """Leave a value. Returns False where the slot was closed: nobody will take it."""
        with self._changed:
            if self._lossless:
                self._changed.wait_for(lambda: self._value is None or self._closed)
            if self._closed:
                return False
            self._value = value
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for a value that was not taken yet; None after so long, or once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is not None or self._closed, timeout_s)
            value, self._value = self._value, None
            self._changed.notify_all()
            return value

    def wait_empty(self) -> bool:
        """Wait until what is there is taken. Returns False where the slot was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._value is None or self._closed)
            return not self._closed

    @property
    def ended(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and self._value is None

    def close(self) -> None:
        """Take no more values; what is there can still be taken. Wakes all who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
