"""The options that say how accuracy is known, of `edgecnn search` and `scale --grid`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgecnn.search import Accuracy

F = TypeVar("F", bound=Callable[..., Any])


def options(function: F) -> F:
    """Add the options that say how accuracy is known."""
    for option in (
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            help="Pictures to train on: class folders, a zip file of them, or MNIST's files. "
            "Without it, only networks with published accuracy take part.",
        ),
        click.option("--epochs", type=click.IntRange(1), default=5, show_default=True),
        click.option("--batch", type=click.IntRange(2), default=128, show_default=True),
        click.option("--optimizer", default="sgd", show_default=True, metavar="sgd|adamw"),
        click.option("--learning-rate", type=float, default=0.1, show_default=True),
        click.option("--limit", type=click.IntRange(1), help="Train on so many pictures at most."),
        click.option(
            "--held-out",
            type=click.IntRange(1),
            default=5000,
            show_default=True,
            help="Judge on so many of them, at most a fifth, that are not trained on.",
        ),
        click.option("--train-threads", type=click.IntRange(1), default=1, show_default=True),
    ):
        function = option(function)
    return function


def accuracy(data: Path | None, workdir: Path, train_threads: int, **recipe: Any) -> "Accuracy":
    """Train on ``data``; without it, only published accuracy is known."""
    from edgecnn.search import Proxy, Published

    if data is None:
        return Published()
    from edgecnn.train import Recipe

    return Proxy(data, Recipe(**recipe, threads=train_threads), workdir)
