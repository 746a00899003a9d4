"""Optimizers, what they let decay, and how the learning rate goes over a training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr),
}


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups: weights, which decay, and biases and normalization."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """The factor of the learning rate at `step` (from 0) of `total`.

    It rises linearly over the first `warmup` share of all steps, then falls to 0 along a cosine
    (Loshchilov and Hutter, arXiv 1608.03983, eq. 5, without restarts).
    """
    rising = warmup * total
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, total - rising)))
