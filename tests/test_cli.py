"""The commands: one JSON document on stdout, the exit codes of the design, every one documented."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_onnx
from click.testing import CliRunner, Result

from edgecnn import cli, discovery, export, runtimes
from edgecnn.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    EXIT_VERDICT_FAILED,
)

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = discovery.names("edgecnn.cli")
QUICK = ["--runs", "5", "--seconds", "0"]


def edgecnn(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_onnx.artifact(tmp_path / "tiny.onnx").path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes with three pictures each, one of them damaged."""
    random = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for index in range(6):
        file = folder / str(index % 2) / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), random.integers(0, 256, (40, 40, 3), np.uint8))
    (folder / "0" / "0.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    result = edgecnn(name, "--help")
    assert result.exit_code == 0
    for option in ("--json", "--debug"):
        assert option in result.output
    assert f"edgecnn {name}" in (ROOT / "README.md").read_text()


def test_every_format_and_runtime_is_documented() -> None:
    text = (ROOT / "README.md").read_text()
    for name in export.names():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert ", ".join(export.get(name).precisions) in row
        readers = set(runtimes.reading(name)) - {"null"}
        assert all(f"`{runtime}`" in row for runtime in readers), row


def test_help_lists_every_command_with_a_whole_sentence() -> None:
    listing = edgecnn("--help").output
    for name in COMMANDS:
        (line,) = [line for line in listing.splitlines() if line.strip().startswith(f"{name} ")]
        assert line.endswith("."), line
        assert "..." not in line


def test_nothing_heavy_is_imported_for_help_or_by_the_package() -> None:
    code = (
        "import sys, edgecnn, edgecnn.cli\n"
        "edgecnn.cli.main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'onnx', 'cv2', 'onnxruntime', 'rich', 'numpy')"
        " if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_models() -> None:
    rows = document(edgecnn("models", "--family", "mobilenet_v3", "--json"))
    assert {"name", "family", "params", "macs", "imgsz", "top1", "top1_source"} <= set(rows[0])
    small = next(row for row in rows if row["name"] == "mobilenet_v3_small")
    assert small["params"] == 2_542_856
    assert "mobilenet_v3_small" in edgecnn("models").output


def test_describe() -> None:
    found = document(edgecnn("describe", "mobilenet_v2", "--imgsz", "96", "--json"))
    assert found["imgsz"] == 96
    assert found["params"] == 3_504_872
    assert sum(layer["params"] for layer in found["layers"]) == found["params"]
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]
    assert found["layers"][-1]["out_shape"] == [1000]
    assert found["peak_activation_bytes"] == max(l["live_bytes"] for l in found["layers"])  # noqa: E741


def test_describe_an_onnx_file(model: Path) -> None:
    found = document(edgecnn("describe", model, "--json"))
    conv_and_gemm = 32 * 32 * 8 * 3 * 9 + 8 * 10
    assert found["macs"] == conv_and_gemm


def test_profile(model: Path) -> None:
    result = edgecnn("profile", model, "--runtime", "ort", "--per-layer", "--json", *QUICK)
    found = document(result)
    assert set(found["latency_ms"]) == {"p50", "p90", "p95", "p99", "min", "max", "mean"}
    assert found["runs"] == len(found["samples_ns"]) >= 5
    assert found["layers"] and {"name", "op", "ms"} == set(found["layers"][0])
    assert found["runtime"] == "ort" and found["threads"] == 1
    assert found["environment"]["cpu_model"]


def test_profile_ranks_the_installed_runtimes(model: Path) -> None:
    result = edgecnn("profile", model, "--runtime", "auto", "--json", *QUICK)
    ranking = document(result)["ranking"]
    medians = [row["latency_ms"]["p50"] for row in ranking]
    assert "ort" in {row["runtime"] for row in ranking}
    assert medians == sorted(medians)


def test_a_missed_target_is_a_failed_verdict_and_the_file_is_kept(
    model: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "profile.json"
    result = edgecnn(
        "profile", model, "--runtime", "ort", "--target-ms", "0.000001", "--output", saved, *QUICK
    )
    assert result.exit_code == EXIT_VERDICT_FAILED
    assert "the target is 1e-06 ms" in result.stderr
    assert json.loads(saved.read_text())["passed"] is False


def test_evaluate(model: Path, pictures: Path) -> None:
    result = edgecnn("evaluate", model, "--data", pictures, "--reference", model, "--json")
    found = document(result)
    assert found["images"] == 5
    assert found["agreement"] == 100.0
    assert found["drop"] == 0.0
    low, high = found["top1_ci95"]
    assert low <= found["top1"] <= high
    assert "0.png" in result.stderr


def test_evaluate_gate(model: Path, pictures: Path) -> None:
    result = edgecnn("evaluate", model, "--data", pictures, "--min-top1", 100)
    assert result.exit_code == EXIT_VERDICT_FAILED
    assert "below 100 %" in result.stderr


def test_doctor_names_what_each_command_needs() -> None:
    checks = document(edgecnn("doctor", "--json"))
    needed = {check["needed_for"] for check in checks}
    assert any("edgecnn export" in text for text in needed)
    assert all(check["found"] or check["remedy"].startswith("pip install") for check in checks)


def damaged(kind: str, tmp_path: Path) -> Path:
    file = tmp_path / f"bad.{kind}"
    file.write_bytes(b"\x08\x0a\x12\x04junk, not a model")
    return file


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["models", "--family", "densenet"], EXIT_USAGE, "allowed: alexnet,"),
        (["describe", "mobilenet_v9"], EXIT_BAD_INPUT, "did you mean mobilenet_v"),
        (["describe", "mobilenet_v2@q3"], EXIT_BAD_INPUT, "not understood"),
        (["profile", "gone.onnx"], EXIT_BAD_INPUT, "no such file"),
        (["profile", "{onnx}"], EXIT_BAD_INPUT, "not a complete ONNX file"),
        (["profile", "{tflite}"], EXIT_BAD_INPUT, "not a complete TFLite file"),
        (["profile", "{model}", "--runtime", "litert"], EXIT_USAGE, "opens tflite files, not onnx"),
        (["profile", "{model}", "--runtime", "fast"], EXIT_USAGE, "unknown runtime 'fast'"),
        (["profile", "{model}", "--device", "toaster"], EXIT_UNAVAILABLE,
         "allowed: cuda[:N], emulated:NAME, local"),
        (["profile", "{model}", "--device", "emulated:toaster"], EXIT_USAGE, "unknown board"),
        (["profile", "{model}", "--device", "emulated:rpi4", "--target-ms", "9"], EXIT_USAGE,
         "has none: its processor is emulated"),
        (["profile", "{model}", "--device", "local", "--device", "local"], EXIT_USAGE,
         "more than once"),
        (["profile", "{model}", "--pin", "99"], EXIT_USAGE, "99"),
        (["select", "--target-ms", "5", "--device", "emulated:rpi4", "mobilenet_v2"], EXIT_USAGE,
         "no latency to select by"),
        (["device", "setup", "local"], EXIT_USAGE, "needs no setup"),
        (["device", "check", "toaster"], EXIT_UNAVAILABLE, "unknown device"),
        (["evaluate", "{model}", "--data", "{empty}"], EXIT_BAD_INPUT, "no images"),
        (["evaluate", "{model}", "--data", "{pictures}", "--max-drop", "1"], EXIT_USAGE,
         "--reference"),
        (["evaluate", "{model}", "--data", "{pictures}", "--mean", "1", "1", "1"], EXIT_USAGE,
         "states its own preprocessing"),
        (["export", "mobilenet_v2", "--format", "caffe"], EXIT_USAGE, "allowed: "),
        (["export", "mobilenet_v2", "--format", "onnx", "--precision", "int8"], EXIT_USAGE,
         "allowed: fp32"),
        (["select", "--target-ms", "-1", "mobilenet_v2"], EXIT_USAGE, "must be above 0"),
        (["select", "--target-ms", "5", "nonsense"], EXIT_BAD_INPUT, "unknown model"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_message(
    arguments: list[str], code: int, message: str, model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {
        "onnx": damaged("onnx", tmp_path), "tflite": damaged("tflite", tmp_path), "model": model,
        "pictures": pictures, "empty": tmp_path / "empty",
    }  # fmt: skip
    result = edgecnn(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = edgecnn("profile", tmp_path / "gone.onnx", "--debug")
    assert result.exit_code == EXIT_BAD_INPUT
    assert "Traceback" in result.stderr


def test_an_interruption_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgecnn.describe.describe", interrupt)
    result = edgecnn("describe", "mobilenet_v2")
    assert result.exit_code == EXIT_INTERRUPTED
    assert "Traceback" not in result.output
