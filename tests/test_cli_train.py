"""`edgecnn train` as a command: its document, its exit codes, what its checkpoint is good for."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_pictures
import torch
import training_cases
from click.testing import CliRunner, Result

from edgecnn import cli, families, sources
from edgecnn.artifact import Artifact
from edgecnn.errors import (
    EXIT_BAD_INPUT,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    EXIT_VERDICT_FAILED,
    WeightsError,
)

MODEL = "mobilenet_v3_small@w0.35"
QUICK = ["--imgsz", "32", "--epochs", "1", "--batch", "8", "--held-out", "6", "--threads", "1"]


def edgecnn(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def train(data: Path, output: Path, *more: object) -> Result:
    return edgecnn("train", MODEL, "--data", data, "--output", output, *QUICK, *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_cases.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished training, and its document."""
    output = tmp_path_factory.mktemp("done")
    result = train(data, output, "--json")
    assert result.exit_code == 0, result.stderr
    return output, json.loads(result.stdout)


def test_the_document(done: tuple[Path, dict[str, Any]], data: Path) -> None:
    output, found = done
    assert found["model"] == f"{MODEL},r32" and found["data"] == str(data)
    assert found["recipe"]["epochs"] == 1 and found["recipe"]["augment"] == "mirror,shift:4"
    assert len(found["epochs"]) == 1 and found["best_epoch"] == 1
    assert {"torch", "edgecnn", "python"} <= set(found["versions"])
    assert found["checkpoint"] == str(output / "best.pt") and Path(found["checkpoint"]).is_file()
    assert found["command"][:2] == ["edgecnn", "train"]
    assert {"best.pt", "last.pt", "run.json", "curves.svg"} <= {f.name for f in output.iterdir()}


def test_digits_are_not_mirrored_unless_it_is_asked_for(tmp_path: Path) -> None:
    digits = tiny_pictures.write_digits(tmp_path / "mnist")
    for asked, expected in (((), "shift:1,rotate:8"), (("--augment", "mirror"), "mirror")):
        result = edgecnn(
            "train", "lenet1", "--data", digits, "--output", tmp_path / expected, "--epochs", "1",
            "--batch", "8", "--held-out", "0", "--threads", "1", "--json", *asked,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["recipe"]["augment"] == expected
        assert f"augmentation: {expected}" in result.stderr


@pytest.fixture(scope="module")
def changed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A training of a model whose name changes all that a name can, and its checkpoint."""
    model, output = "mobilenet_v2@w0.35,d0.5,r32,gelu_sigmoid", tmp_path_factory.mktemp("changed")
    result = edgecnn("train", model, "--data", data, "--output", output, *QUICK)
    assert result.exit_code == 0, result.stderr
    return model, output / "best.pt"


def test_a_changed_model_is_known_by_its_name(changed: tuple[str, Path]) -> None:
    model, checkpoint = changed
    source = sources.resolve(model, weights=str(checkpoint))
    assert source.spec is not None and source.name == model
    assert source.spec.blocks[:-1] == families.get(model).blocks[:-1]
    assert source.labels == ("blue", "green", "red") and source.imgsz == 32
    for other in ("mobilenet_v2@w0.5", "mobilenet_v2@w0.35,d0.5", "mobilenet_v2"):
        with pytest.raises(WeightsError, match=f"is a checkpoint of {model}"):
            sources.resolve(other, weights=str(checkpoint))


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
def test_a_changed_model_is_exported(
    format_name: str, changed: tuple[str, Path], data: Path, tmp_path: Path
) -> None:
    model, checkpoint = changed
    file = tmp_path / f"model.{format_name}"
    made = edgecnn(
        "export", model, "--format", format_name, "--weights", checkpoint, "--output", file
    )
    assert made.exit_code == 0, made.stderr
    found = edgecnn("evaluate", file, "--data", data / "test", "--json")
    assert found.exit_code == 0, found.stderr
    told = json.loads((checkpoint.parent / "run.json").read_text())
    assert json.loads(found.stdout)["top1"] == told["top1"]


@pytest.mark.slow
def test_the_exported_file_has_the_accuracy_that_was_told(
    done: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    output, told = done
    file = tmp_path / "model.onnx"
    made = edgecnn(
        "export", MODEL, "--format", "onnx", "--weights", output / "best.pt", "--output", file
    )
    assert made.exit_code == 0, made.stderr
    contract = Artifact.load(file).required_contract()
    assert contract.output.labels == ("blue", "green", "red")
    assert (contract.input.imgsz, contract.input.crop_pct) == (32, 1.0)
    found = edgecnn("evaluate", file, "--data", data / "test", "--json")
    assert found.exit_code == 0, found.stderr
    evaluation = json.loads(found.stdout)
    assert evaluation["images"] == told["tested"]
    assert evaluation["top1"] == told["top1"]


def test_a_missed_accuracy_is_a_failed_verdict(
    done: tuple[Path, dict[str, Any]], data: Path
) -> None:
    output, told = done
    result = train(data, output, "--min-top1", 101)
    assert result.exit_code == EXIT_VERDICT_FAILED
    assert f"top-1 is {told['top1']:.2f} %, below 101 %" in result.stderr
    assert (output / "best.pt").is_file()


@pytest.fixture(scope="module")
def places(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data that is bad in several ways."""
    root = tmp_path_factory.mktemp("bad")
    (root / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    tiny_pictures.write(root / "differ" / "train", 4)
    tiny_pictures.write(root / "differ" / "test", 4, classes=("blue", "red"))
    tiny_pictures.write(root / "one", 4, classes=("red",))
    torch.save({"weight": torch.zeros(3)}, root / "foreign.pt")
    (root / "empty").mkdir()
    return {"root": root, "data": data}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "cifar100"], EXIT_BAD_INPUT, "no known data set (mnist, cifar10)"),
        (["--data", "{root}/broken.zip"], EXIT_BAD_INPUT, "neither a folder nor a readable zip"),
        (["--data", "{root}/empty"], EXIT_BAD_INPUT, "no images"),
        (["--data", "{root}/differ"], EXIT_BAD_INPUT, "only in train: green"),
        (["--data", "{root}/one"], EXIT_BAD_INPUT, "of one class, 'red'"),
        (["--data", "{data}", "--weights", "{root}/foreign.pt"], EXIT_BAD_INPUT,
         "another model"),
        (["--data", "{data}", "--weights", "{root}/gone.pt"], EXIT_BAD_INPUT, "no such checkpoint"),
        (["--data", "{data}", "--learning-rate", "1e30", "--warmup", "0"], EXIT_BAD_INPUT,
         "lower learning rate"),
        (["--data", "{data}", "--quantize", "w8a8"], EXIT_USAGE, "train it first"),
        (["--data", "{data}", "--quantize", "w4a4"], EXIT_USAGE, "allowed: w8a8"),
        (["--data", "{data}", "--amp"], EXIT_USAGE, "needs --device cuda"),
        (["--data", "{data}", "--optimizer", "lion"], EXIT_USAGE, "allowed: sgd, adamw"),
        (["--data", "{data}", "--augment", "flip"], EXIT_USAGE, "mirror, shift:PIXELS"),
        (["--data", "{data}", "--teacher", "{root}/foreign.pt"], EXIT_USAGE,
         "does not say what network"),
        (["--data", "{data}/train", "--held-out", "0"], EXIT_USAGE, "--held-out above 0"),
        (["--data", "{data}", "--output-stride", "7"], EXIT_BAD_INPUT, "cannot be had; allowed"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_message(
    arguments: list[str], code: int, message: str, places: dict[str, Path], tmp_path: Path
) -> None:
    given = [argument.format(**places) for argument in arguments]
    result = edgecnn("train", MODEL, "--output", tmp_path / "out", *QUICK, *given)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output and result.stdout == ""
    assert not list(tmp_path.rglob("*.pt"))


def test_an_unknown_model_and_another_training_are_refused(
    done: tuple[Path, dict[str, Any]], data: Path
) -> None:
    result = edgecnn("train", "mobilenet_v9", "--data", data)
    assert result.exit_code == EXIT_BAD_INPUT and "did you mean" in result.stderr
    for foreign in ("timm:resnet18", "network.py:build", "network.onnx"):
        result = edgecnn("train", foreign, "--data", data)
        assert result.exit_code == EXIT_USAGE and "models of the zoo" in result.stderr
    result = train(data, done[0], "--seed", 5)
    assert result.exit_code == EXIT_USAGE
    assert "seed 0 there, 5 here" in " ".join(result.stderr.split())


def test_without_a_gpu_it_is_said(data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    result = train(data, tmp_path, "--device", "cuda")
    assert result.exit_code == EXIT_UNAVAILABLE and "finds no GPU" in result.stderr
