"""A training that is killed, and one that several processes share."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_cases

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.training.checkpoint import BEST, LAST
from edgecnn.training.distributed import ALONE, Peers, connected
from edgecnn.training.loop import _shared_batch

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).with_name("training_worker.py")
TIMEOUT_S = 540.0


def _environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **more}


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_killed_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    data = training_cases.write(tmp_path / "data")
    command = [sys.executable, str(WORKER), str(data), str(tmp_path / "killed"), "20"]
    process = subprocess.Popen(command, env=_environment())
    last = tmp_path / "killed" / LAST
    ends = time.monotonic() + TIMEOUT_S
    while not last.exists() and time.monotonic() < ends:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(torch.load(last, weights_only=True)["training"]["epochs"])
    assert 1 <= done < 20
    training_cases.trained(data, tmp_path / "killed", epochs=20)
    training_cases.trained(data, tmp_path / "whole", epochs=20)
    for name in (LAST, BEST):
        killed, whole = _weights(tmp_path / "killed" / name), _weights(tmp_path / "whole" / name)
        assert all(torch.equal(killed[k], whole[k]) for k in whole)


@pytest.mark.slow
def test_two_processes_hold_one_network_and_share_the_pictures(tmp_path: Path) -> None:
    data = training_cases.write(tmp_path / "data")
    output = tmp_path / "shared"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(WORKER), str(data), str(output), "6",
    ]  # fmt: skip
    subprocess.run(command, env=_environment(OMP_NUM_THREADS="1"), check=True, timeout=TIMEOUT_S)
    told = [json.loads((output / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0]["weights"] == told[1]["weights"]
    assert told[0]["seen"] and not set(told[0]["seen"]) & set(told[1]["seen"])
    # 30 pictures in batches of 8, shared by two: 3 steps of 4 pictures each.
    assert len(told[0]["seen"]) == len(told[1]["seen"]) == 12
    assert told[0]["has_result"] and not told[1]["has_result"]
    result = json.loads((output / "run.json").read_text())
    assert result["processes"] == 2
    assert result["top1"] > 60  # chance is 33


def test_a_batch_is_shared_evenly_or_refused() -> None:
    assert _shared_batch(8, 100, 1) == 8
    assert _shared_batch(8, 5, 1) == 5
    assert _shared_batch(8, 7, 2) == 6
    with pytest.raises(UsageError, match="multiple of 3"):
        _shared_batch(8, 100, 3)
    with pytest.raises(UsageError, match="too few for 4 processes"):
        _shared_batch(4, 100, 4)


def test_shares_are_a_partition() -> None:
    indices = torch.arange(11)
    shares = [Peers(rank, 3).share(indices).tolist() for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(11))
    assert ALONE.share(indices).tolist() == list(range(11))


def test_half_of_torchruns_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UnavailableError, match=r"not WORLD_SIZE.*torchrun"), connected("cpu"):
        pass
