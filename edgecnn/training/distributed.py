"""Several processes that train one network: torchrun starts them, each takes its share of a batch.

Gradients are averaged by torch's DistributedDataParallel, over gloo on processors and NCCL on GPUs.
Statistics of batch normalization are those of the first process's share, as DistributedDataParallel
keeps them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edgecnn.errors import UnavailableError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Peers:
    """The processes of a training, and which of them this one is (from 0; 0 writes the files)."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, indices: Tensor) -> Tensor:
        """Those of a batch's indices that are this process's."""
        return indices[self.rank :: self.count]

    def device(self, kind: str) -> torch.device:
        """The device that this process computes on."""
        return torch.device(kind, self.local_rank) if kind == "cuda" else torch.device(kind)

    def together(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes; itself where there is one."""
        return network if self.count == 1 else DistributedDataParallel(network)

    def sum(self, value: float, device: torch.device) -> float:
        """The sum of a number over all processes."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total)

    def align(self, network: nn.Module) -> None:
        """Give all processes the first one's buffers, which its own pictures have changed since."""
        if self.count > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Return once all processes are here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Peers()


@contextmanager
def connected(device: str) -> Iterator[Peers]:
    """The processes that torchrun started, joined while the block runs; without it, this one alone.

    Raises UnavailableError where they cannot be joined, or torchrun's variables are not complete.
    """
    if "RANK" not in os.environ:
        yield ALONE
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UnavailableError(
            f"RANK is set, as torchrun does, but not {', '.join(missing)}. Start several processes "
            "with: torchrun --nproc-per-node N -m edgecnn train ...; to train in one, unset RANK."
        )
    peers = Peers(*(int(os.environ[name]) for name in _VARIABLES[:3]))
    try:
        if device == "cuda":
            torch.cuda.set_device(peers.local_rank)
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise UnavailableError(f"the {peers.count} processes cannot be joined: {error}") from error
    try:
        yield peers
    finally:
        distributed.destroy_process_group()
