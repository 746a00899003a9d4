"""A training as a process of its own: `python training_worker.py DATA OUTPUT EPOCHS`.

It writes what the process saw in the first epoch, and the digest of its weights after the last.
"""

import json
import os
import sys
from pathlib import Path

import training_cases
from torch import Tensor

from edgecnn import weights
from edgecnn.training import run
from edgecnn.training.distributed import Peers
from edgecnn.training.loop import Loop, Report

_share, _epoch = Peers.share, Loop.epoch
_told: dict[str, object] = {"seen": [], "weights": ""}
_watched: list[list[int]] = []
"""Holds the list of what was seen, while the first epoch runs."""


def _watching_share(peers: Peers, indices: Tensor) -> Tensor:
    found = _share(peers, indices)
    for seen in _watched:
        seen.extend(found.tolist())
    return found


def _watching_epoch(loop: Loop, number: int, report: Report) -> float:
    seen: list[int] = []
    _watched.append(seen)
    loss = _epoch(loop, number, report)
    _watched.clear()
    if number == 1:
        _told["seen"] = seen
    _told["weights"] = weights.state_digest(loop.network)
    return loss


def main(data: str, output: str, epochs: str) -> None:
    """Train."""
    Peers.share = _watching_share  # type: ignore[method-assign]
    Loop.epoch = _watching_epoch  # type: ignore[method-assign]
    found = run.run(training_cases.task(Path(data), Path(output), epochs=int(epochs)))
    _told["has_result"] = found is not None
    rank = os.environ.get("RANK", "0")
    (Path(output) / f"rank{rank}.json").write_text(json.dumps(_told))


if __name__ == "__main__":
    main(*sys.argv[1:])
