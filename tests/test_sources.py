"""Every way to name a model, and every way to get it wrong."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn import sources
from edgecnn.errors import EXIT_BAD_INPUT, EdgecnnError, SourceError, SpecError, WeightsError

torch = pytest.importorskip("torch")

CODE = """
import torch

def net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Dropout(0.9), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, 10),
    )

def number(): return 3
def boom(): raise RuntimeError("inside")
def maps(): return torch.nn.Conv2d(3, 4, 3)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_the_zoo_with_packaged_weights(lite0_weights: None) -> None:
    source = sources.resolve("efficientnet_lite0")
    assert source.provenance.kind == "package"
    assert (source.imgsz, source.num_classes, source.crop_pct) == (224, 1000, 0.875)
    assert (source.mean, source.std) == ((127.0,) * 3, (128.0,) * 3)
    assert source.module is not None
    assert not source.module.training
    assert not sources.is_foreign("efficientnet_lite0")


def test_random_weights_are_explicit_seeded_and_recorded() -> None:
    text = "mobilenet_v3_small@w0.5,r64"
    with pytest.raises(WeightsError, match="--weights random"):
        sources.resolve(text)
    before = torch.random.get_rng_state()
    first, again, other = (
        sources.resolve(text, weights="random", seed=seed, num_classes=5) for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    digests = [_digest(source) for source in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]
    assert str(first.provenance) == "random:seed 0"
    assert first.num_classes == 5


def _digest(source: sources.Source) -> str:
    from edgecnn.weights import state_digest

    assert source.module is not None
    return state_digest(source.module)


def test_the_resolution_can_be_chosen() -> None:
    source = sources.resolve("mobilenet_v3_small", weights="random", imgsz=96)
    assert (source.imgsz, source.name) == (96, "mobilenet_v3_small@r96")


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="another model"):
        sources.resolve("mobilenet_v3_small", weights=str(path))


def test_timm(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    source = sources.resolve("timm:mobilenetv3_small_050", weights="random", num_classes=7)
    assert source.num_classes == 7
    assert source.crop_pct == 0.875
    assert source.mean == (123.675, 116.28, 103.53)
    path = tmp_path / "w.pth"
    assert source.module is not None
    torch.save(source.module.state_dict(), path)
    again = sources.resolve("timm:mobilenetv3_small_050", weights=str(path), num_classes=7)
    assert again.provenance.kind == "file"
    assert _digest(again) == _digest(source)
    with pytest.raises(SourceError, match="no model 'nosuchnet'"):
        sources.resolve("timm:nosuchnet")
    with pytest.raises(WeightsError, match="no trained weights"):
        sources.resolve("timm:mobilenetv2_035")


def test_timms_trained_weights_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    reference = timm.create_model("mobilenetv3_small_050").eval()
    cached = tmp_path / "model.safetensors"
    save_file(reference.state_dict(), cached)
    monkeypatch.setattr(sources.hub, "in_timm_cache", lambda name: cached)
    source = sources.resolve("timm:mobilenetv3_small_050")
    assert source.provenance.kind == "timm"
    assert source.module is not None
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(source.module(image), reference(image))
    with pytest.raises(SourceError, match="1000 classes, not 7"):
        sources.resolve("timm:mobilenetv3_small_050", num_classes=7)


def test_torchvision() -> None:
    pytest.importorskip("torchvision")
    source = sources.resolve("torchvision:mobilenet_v3_small", weights="random")
    assert (source.imgsz, source.interpolation, source.num_classes) == (224, "bilinear", 1000)
    with pytest.raises(SourceError, match="near: mobilenet_v3_small"):
        sources.resolve("torchvision:mobilenet_v3_smal")
    with pytest.raises(SourceError, match="no classifier"):
        sources.resolve("torchvision:fasterrcnn_resnet50_fpn")


def test_own_code(mine: Path) -> None:
    source = sources.resolve(f"{mine}:net", imgsz=32)
    assert source.num_classes == 10
    assert source.mean is None
    assert source.provenance.kind == "code"
    assert source.module is not None
    assert not source.module.training


@pytest.mark.parametrize(
    ("name", "imgsz", "named"),
    [
        ("net", None, "--imgsz"),
        ("number", 32, "returned a int"),
        ("boom", 32, "RuntimeError: inside"),
        ("maps", 32, "logits"),
        ("nothing", 32, "no callable 'nothing'; it has: net"),
        ("net", 2, "does not take a float image"),
    ],
)
def test_own_code_that_is_no_classifier(
    mine: Path, name: str, imgsz: int | None, named: str
) -> None:
    with pytest.raises(SourceError, match=named):
        sources.resolve(f"{mine}:{name}", imgsz=imgsz)


def test_own_code_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import a_module_that_nobody_has")
    with pytest.raises(SourceError, match="a_module_that_nobody_has"):
        sources.resolve(f"{broken}:net", imgsz=32)
    with pytest.raises(SourceError, match="no such file"):
        sources.resolve(f"{tmp_path / 'absent.py'}:net", imgsz=32)


@pytest.mark.parametrize("name", ["absent.onnx", "absent.pt2"])
def test_absent_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="no such file") as caught:
        sources.resolve(str(tmp_path / name))
    assert caught.value.exit_code == EXIT_BAD_INPUT


# ----------------------------------------------------------------------------------------- ONNX


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    onnx = pytest.importorskip("onnx")
    import numpy as np

    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((5, 3), np.float32), "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 5])
    graph = helper.make_graph(nodes, "g", [image], [logits], [weight])
    path = tmp_path_factory.mktemp("onnx") / "five.onnx"
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_onnx(onnx_file: Path) -> None:
    source = sources.resolve(str(onnx_file))
    assert source.module is None
    assert (source.path, source.imgsz, source.num_classes) == (onnx_file, 32, 5)
    with pytest.raises(SourceError, match="takes 32 px"):
        sources.resolve(str(onnx_file), imgsz=64)
    with pytest.raises(SourceError, match="own weights"):
        sources.resolve(str(onnx_file), weights="random")


@pytest.mark.parametrize("length", [0, 1, 10, 100, -10])
def test_a_truncated_onnx_file_is_refused(onnx_file: Path, tmp_path: Path, length: int) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(onnx_file.read_bytes()[:length])
    with pytest.raises(SourceError, match=r"cut\.onnx"):
        sources.resolve(str(cut))


# ------------------------------------------------------------------------------------------ pt2


@pytest.fixture(scope="module")
def pt2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2),
        torch.nn.BatchNorm2d(4),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 6),
    ).eval()
    path = tmp_path_factory.mktemp("pt2") / "six.pt2"
    torch.export.save(torch.export.export(module, (torch.rand(1, 3, 32, 32),)), path)
    return path


def test_pt2(pt2_file: Path) -> None:
    source = sources.resolve(str(pt2_file))
    assert (source.imgsz, source.num_classes) == (32, 6)
    assert source.provenance.kind == "file"
    image = torch.rand(1, 3, 32, 32)
    expected = torch.export.load(pt2_file).module()(image)
    assert source.module is not None
    assert torch.equal(source.module(image), expected)


def _rewritten(path: Path, target: Path, change: dict[str, Callable[[bytes], bytes]]) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            key = name.partition("/")[2]
            new.writestr(name, change.pop(key, bytes)(old.read(name)))
        for key, make in change.items():
            new.writestr(f"{path.stem}/{key}", make(b""))
    return target


def _json_edit(edit: Callable[[dict], None]) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        document = json.loads(content)
        edit(document)
        return json.dumps(document).encode()

    return change


GRAPH, CONFIG = "models/model.json", "data/weights/model_weights_config.json"
INPUTS = "data/sample_inputs/model.pt"


def _call_site(graph: dict) -> dict:
    return graph["graph_module"]["module_call_graph"][0]["signature"]


def _first_weight(config: dict) -> dict:
    return next(iter(config["config"].values()))


class _Bomb:
    def __reduce__(self) -> tuple:
        return print, ("executed",)


def _pickled(_: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save((_Bomb(),), buffer)
    return buffer.getvalue()


ATTACKS = {
    "guards": {GRAPH: _json_edit(lambda g: g.update(guards_code=["print('executed')"]))},
    "argument": {
        GRAPH: _json_edit(lambda g: _call_site(g).update(forward_arg_names=["x=print('executed')"]))
    },
    "operator": {
        GRAPH: _json_edit(
            lambda g: g["graph_module"]["graph"]["nodes"][0].update(target="torch.os.system")
        )
    },
    "dunder": {
        GRAPH: _json_edit(
            lambda g: g["graph_module"]["graph"]["nodes"][0].update(
                target="torch.ops.aten.__class__.mro"
            )
        )
    },
    "tree": {
        GRAPH: _json_edit(
            lambda g: _call_site(g).update(
                in_spec='[1, {"type": "evil.module", "context": "null", "children_spec": []}]'
            )
        )
    },
    "weight": {CONFIG: _json_edit(lambda c: _first_weight(c).update(use_pickle=True))},
    "object": {
        "data/constants/model_constants_config.json": _json_edit(
            lambda c: c["config"].update(x={"path_name": "opaque_obj_0", "use_pickle": False})
        )
    },
    "inputs": {INPUTS: _pickled},
    "raw inputs": {INPUTS: lambda _: pickle.dumps(_Bomb())},
    "old format": {"data/weights/model.pt": _pickled},
    "compiled": {"data/aotinductor/model/x.so": lambda _: b"\x7fELF"},
    "not json": {GRAPH: lambda _: b"{"},
}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_a_pt2_that_would_execute_something_is_refused(
    pt2_file: Path, tmp_path: Path, attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = _rewritten(pt2_file, tmp_path / "six.pt2", dict(ATTACKS[attack]))
    with pytest.raises(SourceError, match=r"six\.pt2"):
        sources.resolve(str(bad))
    assert "executed" not in capsys.readouterr().out


def test_rewriting_alone_does_no_harm(pt2_file: Path, tmp_path: Path) -> None:
    """The attacks above are refused for what they hold, not for how they were written."""
    same = _rewritten(pt2_file, tmp_path / "six.pt2", {})
    assert sources.resolve(str(same)).num_classes == 6


def test_a_damaged_pt2_is_refused(pt2_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt2"
    for content in (b"", b"hello", pt2_file.read_bytes()[:3000]):
        bad.write_bytes(content)
        with pytest.raises(SourceError, match=r"bad\.pt2"):
            sources.resolve(str(bad))


def test_unknown_names_are_bad_input() -> None:
    for text in ("nosuchnet", "", "timm", "a@b"):
        with pytest.raises(SpecError) as caught:
            sources.resolve(text)
        assert isinstance(caught.value, EdgecnnError)
        assert caught.value.exit_code == EXIT_BAD_INPUT
