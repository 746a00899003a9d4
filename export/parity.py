"""The verdict on an exported file: does it compute what the PyTorch original computes?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.contract import Parity, Recipe

Logits = NDArray[np.float32]
Values = NDArray[np.float64]

_SURE = 0.5
_MIN_SURE_IMAGES = 8
_LARGEST = float(np.finfo(np.float32).max)
"""Stands for a difference that is infinite or not a number, which JSON cannot hold."""


@dataclass(frozen=True)
class Limits:
    """What a precision may cost.

    ``images`` are compared. ``span_share`` limits the largest difference of a logit, as a share of
    the span of the original's logits (largest minus smallest over all images); None where single
    logits may stray. ``cosine`` is the least allowed for an image. ``agreement`` is the least
    share of images with the same top-1, among those on which the original is sure (softmax of at
    least 0.5): on the others, and with untrained weights, the best two classes lie closer than any
    rounding.
    """

    images: int
    span_share: float | None
    cosine: float
    agreement: float
    why: str


LIMITS = {
    "fp32": Limits(
        16, 1e-4, 0.9999, 1.0,
        "another order of summation: some hundred roundings to 2^-24 each",
    ),
    "fp16": Limits(
        16, 2e-2, 0.999, 0.95,
        "weights, and on some runtimes activations, rounded to 2^-11",
    ),
    "w8a32": Limits(
        32, None, 0.9, 0.9,
        "weights, and on some runtimes activations, rounded to 8 bits with a range per channel",
    ),
    "w8a16": Limits(32, None, 0.9, 0.9, "weights rounded to 8 bits with a range per channel"),
    "w8a8": Limits(
        32, None, 0.9, 0.9,
        "every tensor rounded to 8 bits; EfficientNet-Lite keeps 0.97 on its worst photographs and "
        "0.94 on blurred cut-outs, a broken scale or a wrong layout gives cosines near 0",
    ),
}  # fmt: skip


def judge(
    reference: Sequence[Logits], exported: Sequence[Logits], recipe: Recipe, inputs: str
) -> Parity:
    """Compare logits, image by image.

    Args:
        reference: what the original gave for each image, any shape with one value per class.
        exported: what the file gave for the same images.
        inputs: what the images are, for the reader of the verdict.
    """
    a = np.stack([logits.reshape(-1) for logits in reference]).astype(np.float64)
    b = np.stack([logits.reshape(-1) for logits in exported]).astype(np.float64)
    if a.shape != b.shape:
        reason = f"the original gives {a.shape[1]} logits, the file {b.shape[1]}"
        return Parity(len(a), inputs, _LARGEST, _LARGEST, 0.0, 0.0, passed=False, reason=reason)
    if not np.isfinite(b).all():
        reason = "the file gives values that are not finite numbers"
        return Parity(len(a), inputs, _LARGEST, _LARGEST, 0.0, 0.0, passed=False, reason=reason)
    difference = np.abs(a - b)
    same = a.argmax(axis=1) == b.argmax(axis=1)
    cosine = float(_cosines(a, b).min())
    faults = _faults(LIMITS[str(recipe)], a, float(difference.max()), cosine, same)
    return Parity(
        images=len(a),
        inputs=inputs,
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        cosine=cosine,
        top1_agreement=float(same.mean()),
        passed=not faults,
        reason="; ".join(faults),
    )


def _faults(
    limits: Limits, reference: Values, max_abs: float, cosine: float, same: NDArray[np.bool_]
) -> list[str]:
    """Return in words what lies outside the limits."""
    faults = []
    if limits.span_share is not None:
        allowed = limits.span_share * float(reference.max() - reference.min())
        if max_abs > allowed:
            faults.append(f"logits differ by {max_abs:.3g}, allowed {allowed:.3g}")
    if cosine < limits.cosine:
        faults.append(f"cosine {cosine:.4f}, allowed from {limits.cosine}")
    sure = _confidences(reference) >= _SURE
    if sure.sum() >= _MIN_SURE_IMAGES and same[sure].mean() < limits.agreement:
        faults.append(
            f"top-1 agrees on {same[sure].mean():.0%} of {sure.sum()} images on which the original "
            f"is sure, allowed from {limits.agreement:.0%}"
        )
    return faults


def _confidences(logits: Values) -> Values:
    """Return the softmax score of the best class of each row."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(1.0 / shifted.sum(axis=1))


def lattice_step(outputs: Sequence[Logits]) -> float | None:
    """Return the quantization step of the outputs, or None where they are not multiples of one."""
    values = np.unique(np.concatenate([logits.reshape(-1) for logits in outputs]))
    gaps = np.diff(values.astype(np.float64))
    if gaps.size == 0 or len(values) > 256:
        return None
    step = float(gaps.min())
    multiples = gaps / step
    return step if np.abs(multiples - np.rint(multiples)).max() < 0.05 else None


def _cosines(a: Values, b: Values) -> Values:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = np.einsum("ij,ij->i", a, b)
    # Two all-zero vectors are equal; one of them alone is as far off as can be.
    same = np.all(a == b, axis=1).astype(np.float64)
    return np.asarray(np.where(norms > 0.0, dots / np.where(norms > 0.0, norms, 1.0), same))
