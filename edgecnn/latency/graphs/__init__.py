"""Networks as files in milliseconds, as the exporters make them, with random weights.

Calibrating a device measures thousands of designed networks; converting one from PyTorch takes
seconds. What is written here has the operators of an exported file, in the same order and the same
precision: a runtime executes both alike, and takes the same time over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgecnn import layers, runtimes
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.files import replace_file
from edgecnn.spec import ModelSpec

__all__ = ["PRECISIONS", "Dims", "content", "format_for", "write"]

Dims = tuple[int, ...]
PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "onnx": ("fp32", "w8a8"),
    "tflite": ("fp32", "w8a8"),
}
"""What can be written, by format."""


def format_for(runtime: str, precision: str) -> str:
    """The format in which networks are written for a runtime.

    Raises:
        UsageError: the runtime is unknown, or reads nothing that is written in this precision.
    """
    reads = runtimes.get(runtime).formats
    for name, precisions in PRECISIONS.items():
        if name in reads and precision in precisions:
            return name
    raise UsageError(
        f"no {precision} network can be written for {runtime}, which reads {', '.join(reads)}; "
        f"what can be written is {_written()}."
    )


def write(
    network: ModelSpec | Sequence[layers.Layer],
    format_name: str,
    precision: str,
    path: Path,
    *,
    seed: int = 0,
    input_shape: Dims | None = None,
) -> Path:
    """Write a network to `path`, input `image` and output `logits`; return the path.

    Args:
        network: a spec, or layers as `layers.lower` gives them for a square input.
        format_name: a key of `PRECISIONS`, and `precision` one of its values.
        seed: the same seed gives the same file.
        input_shape: (C, S, S) of layers; a spec has its own.

    Raises:
        UsageError: format, precision or layers cannot be written.
        UnavailableError: the package that knows the format is not installed.
        DiskError: the file cannot be written.
    """
    made = content(network, format_name, precision, seed=seed, input_shape=input_shape)
    replace_file(path, made)
    return path


def content(
    network: ModelSpec | Sequence[layers.Layer],
    format_name: str,
    precision: str,
    *,
    seed: int = 0,
    input_shape: Dims | None = None,
) -> bytes:
    """Return the bytes that `write` writes, and raise as it does."""
    if precision not in PRECISIONS.get(format_name, ()):
        raise UsageError(
            f"no graph in {format_name} {precision} can be written; allowed: {_written()}."
        )
    from edgecnn.latency.graphs import plan

    if isinstance(network, ModelSpec):
        planned = plan.plan(network.name, layers.lower(network), network.input_shape)
    else:
        planned = plan.plan("layers", network, _checked(input_shape))
    noise = plan.Noise(seed)
    try:
        if format_name == "onnx":
            from edgecnn.latency.graphs import onnx_

            return onnx_.content(planned, precision, noise)
        from edgecnn.latency.graphs import tflite_

        return tflite_.content(planned, precision, noise)
    except ImportError as error:
        raise UnavailableError(
            f"writing {format_name} needs {error.name}. Install it with: pip install "
            '"edgecnn[export]"'
        ) from error


def _written() -> str:
    return ", ".join(f"{name} {p}" for name, ps in PRECISIONS.items() for p in ps)


def _checked(shape: Dims | None) -> Dims:
    if shape is None or len(shape) != 3 or shape[1] != shape[2] or min(shape) < 1:
        raise UsageError(
            f"the input of layers has the shape {shape}; pass input_shape=(channels, size, size)."
        )
    return shape
