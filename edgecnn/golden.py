"""Whether a file computes here what it computed when it was exported.

The golden sample lies in the file: an input that any machine can make, and the logits that came of
it. A machine that gives others is wrong, however fast it is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn import preprocess
from edgecnn.contract import Contract, Recipe
from edgecnn.profile import GoldenCheck
from edgecnn.runtimes import Session

SAME_RUNTIME = {"fp32": 2e-5, "fp16": 1e-2, "w8a32": 1e-2, "w8a16": 1e-2}
"""How far logits of the same runtime may be off on another machine, as a share of their span. Where
activations are 8-bit, one step is allowed instead."""

INT8_STEPS = 255

OTHER_RUNTIME = {"fp32": 1e-3, "fp16": 2e-2, "w8a32": 2e-2, "w8a16": 5e-2, "w8a8": 5e-2}
"""The same for another runtime than the exporter's, whose kernels round in other places."""


def check(session: Session, contract: Contract, runtime: str) -> GoldenCheck | None:
    """Run the golden sample; None where the file has none (it was not made by edgecnn)."""
    golden = contract.golden
    if golden is None:
        return None
    pixels = preprocess.golden_image(golden.recipe, contract.input.imgsz)
    array = preprocess.from_pixels(pixels, contract.input, session.inputs[0])
    found = preprocess.dequantize(session.run(array), session.outputs[0]).reshape(-1)
    expected = np.asarray(golden.expected)
    limit = golden.atol
    if runtime != golden.runtime:
        limit = max(limit, OTHER_RUNTIME[contract.precision] * _span(expected))
    return compare(found, expected, limit, golden.step)


def compare(
    found: NDArray[Any], expected: NDArray[Any], limit: float, step: float | None
) -> GoldenCheck:
    """Judge logits against expected ones; logits that are no numbers fail."""
    same_shape = found.shape == expected.shape
    max_abs = float(np.abs(found - expected).max()) if same_shape else float("inf")
    # A step that was read off rounded logits is itself known to a per mille only.
    passed = max_abs <= limit * (1.0 + 1e-3)
    finite = np.isfinite(max_abs)
    steps = round(max_abs / step) if step and finite else None
    return GoldenCheck(max_abs, limit, steps, bool(passed))


def same_runtime_atol(precision: str, expected: Sequence[float] | NDArray[Any]) -> float:
    """Return how far the same runtime may be off where logits have no quantization step."""
    return SAME_RUNTIME[precision] * _span(np.asarray(expected))


def int8_step(recipe: Recipe, expected: NDArray[Any]) -> float | None:
    """Return the step that 8-bit logits of this span would have; None for other activations.

    The last layer's result is float32 in our files, so that nothing but its input is rounded.
    """
    return _span(expected) / INT8_STEPS if recipe.activation_bits == 8 else None


def _span(values: NDArray[Any]) -> float:
    return float(values.max() - values.min())
