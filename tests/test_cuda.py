"""On a real NVIDIA GPU: every CUDA runtime's results and stages, measuring, and training.

Without one all of it skips; what can be told without a GPU is in `test_gpu.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import training_cases
from click.testing import CliRunner
from gpu_cases import CUDA, FP16_ATOL, check
from tiny import FLOAT_ATOL

from edgecnn import cli, measure, sources
from edgecnn.comparison import Candidate, Plan
from edgecnn.errors import EXIT_UNAVAILABLE, UnavailableError
from edgecnn.training.augment import Augment
from edgecnn.training.checkpoint import BEST, LAST
from edgecnn.training.result import FILE, Result
from edgecnn.training.run import Callbacks

if not torch.cuda.is_available():
    pytest.skip("PyTorch finds no NVIDIA GPU here", allow_module_level=True)

RUNTIMES = {
    "torch": "pt2",
    "torch_cudagraph": "pt2",
    "torch_compiled": "pt2",
    "ort": "onnx",
    "ort_tensorrt": "onnx",
}
PRECISIONS = {"fp32": FLOAT_ATOL, "fp16": FP16_ATOL}


@pytest.fixture(autouse=True)
def a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", RUNTIMES)
def test_results_are_the_originals_and_stages_take_time(
    name: str, precision: str, tmp_path: Path
) -> None:
    made = tiny.artifact(tmp_path, RUNTIMES[name], precision)
    try:
        session = tiny.session_for(name, made, CUDA)
    except UnavailableError as error:
        if name != "ort_tensorrt":  # its library is a package of its own
            raise
        pytest.skip(str(error))
    check(session, made, PRECISIONS[precision])
    session.close()


@pytest.mark.parametrize("name", ["torch", "torch_cudagraph", "ort"])
def test_pixels_of_a_camera(name: str, tmp_path: Path) -> None:
    """uint8 in, whose program names the device of its export."""
    made = tiny.artifact(tmp_path, RUNTIMES[name], "fp32", uint8_input=True)
    session = tiny.session_for(name, made, CUDA)
    spec = made.single_input()
    pixels = torch.randint(0, 256, spec.shape, dtype=torch.uint8).numpy()
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub(127.0).div(64.0).numpy()
    assert abs(session.run(pixels) - tiny.expected(values)).max() < FLOAT_ATOL
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "torch_cudagraph", "ort"])
def test_measured_in_a_process_of_its_own_with_the_ways_in_and_out(
    name: str, tmp_path: Path
) -> None:
    made = tiny.artifact(tmp_path, RUNTIMES[name])
    tiny.session_for(name, made, CUDA).close()
    plan = Plan(min_runs=50, min_seconds=0.2)
    found = measure.profile(Candidate(made, name, CUDA), plan)
    assert found.device == "cuda:0"
    assert len(found.samples_ns) >= 50
    assert found.transfers is not None
    parts = found.transfers
    assert min(parts.in_ms, parts.compute_ms, parts.out_ms) > 0


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    made = tiny.artifact(tmp_path, "pt2")
    device = f"cuda:{torch.cuda.device_count()}"
    arguments = ["profile", str(made.path), "--runtime", "torch", "--device", device]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == EXIT_UNAVAILABLE, result.stderr
    assert "nvidia-smi" in result.stderr


# Training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_cases.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("amp", [False, True], ids=["fp32", "mixed"])
def test_a_training_learns_and_its_weights_are_any_machines(
    amp: bool, data: Path, tmp_path: Path
) -> None:
    found = training_cases.trained(data, tmp_path, epochs=8, device="cuda", amp=amp)
    assert found.top1 == 100.0
    state = torch.load(tmp_path / BEST, weights_only=True)["state_dict"]
    assert {tensor.device.type for tensor in state.values()} == {"cpu"}
    assert {tensor.dtype for tensor in state.values()} <= {torch.float32, torch.int64}
    source = sources.from_training(tmp_path / BEST)
    assert source is not None and source.module is not None


class KilledError(Exception):
    """Stands in for the end of the process."""


def test_an_interrupted_training_in_mixed_precision_goes_on(data: Path, tmp_path: Path) -> None:
    """On a GPU sums are in any order: as good, and not the same bit by bit."""

    def end(epoch: object) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        training_cases.trained(
            data, tmp_path, Callbacks(epoch=end), epochs=8, device="cuda", amp=True
        )
    assert (tmp_path / LAST).exists() and not (tmp_path / FILE).exists()
    found = training_cases.trained(data, tmp_path, epochs=8, device="cuda", amp=True)
    assert [epoch.number for epoch in found.epochs] == list(range(1, 9))
    assert found.top1 == 100.0


def test_every_augmentation_works_there(data: Path, tmp_path: Path) -> None:
    augment = Augment(mirror=True, shift=2, rotate=5.0, zoom=0.1, cutout=4)
    found = training_cases.trained(data, tmp_path, epochs=1, device="cuda", augment=augment)
    assert found.epochs[-1].loss > 0


def test_a_teacher_and_the_rounding_of_8_bits_work_there(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    training_cases.trained(data, first, epochs=8, device="cuda")
    taught = training_cases.trained(
        data, tmp_path / "taught", epochs=8, device="cuda", teacher=str(first / BEST)
    )
    assert taught.teacher is not None and taught.top1 == 100.0
    tuned = training_cases.trained(
        data, tmp_path / "tuned", epochs=2, device="cuda", weights=str(first / BEST),
        quantize="w8a8", learning_rate=1e-3,
    )  # fmt: skip
    assert tuned.top1_w8a8 == 100.0


@pytest.mark.slow
def test_torchrun_joins_over_nccl(data: Path, tmp_path: Path) -> None:
    """One process, since one GPU cannot be two of NCCL's."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1",
        "-m", "edgecnn", "train", "mobilenet_v3_small@w0.35", "--data", str(data),
        "--output", str(tmp_path / "out"), "--imgsz", "32", "--epochs", "1", "--batch", "8",
        "--held-out", "6", "--device", "cuda", "--amp", "--json",
    ]  # fmt: skip
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["recipe"]["device"] == "cuda" and found["processes"] == 1
    assert Result.load(tmp_path / "out" / FILE).epochs[-1].loss > 0
