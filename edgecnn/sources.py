"""Where a model comes from: one text in, one `Source` out.

    efficientnet_lite0            a model of the zoo; `mobilenet_v2@w0.75,r160` scales it
    timm:NAME  torchvision:NAME   a model of those libraries, with their own preprocessing
    FILE.py:CALLABLE              your own code; it is executed, and must return an nn.Module
    FILE.pt2                      a program saved by torch.export
    FILE.onnx                     an ONNX file; it has no torch module

Weights are `auto` (an installed weight package, a cached or downloaded checkpoint), `random`
(seeded, and recorded as such), or a checkpoint file. They are never random in silence.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgecnn import families, hub, weights
from edgecnn.errors import SourceError, UnavailableError, UsageError, WeightsError
from edgecnn.spec import ModelSpec
from edgecnn.weights import Provenance

if TYPE_CHECKING:
    from torch import nn

Numbers = tuple[float, ...]
RANDOM_SEED = 0


@dataclass(frozen=True)
class Source:
    """A model and what is known about it.

    `module` is in eval mode and maps float32 (N, C, imgsz, imgsz) to logits (N, num_classes); it is
    None for an ONNX file, whose `path` is set instead. C is 3, or 1 where `mean` has one value: the
    picture is then made gray. Preprocessing follows the contract: pixels 0 to 255 become
    (x - mean) / std. What a source does not say is None and must come from the user.
    `provenance` says where the weights came from; `spec` is set for models of the zoo; `labels` are
    the names of the classes where the weights say them; `tuned_for` is the precision under whose
    rounding they were trained, and `rounded` the module that rounds so.
    """

    name: str
    text: str
    provenance: Provenance
    num_classes: int
    imgsz: int | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    module: nn.Module | None = None
    path: Path | None = None
    spec: ModelSpec | None = None
    labels: tuple[str, ...] = ()
    tuned_for: str | None = None
    rounded: nn.Module | None = None


@dataclass(frozen=True)
class Request:
    """What the user asked for beside the model itself; None leaves it to the source."""

    weights: str = "auto"
    imgsz: int | None = None
    num_classes: int | None = None
    seed: int = RANDOM_SEED
    activation: str | None = None
    keep_weights: bool = False


def resolve(
    text: str,
    weights: str = "auto",
    imgsz: int | None = None,
    num_classes: int | None = None,
    seed: int = RANDOM_SEED,
    activation: str | None = None,
    keep_weights: bool = False,
) -> Source:
    """Turn a model text into a `Source`.

    `weights` is "auto", "random" or the path of a checkpoint; `imgsz` in pixels overrides the
    resolution; another `num_classes` than the model's own needs random weights or a checkpoint.
    `activation` replaces that of a zoo model's rows (`ModelSpec.with_activation`); with
    `keep_weights` the weights that were trained with the model's own are looked for all the same.
    Raises SpecError (unknown zoo model), SourceError (broken or missing source), WeightsError,
    UsageError (an activation of a model that is not of the zoo).
    """
    request = Request(weights, imgsz, num_classes, seed, activation, keep_weights)
    if activation is not None:
        require_rows(text)
    elif keep_weights:
        raise UsageError("weights are kept where an activation is replaced; pass --activation.")
    reader = next((read for matches, read in _FORMS if matches(text)), _from_zoo)
    return reader(text, request)


def is_foreign(text: str) -> bool:
    """Whether a text names something else than a model of the zoo."""
    return any(matches(text) for matches, _ in _FORMS)


def rows(text: str) -> ModelSpec:
    """The rows of a zoo model, changed where its name says so (`families.get`).

    Raises UsageError where the text names something else, SpecError as `families.get`.
    """
    if is_foreign(text) or text.endswith(".tflite"):
        raise UsageError(
            f"{text} has no rows to train: that is for models of the zoo (`edgecnn models`), whose "
            "names may change them: mobilenet_v2@w0.75,d1.2,r192,gelu."
        )
    return families.get(text)


def require_rows(text: str) -> None:
    """Refuse a model whose activation cannot be replaced. Raises UsageError."""
    if is_foreign(text) or text.endswith(".tflite"):
        raise UsageError(
            f"the activation of {text} cannot be replaced: that is for models of the zoo, whose "
            "rows state theirs."
        )


def _from_zoo(text: str, request: Request) -> Source:
    from edgecnn import network

    spec = families.get(text)
    if request.weights not in ("auto", "random"):
        path = Path(request.weights)
        state = weights.read_checkpoint(path)
        if state.origin is not None:
            state.origin.require_network_of(spec, path)
            return _from_training(text, path, state, state.origin, request)
    spec = _as_asked(spec, text, request)
    found = weights.find(spec) if request.weights == "auto" else None
    if found is not None:
        spec = spec.with_conventions(found.checkpoint.conventions)
    module = _seeded(network.build, request.seed)(spec)
    if found is not None:
        provenance = weights.load_found(module, found)
    elif request.weights == "random":
        provenance = random_provenance(request.seed)
    else:
        provenance = weights.load_file(module, Path(request.weights), spec)
    return _of_spec(text, spec, module, provenance)


def _as_asked(spec: ModelSpec, text: str, request: Request) -> ModelSpec:
    if request.imgsz is not None:
        spec = spec.scaled(resolution=request.imgsz)
    if request.num_classes is not None:
        spec = spec.with_classes(request.num_classes)
    if request.activation is not None:
        spec = spec.with_activation(request.activation, keep_weights=request.keep_weights)
        _require_weights(spec, text, request)
    return spec


def _of_spec(
    text: str,
    spec: ModelSpec,
    module: nn.Module,
    provenance: Provenance,
) -> Source:
    c = spec.conventions
    return Source(
        name=spec.name,
        text=text,
        provenance=provenance,
        num_classes=spec.num_classes,
        imgsz=spec.resolution,
        mean=c.mean,
        std=c.std,
        crop_pct=c.crop_pct,
        interpolation=c.interpolation,
        module=module.eval(),
        spec=spec,
    )


def from_training(path: Path) -> Source | None:
    """The network of a checkpoint of `edgecnn train`, with its classes; None where it is none.

    Raises WeightsError.
    """
    state = weights.read_checkpoint(path)
    if state.origin is None:
        return None
    return _from_training(state.origin.spec.name, path, state, state.origin, Request())


def _from_training(
    text: str, path: Path, state: weights.State, origin: weights.Origin, request: Request
) -> Source:
    """The checkpoint's own rows, conventions and classes; only another resolution or activation
    may be asked."""
    from edgecnn import network

    spec = origin.spec
    if request.num_classes not in (None, spec.num_classes):
        raise WeightsError(
            f"{path} knows {spec.num_classes} classes, not {request.num_classes}; leave "
            "--num-classes out, or train it for others: edgecnn train MODEL --weights FILE."
        )
    if request.imgsz is not None:
        spec = spec.scaled(resolution=request.imgsz)
    if request.activation is not None:
        spec = spec.with_activation(request.activation)
    module = network.build(spec)
    weights.load_into(module, state)
    provenance = Provenance("file", path.name, weights.sha256_of(path))
    source = _of_spec(text, spec, module, provenance)
    rounded = None if origin.tuned_for is None else _rounded(module, state)
    return replace(source, labels=origin.classes, tuned_for=origin.tuned_for, rounded=rounded)


def _rounded(module: nn.Module, state: weights.State) -> nn.Module:
    """The network as it was trained under 8-bit rounding."""
    from edgecnn.training import quantize_aware

    view = quantize_aware.view(module)
    quantize_aware.restore_ranges(view, state.ranges)
    return view.eval()


def _require_weights(spec: ModelSpec, text: str, request: Request) -> None:
    if request.weights == "auto" and not spec.checkpoints and families.get(text).checkpoints:
        raise WeightsError(
            f"the weights of {text} were trained with another activation than {request.activation}."
            " Pass --keep-weights to take them all the same, or --weights FILE or random."
        )


def random_provenance(seed: int) -> Provenance:
    """Weights that nobody trained, reproducible by their seed."""
    return Provenance("random", f"seed {seed}", "")


def _from_timm(text: str, request: Request) -> Source:
    name = text.removeprefix("timm:")
    timm = _library("timm")
    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5])
        raise SourceError(f"timm has no model {name!r}" + (f"; near: {near}" if near else ""))
    build = _seeded(timm.create_model, request.seed)
    if request.weights == "auto":
        file = hub.timm_file(name)
        try:
            # timm reads a named file itself, adapts it, and asks no network for it
            module = build(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{file} does not load into {text}: {error}") from error
        provenance = weights.hub_provenance("timm", name, file)
    else:
        module = build(name, **_classes(request))
        provenance = _own_weights(module, request)
    config = timm.data.resolve_model_data_config(module)
    return _finish(
        text,
        name,
        module,
        request,
        provenance,
        imgsz=config["input_size"][-1],
        mean=_pixels(config["mean"]),
        std=_pixels(config["std"]),
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
    )


def _from_torchvision(text: str, request: Request) -> Source:
    name = text.removeprefix("torchvision:")
    models = _library("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise SourceError(f"torchvision has no classifier {name!r}; near: {', '.join(near)}")
    default = models.get_model_weights(name).DEFAULT
    module = _seeded(models.get_model, request.seed)(name, weights=None, **_classes(request))
    if request.weights == "auto":
        file = hub.in_torchvision_cache(name) or hub.download_torchvision(name)
        weights.load_into(module, weights.read_checkpoint(file))
        provenance = weights.hub_provenance("torchvision", name, file)
    else:
        provenance = _own_weights(module, request)
    transforms = default.transforms()
    return _finish(
        text,
        name,
        module,
        request,
        provenance,
        imgsz=transforms.crop_size[0],
        mean=_pixels(transforms.mean),
        std=_pixels(transforms.std),
        crop_pct=transforms.crop_size[0] / transforms.resize_size[0],
        interpolation=transforms.interpolation.value,
    )


def _from_file(text: str, request: Request) -> Source:
    """FILE.py:CALLABLE. Its weights are its own, so `auto` means: as the callable returns them."""
    from torch import nn

    file, _, name = text.rpartition(":")
    path = _existing(file)
    build = _seeded(_callable(path, name), request.seed)
    module = _user_code(text, build)
    if not isinstance(module, nn.Module):
        raise SourceError(f"{text} returned a {type(module).__name__}, not a torch.nn.Module")
    if request.weights == "auto":
        provenance = Provenance("code", text, weights.state_digest(module))
    else:
        provenance = _own_weights(module, request)
    return _finish(text, name, module, request, provenance)


def _from_pt2(text: str, request: Request) -> Source:
    from edgecnn import pt2

    path = _existing(text)
    if request.weights != "auto":
        raise SourceError(f"{path} holds its own weights; leave --weights at auto")
    provenance = Provenance("file", path.name, weights.sha256_of(path))
    return _finish(text, path.stem, pt2.load(path), request, provenance)


def _from_onnx(text: str, request: Request) -> Source:
    from edgecnn import onnx_graph

    path = _existing(text)
    if request.weights != "auto":
        raise SourceError(f"{path} holds its own weights; leave --weights at auto")
    size, classes = onnx_graph.edges(path)
    if request.imgsz is not None and size is not None and size != request.imgsz:
        raise SourceError(f"{path} takes {size} px, not {request.imgsz}; its shapes are fixed")
    return Source(
        name=path.stem,
        text=text,
        provenance=Provenance("file", path.name, weights.sha256_of(path)),
        num_classes=classes,
        imgsz=size or request.imgsz,
        path=path,
    )


_FORMS: tuple[tuple[Callable[[str], bool], Callable[[str, Request], Source]], ...] = (
    (lambda text: text.startswith("timm:"), _from_timm),
    (lambda text: text.startswith("torchvision:"), _from_torchvision),
    (lambda text: ".py:" in text, _from_file),
    (lambda text: text.endswith(".pt2"), _from_pt2),
    (lambda text: text.endswith(".onnx"), _from_onnx),
)


def _own_weights(module: nn.Module, request: Request) -> Provenance:
    """Weights that the user named: "random", as the module was built, or a checkpoint file."""
    if request.weights == "random":
        return random_provenance(request.seed)
    return weights.load_file(module, Path(request.weights))


def _finish(
    text: str,
    name: str,
    module: nn.Module,
    request: Request,
    provenance: Provenance,
    *,
    imgsz: int | None = None,
    **preprocessing: Any,
) -> Source:
    """Eval mode, the input size, and one forward pass to learn the number of classes."""
    imgsz = request.imgsz or imgsz or _exported_size(module)
    if imgsz is None:
        raise SourceError(f"{text} does not say its input size; pass --imgsz")
    if not _is_exported(module):
        module = module.eval()
    classes = _count_classes(module, imgsz, text)
    if request.num_classes not in (None, classes):
        raise SourceError(
            f"{text} has {classes} classes, not {request.num_classes}; another number needs "
            "--weights FILE or random, and a model whose head can be chosen"
        )
    return Source(
        name=name,
        text=text,
        provenance=provenance,
        num_classes=classes,
        imgsz=imgsz,
        module=module,
        **preprocessing,
    )


def _classes(request: Request) -> dict[str, int]:
    """The option for another head; never with trained weights, whose head it would randomize."""
    if request.num_classes is None or request.weights == "auto":
        return {}
    return {"num_classes": request.num_classes}


def _count_classes(module: nn.Module, imgsz: int, text: str) -> int:
    import torch

    image = torch.zeros(1, 3, imgsz, imgsz)
    try:
        with torch.no_grad():
            output = module(image)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise SourceError(
            f"{text} does not take a float image of (1, 3, {imgsz}, {imgsz}): {reason}. "
            "Pass --imgsz if it wants another size."
        ) from error
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else ()
    if len(shape) != 2 or shape[0] != 1:
        found = shape or type(output).__name__
        raise SourceError(f"{text} returns {found}; a classifier returns logits (1, classes)")
    return int(shape[1])


def _is_exported(module: nn.Module) -> bool:
    """A program of torch.export: its mode is part of its graph, and `eval` would raise."""
    from torch.fx import GraphModule

    return isinstance(module, GraphModule)


def _exported_size(module: nn.Module) -> int | None:
    """The image size that an exported program was traced with, where it says so."""
    graph = getattr(module, "graph", None)
    for node in getattr(graph, "nodes", ()):
        value = node.meta.get("val") if node.op == "placeholder" else None
        shape: tuple[Any, ...] = tuple(getattr(value, "shape", ()))
        if len(shape) == 4 and shape[1] == 3 and isinstance(shape[2], int):
            return shape[2]
    return None


def _existing(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    return path


def _callable(path: Path, name: str) -> Callable[[], Any]:
    spec = importlib.util.spec_from_file_location(f"edgecnn_user_{path.stem}", path)
    loader = spec.loader if spec else None
    if spec is None or loader is None:
        raise SourceError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    _user_code(str(path), lambda: loader.exec_module(module))
    found = getattr(module, name, None)
    if not callable(found):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise SourceError(f"{path} has no callable {name!r}; it has: {', '.join(names) or 'none'}")
    return cast(Callable[[], Any], found)


def _user_code(what: str, run: Callable[[], Any]) -> Any:
    """Run code of the user, any failure of which is a bad source, not a fault of ours."""
    try:
        return run()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SourceError(f"{what} failed when executed: {reason}") from error


def _seeded(function: Callable[..., Any], seed: int) -> Callable[..., Any]:
    """The function, drawing its random numbers from `seed`, the caller's generator untouched."""
    import torch

    def call(*arguments: Any, **options: Any) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return function(*arguments, **options)

    return call


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UnavailableError(f"{package} is not installed: pip install 'edgecnn[zoo]'") from error


def _pixels(values: Iterable[float]) -> Numbers:
    """From the unit interval, as the libraries state mean and deviation, to pixels of 0 to 255."""
    return tuple(round(v * 255, 6) for v in values)
