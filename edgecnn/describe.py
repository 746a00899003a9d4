"""The workload of any model that can be named, whether or not it is of the zoo."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn import families, onnx_graph, sources, tflite_graph, workload
from edgecnn.errors import SourceError
from edgecnn.workload import Workload

FOLDED = "rows are of the exported graph, where batch normalization is folded into convolutions"


@dataclass(frozen=True)
class Description:
    """A model's operators, its number of parameters as trained, and what to know of the rows."""

    workload: Workload
    params: int
    note: str = ""


def describe(model: str, imgsz: int | None = None, activation: str | None = None) -> Description:
    """Describe a model; see `sources.resolve` for the ways to name one.

    A zoo model needs no torch. Another model is exported to ONNX with random weights, in a
    temporary folder, and its graph is read. `activation` replaces that of a zoo model's rows.

    Raises:
        SpecError, SourceError: the model is unknown or broken.
        UsageError: an activation is given for a model that is not of the zoo.
        UnavailableError: the packages of edgecnn[export] are needed and absent.
    """
    if activation is not None:
        sources.require_rows(model)
    if model.endswith(".onnx"):
        found = onnx_graph.workload(Path(model))
        return Description(found, found.params)
    if model.endswith(".tflite"):
        found = tflite_graph.workload(Path(model))
        return Description(found, found.params)
    if sources.is_foreign(model):
        return _through_onnx(model, imgsz)
    spec = families.get(model)
    spec = spec if imgsz is None else spec.scaled(resolution=imgsz)
    found = workload.from_spec(spec if activation is None else spec.with_activation(activation))
    return Description(found, found.params)


def _through_onnx(model: str, imgsz: int | None) -> Description:
    from edgecnn import export
    from edgecnn.contract import Recipe

    exporter = export.required("onnx")
    # A program saved by torch.export carries its weights and takes no others.
    weights = "auto" if model.endswith(".pt2") else "random"
    source = sources.resolve(model, weights=weights, imgsz=imgsz)
    if source.module is None or source.imgsz is None:
        raise SourceError(f"{model} does not say its input size; pass --imgsz.")
    with tempfile.TemporaryDirectory(prefix="edgecnn-") as folder:
        path = Path(folder) / "model.onnx"
        exporter.convert(source, Recipe.parse("fp32"), path, calibration=None, uint8_input=False)
        found = onnx_graph.workload(path)
    params = sum(parameter.numel() for parameter in source.module.parameters())
    return Description(replace(found, name=source.name), params, FOLDED)
