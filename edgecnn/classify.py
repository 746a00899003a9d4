"""An opened artifact as a classifier of photographs; runs where the file runs, also on a board."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn import preprocess
from edgecnn.contract import Contract
from edgecnn.errors import DataError
from edgecnn.runtimes import Session

TOP = 5
DECODERS = 2
QUEUED_PER_DECODER = 4

Best = tuple[int, ...]
"""Indices of the highest logits, best first; ties by lower index."""
Prepared = NDArray[Any] | DataError


def classify(
    session: Session, contract: Contract, paths: Sequence[Path], decoders: int = DECODERS
) -> Iterator[Best | DataError]:
    """Yield the five best classes of each photograph, or why it cannot be used, in order."""
    for prepared in _prepared(session, contract, paths, decoders):
        yield prepared if isinstance(prepared, DataError) else best(session, prepared)


def best(session: Session, array: NDArray[Any]) -> Best:
    """Return the five best classes of one input."""
    logits = preprocess.dequantize(session.run(array), session.outputs[0])
    return tuple(np.argsort(-logits.reshape(-1), kind="stable")[:TOP].tolist())


def _prepared(
    session: Session, contract: Contract, paths: Sequence[Path], decoders: int
) -> Iterator[Prepared]:
    """Decode and resize in threads, a bounded number of photographs ahead."""

    def job(path: Path) -> Prepared:
        try:
            picture = preprocess.read_image(path)
        except DataError as error:
            return error
        return preprocess.prepare(picture, contract.input, session.inputs[0])

    waiting: deque[Future[Prepared]] = deque()
    with ThreadPoolExecutor(max(1, decoders)) as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(job, path))
                if len(waiting) > decoders * QUEUED_PER_DECODER:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
