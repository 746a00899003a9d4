"""An execution in stages where the device has a memory of its own: in, compute, out."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns

from edgecnn.errors import UsageError
from edgecnn.profile import Transfers
from edgecnn.runtimes import Array


class OnHost:
    """A session whose input and output lie where it computes."""

    def transfers(self, array: Array, runs: int) -> Transfers | None:
        """Return None: nothing is transferred."""
        return None


@dataclass(frozen=True)
class Stages:
    """What one execution consists of.

    ``put`` and ``compute`` may return before the device is done; ``synchronize`` waits for it.
    ``take`` returns when the result is in the host's memory.
    """

    put: Callable[[Array], object]
    compute: Callable[[], object]
    take: Callable[[], Array]
    synchronize: Callable[[], object]

    def run(self, array: Array) -> Array:
        """Execute once, as an application would: waiting for the result alone."""
        self.put(array)
        self.compute()
        return self.take()

    def transfers(self, array: Array, runs: int) -> Transfers:
        """Time each stage of ``runs`` executions; one before them, which allocates, is left out.

        Raises:
            UsageError: ``runs`` is below 1.
        """
        if runs < 1:
            raise UsageError(f"transfers of {runs} runs were asked for; it must be at least 1.")
        samples = [self._timed(array) for _ in range(runs + 1)][1:]
        put, compute, take = (
            statistics.median(stage) / 1e6 for stage in zip(*samples, strict=True)
        )
        return Transfers(put, compute, take)

    def _timed(self, array: Array) -> tuple[int, int, int]:
        """Nanoseconds of the three stages, the device idle at the beginning of each."""
        self.synchronize()
        begin = perf_counter_ns()
        self.put(array)
        self.synchronize()
        there = perf_counter_ns()
        self.compute()
        self.synchronize()
        computed = perf_counter_ns()
        self.take()
        return there - begin, computed - there, perf_counter_ns() - computed
