"""The network that a training starts from: freshly drawn, or with weights to be tuned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from edgecnn import network, strides, weights
from edgecnn.errors import UsageError
from edgecnn.spec import ModelSpec
from edgecnn.train_data import Pictures
from edgecnn.weights import Found, Origin, Provenance, State


def adapted(
    base: ModelSpec,
    pictures: Pictures,
    text: str,
    imgsz: int | None = None,
    output_stride: int | None = None,
) -> ModelSpec:
    """The network for these pictures and first weights (`random`, `auto` or a checkpoint file).

    Weights bring their conventions, and a checkpoint of `edgecnn train` its rows and resolution
    too; `imgsz` and `output_stride` (`strides.py`) go first. Raises WeightsError where the
    checkpoint is of another model, SpecError where that output stride cannot be had.
    """
    spec = _known_to(base, text)
    if output_stride is not None:
        spec = strides.with_output_stride(spec, output_stride)
    return pictures.adapted(spec.scaled(resolution=imgsz))


def _known_to(base: ModelSpec, text: str) -> ModelSpec:
    if text == "random":
        return base
    if text == "auto":
        return base.with_conventions(weights.find(base).checkpoint.conventions)
    origin = weights.read_checkpoint(Path(text)).origin
    if origin is None:
        return base
    origin.require_network_of(base, Path(text))
    return origin.spec


def first(
    spec: ModelSpec, base: ModelSpec, pictures: Pictures, text: str, seed: int
) -> tuple[nn.Module, Provenance]:
    """The network of `spec` under torch's present seed, with the first weights that `text` names.

    `base` is the model as it was asked for: `auto` looks for its weights. A head for other classes
    starts anew. Raises WeightsError where they are not found or do not fit.
    """
    module = network.build(spec)
    if text == "random":
        return module, Provenance("random", f"seed {seed}", "")
    if text == "auto":
        found = weights.find(base)
        return _from_found(module, spec, base, found)
    path = Path(text)
    state = weights.read_checkpoint(path)
    if state.origin is not None and state.origin.classes != pictures.classes:
        _without_head(module, state.origin, state)
    else:
        weights.load_file(module, path, spec)
    return module, Provenance("file", path.name, weights.sha256_of(path))


def _from_found(
    module: nn.Module, spec: ModelSpec, base: ModelSpec, found: Found
) -> tuple[nn.Module, Provenance]:
    """Published weights; they know their own classes, so the head is kept where it fits alone."""
    original = network.build(replace(spec.with_classes(base.num_classes), checkpoints=()))
    provenance = weights.load_found(original, found)
    _copy_body(module, original, keeps_head=spec.num_classes == base.num_classes)
    return module, provenance


def _without_head(module: nn.Module, origin: Origin, state: State) -> None:
    original = network.build(origin.spec)
    weights.load_into(original, state)
    _copy_body(module, original, keeps_head=False)


def _copy_body(module: nn.Module, original: nn.Module, keeps_head: bool) -> None:
    head = _head(module)
    kept = original.state_dict()
    if not keeps_head:
        kept = {name: tensor for name, tensor in kept.items() if not name.startswith(f"{head}.")}
    module.load_state_dict(kept, strict=False)


def _head(module: nn.Module) -> str:
    """The name of the layer that gives the logits."""
    names: list[str] = [
        name for name, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)
    ]
    if not names:
        raise UsageError("the network has no layer that gives logits.")
    return str(names[-1])
