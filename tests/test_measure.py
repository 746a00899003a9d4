"""Measuring: fresh processes, interleaved rounds, and what happens when something goes wrong."""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_onnx import artifact, write_onnx

from edgecnn import measure, runtimes
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Comparison, Failure, Plan, paired_ratio
from edgecnn.contract import TensorSpec
from edgecnn.device import LOCAL
from edgecnn.devices.local import LocalHost
from edgecnn.errors import ArtifactError, MeasurementError, UnavailableError, UsageError
from edgecnn.profile import Target
from edgecnn.serving import PROTOCOL
from edgecnn.worker import Worker, timing_input
from edgecnn.worker_process import WorkerProcess, local_command

pytestmark = pytest.mark.alone

QUICK = Plan(min_runs=12, min_seconds=0.01, rounds=3, warmup_seconds=0.2, stages=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifact(tmp_path_factory.mktemp("tiny") / "tiny.onnx")


def test_null_profile_has_everything(tiny: Artifact) -> None:
    plan = replace(QUICK, stages=True, target=Target(p95_ms=1000.0))
    found = measure.profile(Candidate(tiny, "null", threads=3), plan)
    assert (found.runtime, found.threads, found.device) == ("null", 3, "local")
    assert found.sha256 == tiny.sha256
    assert len(found.samples_ns) >= 12
    assert len(found.rounds) >= 3
    assert found.passed is True
    assert found.complete
    assert found.pre_ms is not None and found.pre_ms > 0
    assert found.post_ms is not None and found.post_ms > 0
    assert 0 < found.baseline_rss_bytes <= found.peak_rss_bytes
    assert any("says nothing" in note for note in found.notes)
    assert found.environment.after.busy_cpu_s >= found.environment.before.busy_cpu_s


def test_a_real_runtime_tells_its_layers(tiny: Artifact) -> None:
    found = measure.profile(Candidate(tiny, "ort"), replace(QUICK, per_layer=True))
    assert {"Conv", "Gemm"} <= {layer.op for layer in found.layers}
    assert all(layer.ms >= 0 for layer in found.layers)
    assert found.environment.versions["onnxruntime"]


def test_a_file_without_contract_can_be_measured(tmp_path: Path) -> None:
    foreign = Artifact.load(write_onnx(tmp_path / "foreign.onnx"))
    found = measure.profile(Candidate(foreign, "null"), replace(QUICK, stages=True))
    assert found.pre_ms is None
    assert found.post_ms is not None
    assert found.precision is None


def test_memory_is_the_workers_own(tiny: Artifact) -> None:
    """ru_maxrss survives exec: a big parent would show in it."""
    ballast = np.ones(400_000_000, np.uint8)
    found = measure.profile(Candidate(tiny, "null"), QUICK)
    assert found.peak_rss_bytes < ballast.nbytes / 2


def test_more_time_gives_more_samples(tiny: Artifact) -> None:
    few = measure.profile(Candidate(tiny, "ort"), replace(QUICK, min_seconds=1e-9))
    many = measure.profile(Candidate(tiny, "ort"), replace(QUICK, min_runs=200))
    assert len(few.samples_ns) < 200 <= len(many.samples_ns)
    long = measure.profile(Candidate(tiny, "ort"), replace(QUICK, min_seconds=0.2))
    assert sum(long.samples_ns) >= 0.2e9


def test_interleaved_candidates_have_equal_rounds(tiny: Artifact, tmp_path: Path) -> None:
    bigger = artifact(tmp_path / "bigger.onnx", channels=256)
    order: list[str] = []
    found = measure.interleave(
        [Candidate(tiny, "ort"), Candidate(bigger, "ort")],
        replace(QUICK, min_seconds=0.1, rounds=8),
        progress=lambda what, done, total: order.append(what),
    )
    small, big = found.profiles
    assert not found.failures
    assert len(small.rounds) == len(big.rounds) >= 8
    ratio = paired_ratio(big, small)
    assert ratio.pairs == len(big.rounds)
    assert 1.0 < ratio.low <= ratio.median <= ratio.high
    assert found.ranked()[0].sha256 == tiny.sha256
    assert order.count("measuring") >= 8


def test_sustained_shows_burst_against_steady_state(tiny: Artifact) -> None:
    found = measure.profile(Candidate(tiny, "ort"), replace(QUICK, sustained_s=1.5))
    assert found.sustained is not None
    assert found.sustained.seconds >= 1.5
    assert found.complete
    assert len(found.sustained.trace) == len(found.rounds) >= 2
    assert found.sustained.slowdown == pytest.approx(
        found.sustained.steady_p50_ms / found.sustained.burst_p50_ms
    )
    by_hand = statistics.median(found.samples_ns) / 1e6
    assert min(found.sustained.burst_p50_ms, found.sustained.steady_p50_ms) <= by_hand
    assert by_hand <= max(found.sustained.burst_p50_ms, found.sustained.steady_p50_ms)


def test_auto_takes_every_timed_runtime(tiny: Artifact) -> None:
    names = {candidate.runtime for candidate in measure.candidates(tiny, "auto")}
    assert names == {n for n in runtimes.reading("onnx", LOCAL) if runtimes.get(n).timed}
    assert "ort" in names
    assert "null" not in names


@pytest.mark.parametrize("name", runtimes.names())
def test_each_runtime_is_measured_or_says_why_not(name: str, tiny: Artifact) -> None:
    found = measure.interleave([Candidate(tiny, name)], QUICK)
    if found.profiles:
        assert found.profiles[0].runtime == name
        return
    assert isinstance(found.failures[0].error, UsageError | UnavailableError)
    with pytest.raises(type(found.failures[0].error)):
        found.require_any()


def test_one_failure_does_not_take_the_others_down(tiny: Artifact, tmp_path: Path) -> None:
    truncated = tmp_path / "broken.onnx"
    truncated.write_bytes(tiny.path.read_bytes()[:-40])
    broken = replace(tiny, path=truncated)
    found = measure.interleave([Candidate(broken, "ort"), Candidate(tiny, "null")], QUICK)
    assert [profile.runtime for profile in found.profiles] == ["null"]
    assert isinstance(found.failures[0].error, ArtifactError)


def test_all_failures_are_told_together(tiny: Artifact) -> None:
    failures = tuple(Failure(Candidate(tiny, n), UnavailableError(f"no {n}")) for n in "ab")
    with pytest.raises(UnavailableError, match=r"(?s)none of 2.*no a.*no b"):
        Comparison((), failures).require_any()
    mixed = (failures[0], Failure(Candidate(tiny, "c"), ArtifactError("bad")))
    with pytest.raises(MeasurementError, match="bad"):
        Comparison((), mixed).require_any()


@pytest.mark.parametrize("threads", [0, -1])
def test_thread_counts_are_checked(tiny: Artifact, threads: int) -> None:
    with pytest.raises(UsageError, match="num-threads"):
        Candidate(tiny, "null", threads=threads)


def test_a_passed_deadline_keeps_what_there_is(tiny: Artifact) -> None:
    plan = replace(QUICK, min_runs=10**9, warmup_seconds=0.1, deadline_s=4.0)
    started = time.monotonic()
    with pytest.raises(MeasurementError, match="deadline"):
        measure.profile(Candidate(tiny, "null"), replace(plan, deadline_s=1e-9))
    found = measure.profile(Candidate(tiny, "null"), replace(plan, rounds=10**8))
    assert not found.complete
    assert found.samples_ns
    assert time.monotonic() - started < 20


def _script(tmp_path: Path, body: str) -> list[str]:
    """Return the command of a worker that greets and then does ``body`` on the first request."""
    greeting = json.dumps({"protocol": PROTOCOL, "pid": 1, "baseline_rss_bytes": 1})
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, signal, sys, time\n"
        f"print({greeting!r}, flush=True)\nsys.stdin.readline()\n{body}\n"
    )
    return [sys.executable, str(script)]


def test_a_crash_names_signal_and_last_words(tmp_path: Path) -> None:
    body = "print('about to fall', file=sys.stderr); os.kill(os.getpid(), signal.SIGSEGV)"
    with WorkerProcess(_script(tmp_path, body)) as worker:
        with pytest.raises(MeasurementError, match=r"(?s)SIGSEGV.*about to fall"):
            worker.request("open", 20.0)
        with pytest.raises(MeasurementError, match="died"):
            worker.request("round", 20.0)


def test_an_exception_is_told(tmp_path: Path) -> None:
    with (
        WorkerProcess(_script(tmp_path, "raise RuntimeError('no luck')")) as worker,
        pytest.raises(MeasurementError, match=r"(?s)exit code 1.*no luck"),
    ):
        worker.request("open", 20.0)


def test_a_hanging_worker_is_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    with (
        WorkerProcess(_script(tmp_path, "time.sleep(600)")) as worker,
        pytest.raises(MeasurementError, match="did not finish 'round' within 0 s"),
    ):
        worker.request("round", 0.3)
    assert time.monotonic() - started < 10


def test_a_worker_rests_until_its_threads_sleep() -> None:
    worker, over = Worker(), threading.Event()

    def spin() -> None:
        while not over.is_set():
            pass

    assert worker.rest(5.0)["rested_ms"] < 1000
    spinner = threading.Thread(target=spin)
    spinner.start()
    try:
        assert worker.rest(0.1)["rested_ms"] >= 100
        threading.Timer(0.3, over.set).start()
        assert 200 <= worker.rest(20.0)["rested_ms"] < 5000
    finally:
        over.set()
        spinner.join()


def test_threads_of_onnxruntime_soon_sleep(tiny: Artifact) -> None:
    pytest.importorskip("onnxruntime", minversion="1.26")
    worker, rested_ms = Worker(), []
    worker.open(str(tiny.path), "ort", "local", threads=2)
    for _ in range(5):
        worker.round(runs=3, settle=1)
        rested_ms.append(worker.rest(1.0)["rested_ms"])
    assert min(rested_ms) < 20, "by themselves they spin for 40 ms and more on x86"


@pytest.mark.parametrize("answer", ["nonsense", "[]", '{"ok": 3}', "{}"])
def test_a_wrong_answer_is_an_error(tmp_path: Path, answer: str) -> None:
    with (
        WorkerProcess(_script(tmp_path, f"print({answer!r}, flush=True)")) as worker,
        pytest.raises(MeasurementError, match="answer"),
    ):
        worker.request("open", 20.0)


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", 'print("{\\"protocol\\": 99}", flush=True); input()']
    with pytest.raises(MeasurementError, match="protocol 99"):
        WorkerProcess(command)


def test_unknown_requests_are_refused(tiny: Artifact) -> None:
    with WorkerProcess() as worker:
        for op in ("explode", "_opened", "__init__"):
            with pytest.raises(MeasurementError, match="no request"):
                worker.request(op, 20.0)
        with pytest.raises(MeasurementError, match="before it opened"):
            worker.request("round", 20.0, runs=1, settle=0)


def test_the_worker_imports_little(tiny: Artifact) -> None:
    code = (
        "import sys, io, json\nfrom edgecnn import worker\nw = worker.Worker()\n"
        f"w.open({str(tiny.path)!r}, 'null', 'local', 1)\nw.round(3, 0)\nw.environment()\n"
        "print([m for m in ('torch', 'onnx', 'cv2', 'onnxruntime', 'rich', 'click') "
        "if m in sys.modules])"
    )
    root = Path(measure.__file__).resolve().parent.parent
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert result.stdout.strip() == "[]"


def test_prints_of_a_runtime_do_not_break_the_protocol(tmp_path: Path, tiny: Artifact) -> None:
    code = (
        "import os\nfrom edgecnn import worker\nfrom edgecnn.runtimes import null\n"
        "run = null.NullSession.run\n"
        "def noisy(self, array):\n    os.write(1, b'noise\\n')\n    return run(self, array)\n"
        "null.NullSession.run = noisy\nworker.main()\n"
    )
    root = Path(measure.__file__).resolve().parent.parent
    command = ["env", f"PYTHONPATH={root}", sys.executable, "-c", code]
    found = measure.interleave([Candidate(tiny, "null")], QUICK, host=LocalHost(command))
    assert found.require_any().profiles


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_keeps_what_was_measured_and_ends_the_workers(tiny: Artifact) -> None:
    host = LocalHost()

    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) == ("measuring", 2):
            signal.raise_signal(signal.SIGINT)

    found = measure.interleave(
        [Candidate(tiny, "null"), Candidate(tiny, "ort")], QUICK, progress=interrupt, host=host
    )
    assert found.interrupted
    assert [len(profile.rounds) for profile in found.profiles] == [2, 2]
    assert not any(profile.complete for profile in found.profiles)
    assert not any(_alive(worker.greeting["pid"]) for worker in host.workers)


def test_ctrl_c_before_any_sample_is_an_interruption(tiny: Artifact) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    found = measure.interleave([Candidate(tiny, "null")], QUICK, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        found.require_any()


def test_a_worker_ends_when_its_parent_does(tmp_path: Path) -> None:
    root = Path(measure.__file__).resolve().parent.parent
    process = subprocess.Popen(
        local_command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert process.stdout is not None and process.stdin is not None
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()


def test_a_worker_killed_between_rounds_fails_alone(tiny: Artifact) -> None:
    host = LocalHost()

    def kill(what: str, done: int, total: int) -> None:
        if (what, done) == ("measuring", 1):
            os.kill(host.workers[0].greeting["pid"], signal.SIGKILL)

    found = measure.interleave(
        [Candidate(tiny, "ort"), Candidate(tiny, "null")], QUICK, progress=kill, host=host
    )
    assert [profile.runtime for profile in found.profiles] == ["null"]
    assert "SIGKILL" in str(found.failures[0].error)
    assert found.profiles[0].complete


def test_no_threads_of_ours_run_while_measuring(tiny: Artifact) -> None:
    before = threading.active_count()
    counts: list[int] = []
    measure.interleave(
        [Candidate(tiny, "null", LOCAL)],
        QUICK,
        progress=lambda *_: counts.append(threading.active_count()),
    )
    assert set(counts) == {before}


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "float16"])
def test_timing_input_fits_the_tensor(dtype: str) -> None:
    spec = TensorSpec("image", (1, 8, 8, 3), dtype)
    found = timing_input(spec)
    assert (found.shape, found.dtype.name) == ((1, 8, 8, 3), dtype)
    assert np.array_equal(found, timing_input(spec))
    assert found.std() > 0
