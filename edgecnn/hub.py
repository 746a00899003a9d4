"""Where published checkpoints lie: installed packages, local caches, the hubs behind them.

Looking is free of side effects and of the network; only the `download_*` functions use it.
"""

from __future__ import annotations

import importlib.metadata
import socket
import urllib.parse
import urllib.request
from pathlib import Path

from edgecnn.errors import WeightsError
from edgecnn.spec import Checkpoint

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
TIMM_FILE = "model.safetensors"  # never the pickled pytorch_model.bin beside it
INSTEAD = "Pass --weights FILE, or --weights random for a network that has learnt nothing"


def in_package(distribution: str) -> Path | None:
    """The checkpoint of an installed distribution, found in its file list, importing nothing."""
    try:
        files = importlib.metadata.files(distribution) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.suffix in SUFFIXES and path.is_file():
            return path
    return None


def in_timm_cache(name: str) -> Path | None:
    """A timm checkpoint in the local cache of the Hugging Face hub."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    cached = try_to_load_from_cache(f"timm/{name}", TIMM_FILE)
    return Path(cached) if isinstance(cached, str) and Path(cached).is_file() else None


def in_torchvision_cache(name: str) -> Path | None:
    """A torchvision checkpoint (its default weights) in the local cache of torch.hub."""
    url = torchvision_url(name)
    return _in_torch_hub(url) if url else None


def torchvision_url(name: str) -> str | None:
    """The address of a torchvision model's default weights, or None without torchvision."""
    try:
        from torchvision.models import get_model_weights
    except ImportError:
        return None
    return str(get_model_weights(name).DEFAULT.url)


def _in_torch_hub(url: str) -> Path | None:
    path = _torch_hub_path(url)
    return path if path.is_file() else None


def _torch_hub_path(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def timm_file(name: str) -> Path:
    """The checkpoint of a timm model, its tag optional, cached or downloaded.

    Raises WeightsError where there is none, or it cannot be had.
    """
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise WeightsError(f"timm has no trained weights for {name!r}. {INSTEAD}")
    full = f"{name.partition('.')[0]}.{config.tag}"
    return in_timm_cache(full) or download_timm(full)


def download_timm(name: str) -> Path:
    """Fetch timm's checkpoint `name` into the Hugging Face cache. Raises WeightsError."""
    try:
        from huggingface_hub import constants, hf_hub_download
    except ImportError:
        raise WeightsError(f"timm:{name} needs huggingface_hub (pip install timm)") from None
    _require_network(constants.ENDPOINT, f"timm:{name}")
    try:
        return Path(hf_hub_download(f"timm/{name}", TIMM_FILE))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise WeightsError(f"timm:{name} cannot be downloaded ({reason}). {INSTEAD}") from error


def _require_network(url: str, what: str) -> None:
    """Fail in seconds without a network, where the hub's client would retry for half a minute."""
    if urllib.request.getproxies():
        return
    address = urllib.parse.urlsplit(url)
    port = address.port or {"http": 80}.get(address.scheme, 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError as error:
        raise WeightsError(
            f"{what} cannot be downloaded (no network: {error}). {INSTEAD}"
        ) from error


def download_torchvision(name: str) -> Path:
    """Fetch torchvision's default weights of `name` into the torch.hub cache; hash checked."""
    import torch

    url = torchvision_url(name)
    if url is None:
        raise WeightsError(f"torchvision:{name} needs torchvision (pip install torchvision)")
    _require_network(url, f"torchvision:{name}")
    path = _torch_hub_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (OSError, RuntimeError) as error:
        reason = f"torchvision:{name} cannot be downloaded ({error})"
        raise WeightsError(f"{reason}. {INSTEAD}") from error
    return path


def reference_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """State-dict names of timm's own network in its order; empty for other sources."""
    kind, _, name = checkpoint.source.partition(":")
    if kind != "timm":
        return ()
    import timm
    import torch

    with torch.device("meta"):
        return tuple(timm.create_model(name, pretrained=False).state_dict())
