"""Checkpoints: fitted whole or refused by name, read without executing, found where they lie."""

import pickle
from pathlib import Path

import pytest

from edgecnn import families, hub, weights
from edgecnn.errors import WeightsError

torch = pytest.importorskip("torch")
import noise  # noqa: E402  (needs torch)

from edgecnn import network  # noqa: E402  (needs torch)

SPEC = families.get("mobilenet_v3_small@r64")


@pytest.fixture
def model() -> torch.nn.Module:
    return network.build(SPEC).eval()


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    """Another set of weights under our own names."""
    torch.manual_seed(1)
    state = network.build(SPEC).state_dict()
    return {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}


def _saved(tmp_path: Path, content: object, name: str = "w.pth") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


def _same(model: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
        lambda s: dict(sorted(s.items())),
    ],
    ids=["plain", "state_dict", "model", "module.", "compiled", "no-counters", "sorted"],
)
def test_own_names_load_in_any_wrapping(model, trained, tmp_path, wrap) -> None:
    path = _saved(tmp_path, wrap(trained))
    provenance = weights.load_file(model, path)
    assert _same(model, trained)
    assert provenance.kind == "file"
    assert provenance.sha256 == weights.sha256_of(path)


def test_safetensors_load_by_name(model, trained, tmp_path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "w.safetensors"
    save_file(trained, path)
    weights.load_file(model, path)
    assert _same(model, trained)


def test_missing_and_surplus_keys_are_named(model, trained, tmp_path) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=r"missing keys .*linear.*surplus keys .*other"):
        weights.load_file(model, _saved(tmp_path, _with_renamed_classifier(trained)))
    assert _same(model, before), "a refused checkpoint must leave the network alone"


def _with_renamed_classifier(state: dict) -> dict:
    return {k.replace(".linear.", ".other."): v for k, v in state.items()}


def test_another_shape_is_named(model, trained, tmp_path) -> None:
    key = next(k for k in trained if k.endswith("linear.weight"))
    trained[key] = trained[key][:10]
    with pytest.raises(WeightsError, match=r"linear\.weight is \(1000, 1024\).*\(10, 1024\)"):
        weights.load_file(model, _saved(tmp_path, trained))


def test_another_model_is_refused(model, tmp_path) -> None:
    other = network.build(families.get("mobilenet_v2@w0.35,r64")).state_dict()
    with pytest.raises(WeightsError, match=r"fit|another model"):
        weights.load_file(model, _saved(tmp_path, other))


def test_order_decides_where_names_differ(model, trained, tmp_path) -> None:
    foreign = {f"layer{i}.{k.rpartition('.')[2]}": v for i, (k, v) in enumerate(trained.items())}
    weights.load_file(model, _saved(tmp_path, foreign))
    assert _same(model, trained)
    swapped = dict(
        list(foreign.items())[1:2] + list(foreign.items())[:1] + list(foreign.items())[2:]
    )
    with pytest.raises(WeightsError, match="does not fit"):
        weights.load_file(model, _saved(tmp_path, swapped))


def test_safetensors_of_foreign_names_need_an_order(model, trained, tmp_path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    names = [f"z{(7 * i) % 1000}.{k.rpartition('.')[2]}" for i, k in enumerate(trained)]
    foreign = dict(zip(names, trained.values(), strict=True))
    path = tmp_path / "w.safetensors"
    save_file(foreign, path)
    state = weights.read_checkpoint(path)
    with pytest.raises(WeightsError, match="does not keep the order"):
        weights.load_into(model, state)
    weights.load_into(model, state, reference=names)
    kept = {k: v for k, v in trained.items() if v.is_floating_point()}
    assert all(torch.equal(model.state_dict()[k], v) for k, v in kept.items())


def test_timms_safetensors_load_by_timms_order(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    spec = families.get("mobilenet_v3_small")
    reference = timm.create_model("tf_mobilenetv3_small_100").eval()
    path = tmp_path / "model.safetensors"
    save_file(reference.state_dict(), path)
    ours = network.build(spec).eval()
    weights.load_file(ours, path, spec)
    image = noise.image(spec)
    with torch.no_grad():
        assert torch.allclose(ours(image), reference(image), atol=1e-4)


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("writer", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_is_refused_and_not_executed(tmp_path, writer) -> None:
    proof = tmp_path / "executed"
    path = tmp_path / "bomb.pth"
    writer({"weight": _Bomb(proof)}, path)
    with pytest.raises(WeightsError, match="not plain weights"):
        weights.read_checkpoint(path)
    assert not proof.exists()


def test_a_whole_module_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match="state_dict"):
        weights.read_checkpoint(_saved(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"epoch": 3}, "'epoch' is a int"),
        ([torch.zeros(1)], "holds a list"),
        ({}, "holds a dict"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, named) -> None:
    with pytest.raises(WeightsError, match=named):
        weights.read_checkpoint(_saved(tmp_path, content))


def test_damaged_files_are_refused(trained, tmp_path) -> None:
    whole = _saved(tmp_path, trained).read_bytes()
    for name in ("cut.pth", "cut.safetensors", "cut.ckpt"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match=name):
            weights.read_checkpoint(tmp_path / name)
    for name, content in (
        ("empty.pt", b""),
        ("text.pt", b"hello there"),
        ("zip.pt", b"PK\x05\x06"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            weights.read_checkpoint(tmp_path / name)


def test_absent_files_and_endings_are_named(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no such checkpoint"):
        weights.read_checkpoint(tmp_path / "absent.pth")
    (tmp_path / "w.h5").touch()
    with pytest.raises(WeightsError, match=r"unknown ending.*\.safetensors"):
        weights.read_checkpoint(tmp_path / "w.h5")


# --------------------------------------------------------------------------------------- finding


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches and no network."""

    def refuse(address: object, timeout: float) -> None:
        raise OSError("unreachable in this test")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(hub.socket, "create_connection", refuse)
    monkeypatch.setattr(hub.urllib.request, "getproxies", dict)
    monkeypatch.setattr(hub, "in_package", lambda name: None)
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, file: None)
    return tmp_path


def test_no_weights_says_what_to_pass(offline: Path) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(WeightsError, match=r"timm:.*no network.*torchvision:.*--weights random"):
        weights.find(families.get("mobilenet_v2"))
    with pytest.raises(WeightsError, match="not here: timm:"):
        weights.find(families.get("mobilenet_v2"), download=False)
    with pytest.raises(WeightsError, match="no published weights are known"):
        weights.find(families.get("mobilenet_v2@w0.9"))


def test_a_cached_torchvision_checkpoint_is_found(offline: Path) -> None:
    models = pytest.importorskip("torchvision").models
    reference = models.mobilenet_v3_small(weights=None).eval()
    url = models.MobileNet_V3_Small_Weights.DEFAULT.url
    cached = offline / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    torch.save(reference.state_dict(), cached)

    spec = families.get("mobilenet_v3_small")
    found = weights.find(spec)
    assert found.path == cached
    assert found.checkpoint.source == "torchvision:mobilenet_v3_small"
    home = spec.with_conventions(found.checkpoint.conventions)
    ours = network.build(home).eval()
    assert weights.load_found(ours, found).kind == "torchvision"
    image = noise.image(home)
    with torch.no_grad():
        assert torch.allclose(ours(image), reference(image), atol=1e-4)


def test_a_weight_package_is_found_without_importing_it(lite0_weights: None) -> None:
    found = weights.find(families.get("efficientnet_lite0"), download=False)
    assert found.provenance.kind == "package"
    assert len(found.provenance.sha256) == 64
    assert hub.in_package("a-distribution-that-nobody-has") is None
