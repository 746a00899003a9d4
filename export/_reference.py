"""The original that an exported file is compared with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.contract import Recipe
from edgecnn.errors import SourceError
from edgecnn.export.parity import Logits
from edgecnn.sources import Source

Forward = Callable[[NDArray[Any]], Logits]


def open_reference(source: Source, recipe: Recipe) -> Forward:
    """Return the function from a float32 array (1, C, imgsz, imgsz) to the original's logits."""
    return _torch_forward(source, recipe) if source.module is not None else _onnx_forward(source)


def _torch_forward(source: Source, recipe: Recipe) -> Forward:
    import torch

    # What was trained under rounding means what it says under rounding.
    module = source.rounded if source.tuned_for == str(recipe) else source.module
    if module is None:
        raise SourceError(f"{source.name} has no PyTorch module.")

    def forward(array: NDArray[Any]) -> Logits:
        with torch.inference_mode(), _one_thread():
            result = module(torch.from_numpy(array))
        if not isinstance(result, torch.Tensor):
            raise SourceError(
                f"{source.text}: the model returns {type(result).__name__}, not one tensor of "
                "logits. Wrap it in a module that returns the logits alone."
            )
        return np.asarray(result.numpy(), np.float32)

    return forward


@contextmanager
def _one_thread() -> Iterator[None]:
    """One image gives several threads little to do, and makes them wait where cores are busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _onnx_forward(source: Source) -> Forward:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(source.path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: np.asarray(session.run(None, {name: array})[0], np.float32)
