"""Trained weights that are kept: for the few networks that are exported after a search."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch

from edgecnn import train
from edgecnn.files import replace_file
from edgecnn.network import build
from edgecnn.sources import Source
from edgecnn.spec import ModelSpec
from edgecnn.train_data import Pictures
from edgecnn.weights import Provenance


def source(
    spec: ModelSpec,
    pictures: Pictures,
    recipe: train.Recipe,
    work: Path,
    watch: train.Watch = lambda epoch: None,
) -> tuple[Source, train.Trained]:
    """A network with the weights of `recipe`, ready for export, and the accuracy they have.

    A search keeps accuracies, not weights: where there are none in `work`, the network is trained
    again. The same recipe gives the same weights on the same machine. Raises as `train.fit`,
    DiskError.
    """
    spec = pictures.adapted(spec)
    key = train.key(spec, pictures, recipe)
    weights, result = work / "weights" / f"{key}.pt", work / "trained" / f"{key}.json"
    if weights.exists() and result.exists():
        module = build(spec)
        state = torch.load(weights, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
        trained = train.Trained.load(result)
    else:
        module, trained = train.fit(spec, pictures, recipe, watch)
        content = io.BytesIO()
        torch.save(module.state_dict(), content)
        replace_file(weights, content.getvalue())
        trained.save(result)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    c = spec.conventions
    return Source(
        name=spec.name,
        text=spec.name,
        provenance=Provenance("file", f"proxy {recipe.digest}", digest),
        num_classes=spec.num_classes,
        imgsz=spec.resolution,
        mean=c.mean,
        std=c.std,
        crop_pct=c.crop_pct,
        interpolation=c.interpolation,
        module=module.to(memory_format=torch.contiguous_format).eval(),
        spec=spec,
    ), trained
