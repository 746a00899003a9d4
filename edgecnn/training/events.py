"""A training's figures for TensorBoard, by torch's own writer, which needs its package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecnn.training.result import Epoch

PREFIX = "events.out.tfevents"
ABSENT = "no events for TensorBoard were written: pip install 'edgecnn[train]' has its writer."


def write(folder: Path, epochs: Sequence[Epoch]) -> str | None:
    """Write loss and top-1 of all epochs anew; without the package, return what to say.

    Anew, since a training that was killed and continued would have some epochs twice.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return ABSENT
    before = list(folder.glob(f"{PREFIX}*"))
    writer = SummaryWriter(str(folder))
    for epoch in epochs:
        figures = {"loss/train": epoch.loss, "top1/judged": epoch.top1}
        for name, value in figures.items():
            writer.add_scalar(name, value, epoch.number)
    writer.close()
    for old in before:
        old.unlink(missing_ok=True)
    return None
