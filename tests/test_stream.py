"""The loop: the newest frame, its age, what is dropped, and what happens when things go wrong."""

import threading
import time
from collections.abc import Iterator
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Any

import pytest
import scripted
from scripted import LOST, Camera, forever, picture, pictures, plug

from edgecnn import Artifact, Stream
from edgecnn.errors import ArtifactError, DataError, UnavailableError, UsageError
from edgecnn.stream import Budget, Event, Result, Summary
from edgecnn.stream.result import STAGES
from edgecnn.stream.sinks import About

pytestmark = pytest.mark.alone


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    return scripted.model(tmp_path)


class Kept:
    """A sink that keeps everything."""

    name, newest_only, essential = "kept", False, False

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.events: list[Event] = []
        self.summary: Summary | None = None

    def open(self, about: About) -> None:
        self.about = about

    def result(self, result: Result) -> None:
        self.results.append(result)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def close(self, summary: Summary) -> None:
        self.summary = summary


def test_every_frame_of_a_file_has_a_result(model: Artifact, video: Path) -> None:
    with Stream(model, str(video), every_frame=True) as results:
        numbers = [result.frame for _, result in zip(range(200), results, strict=False)]
    assert numbers == list(range(200))


def test_a_result_tells_where_its_age_comes_from(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(pictures(20)))
    with Stream(model, "any") as results:
        found = list(results)
    assert results.summary.ended == "end of the source"
    for result in found:
        assert tuple(result.stages_ms) == STAGES
        assert sum(result.stages_ms.values()) == pytest.approx(result.frame_age_ms)
        assert len(result.top) == 5
        assert result.top[0].label in scripted.LABELS
        assert 0 < result.top[0].score <= 1
        assert set(result.to_dict()) >= {"frame", "captured_at", "frame_age_ms", "latency_ms",
                                         "dropped", "top"}  # fmt: skip


def test_scores_are_those_of_the_bare_network(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn import preprocess, runtimes
    from edgecnn.device import LOCAL

    plug(monkeypatch, Camera(pictures(3), fps=20, live=False))
    with Stream(model, "any", every_frame=True) as results:
        found = list(results)
    session = runtimes.open_session(runtimes.get("ort"), model, LOCAL, 1)
    contract = model.required_contract()
    for result in found:
        array = preprocess.prepare(result.image, contract.input, session.inputs[0])
        expected = preprocess.top_k(session.run(array), scripted.LABELS, 5)
        assert [(one.label, pytest.approx(one.score, abs=1e-5)) for one in result.top] == expected


def test_a_slow_network_gets_the_newest_frame_and_the_rest_is_dropped(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    period_ms, infer_ms = 10.0, 80.0
    plug(monkeypatch, Camera(forever(), fps=1000 / period_ms))
    scripted.slowed(monkeypatch, lambda name: infer_ms / 1000)
    with Stream(model, "any") as results:
        found = [result for _, result in zip(range(12), results, strict=False)]
    for before, after in pairwise(found[3:]):
        assert after.dropped == after.frame - before.frame - 1
        assert after.dropped >= 3
        assert after.frame_age_ms < period_ms + infer_ms + 30  # a loaded machine
    assert results.summary.dropped == found[-1].frame - found[0].frame - len(found) + 1


def test_a_slow_loop_body_makes_no_frame_old(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(forever(), fps=50))
    with Stream(model, "any") as results:
        for count, result in enumerate(results):
            if count > 1:
                # One frame was prepared before the pause, none older than that.
                assert result.frame_age_ms < 400
            time.sleep(0.2)
            if count == 6:
                break


def test_a_lost_camera_is_come_back_to(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Camera(pictures(10, 100))
    cameras = plug(
        monkeypatch, Camera(chain(pictures(10), [LOST])), UnavailableError("not yet"),
        UnavailableError("not yet"), again,
    )  # fmt: skip
    sink = Kept()
    with Stream(model, "any", sinks=[sink]) as results:
        numbers = [result.frame for result in results]
    assert [event.kind for event in sink.events] == ["opened", "lost", "back"]
    assert numbers == sorted(set(numbers))
    assert max(numbers) == 19
    assert not cameras.waiting
    assert cameras.opened[0].closed == 1
    assert results.summary.events == {"opened": 1, "lost": 1, "back": 1}


def test_a_stream_ends_while_its_camera_is_away(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(chain(pictures(2), [LOST])), *repeat(UnavailableError("gone"), 500))
    with Stream(model, "any") as results:
        threading.Timer(0.3, results.stop).start()
        start = time.monotonic()
        found = list(results)
    assert found
    assert time.monotonic() - start < 3
    assert results.problem == "the source is lost"


def test_a_frozen_camera_is_never_shown_as_new(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(chain(pictures(5), repeat(picture(4), 60), pictures(5, 50))))
    sink = Kept()
    budget = Budget(limit_ms=150, patience_s=0.1)
    with Stream(model, "any", frozen_after_s=0.2, budget=budget, sinks=[sink]) as results:
        found = list(results)
    kinds = [event.kind for event in sink.events]
    assert kinds.index("frozen") < kinds.index("moving")
    over = next(event for event in sink.events if event.kind == "over")
    assert "the camera is frozen" in over.text
    ages = [result.frame_age_ms for result in found]
    assert max(ages) > 300, "it grows as old as it is"
    assert ages[-1] < 100
    assert max(result.repeated for result in found) > 20
    assert not results.summary.passed


def test_a_clock_that_is_set_back_changes_no_age(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecnn.stream import frame

    plug(monkeypatch, Camera(pictures(30)))
    with Stream(model, "any") as results:
        for count, result in enumerate(results):
            if count == 10:
                monkeypatch.setattr(frame, "time_ns", lambda: 10**18)
            assert 0 < result.frame_age_ms < 1000
            year = result.captured_at[:4]
            assert year == ("2001" if count > 10 else year)


def test_smaller_networks_take_over_and_give_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = scripted.model(tmp_path, "large"), scripted.model(tmp_path, "small", seed=1)
    scripted.costing(monkeypatch, large=10.0, small=2.0)
    slow = threading.Event()
    scripted.slowed(
        monkeypatch, lambda name: (0.06 if slow.is_set() else 0.01) if name == "large" else 0.002
    )
    plug(monkeypatch, Camera(forever(), fps=60))
    sink, models = Kept(), []
    budget = Budget(limit_ms=50, patience_s=0.3, recover_s=0.5)
    with Stream(large, "any", fallback=[small], budget=budget, sinks=[sink]) as results:
        start = time.monotonic()
        for result in results:
            models.append(result.model)
            passed = time.monotonic() - start
            slow.set() if 0.5 < passed < 1.5 else slow.clear()
            if passed > 8 or (passed > 2 and result.model == "large"):
                break
    assert models[0] == models[-1] == "large"
    assert "small" in models
    steps = [event for event in sink.events if event.kind.startswith("step")]
    assert steps[0].kind == "step down"
    assert steps[-1].kind == "step up"
    assert steps[0].details["to"] == "small"
    assert steps[0].details["causes"]


def test_networks_that_cannot_stand_in_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_onnx

    large = scripted.model(tmp_path, "large")
    other = tiny_onnx.artifact(
        tmp_path / "other.onnx", labels=tuple(f"thing {n}" for n in range(10))
    )
    budget = Budget(limit_ms=10)
    with (
        pytest.raises(UsageError, match="other classes"),
        Stream(large, "any", fallback=[other], budget=budget),
    ):
        pass
    scripted.costing(monkeypatch, large=1.0, small=2.0)
    slower = scripted.model(tmp_path, "small")
    with (
        pytest.raises(UsageError, match="from large to small"),
        Stream(large, "any", fallback=[slower], budget=budget),
    ):
        pass
    with pytest.raises(UsageError, match="--budget-ms"):
        Stream(large, "any", fallback=[slower])
    with pytest.raises(UsageError, match="--every-frame"):
        Stream(large, "any", every_frame=True, budget=budget)


def test_a_camera_does_not_wait(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(forever())
    plug(monkeypatch, camera)
    with pytest.raises(UsageError, match="is for files"), Stream(model, "any", every_frame=True):
        pass
    assert camera.closed == 1


def test_a_file_without_a_contract_says_what_is_missing(tmp_path: Path) -> None:
    import tiny_onnx

    path = tiny_onnx.write_onnx(tmp_path / "foreign.onnx")
    with pytest.raises(ArtifactError, match="--mean"), Stream(path, "any"):
        pass


def test_an_error_of_the_source_reaches_the_caller(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Kept()
    plug(monkeypatch, Camera(chain(pictures(3), [DataError("a broken picture")]), live=False))
    with (
        pytest.raises(DataError, match="broken picture"),
        Stream(model, "any", every_frame=True, sinks=[sink]) as results,
    ):
        list(results)
    assert sink.summary is not None
    assert sink.summary.ended == "a broken picture"
    assert len(sink.results) == 3


class Failing(Kept):
    """A sink whose disk is full after some results."""

    def result(self, result: Result) -> None:
        if len(self.results) == 3:
            raise OSError(28, "No space left on device")
        super().result(result)


class Slow(Kept):
    """A sink that needs long for each result."""

    def result(self, result: Result) -> None:
        time.sleep(0.05)
        super().result(result)


def test_a_sink_that_fails_ends_nothing(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, Camera(pictures(40)))
    failing, kept = Failing(), Kept()
    with Stream(model, "any", sinks=[failing, kept]) as results:
        found = list(results)
    assert len(found) > 10
    assert len(kept.results) == len(found)
    assert len(failing.results) == 3
    assert [e.text for e in kept.events if e.kind == "sink failed"] == [
        "kept: [Errno 28] No space left on device"
    ]


def test_an_essential_sink_that_fails_ends_the_stream(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(forever()))
    failing = Failing()
    failing.essential = True
    with Stream(model, "any", sinks=[failing]) as results:
        assert 3 <= len(list(results)) < 100


def test_a_slow_sink_costs_the_loop_nothing(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, Camera(pictures(60), fps=200))
    slow, newest = Slow(), Slow()
    newest.newest_only = True
    with Stream(model, "any", sinks=[slow, newest]) as results:
        ages = [result.frame_age_ms for result in results]
    assert sorted(ages)[len(ages) // 2] < 20
    assert len(newest.results) < len(ages)
    assert newest.results[-1].frame >= 55


def test_what_a_slow_sink_loses_is_told(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.stream.outlet.ROOM", 4)
    plug(monkeypatch, Camera(pictures(60), fps=200))
    slow, kept = Slow(), Kept()
    with Stream(model, "any", sinks=[slow, kept]) as results:
        found = list(results)
    lost = [event.text for event in kept.events if event.kind == "sink lost"]
    assert lost[0] == "kept is too slow; results lost: 1"
    assert len(slow.results) < len(found)


def test_in_a_batch_a_slow_sink_loses_nothing(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.stream.outlet.ROOM", 4)
    plug(monkeypatch, Camera(pictures(40), fps=1000, live=False))
    slow = Slow()
    with Stream(model, "any", every_frame=True, sinks=[slow]) as results:
        found = list(results)
    assert [one.frame for one in slow.results] == [one.frame for one in found] == list(range(40))


def test_there_is_a_sign_of_life_while_no_frame_comes(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing() -> Iterator[Any]:
        time.sleep(0.6)
        yield picture(0)

    plug(monkeypatch, Camera(nothing()))
    beats: list[float] = []
    with Stream(model, "any", beat=lambda: beats.append(time.monotonic())) as results:
        list(results)
    assert len(beats) >= 4


def test_memory_does_not_grow(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    few = [picture(number) for number in range(50)]
    plug(monkeypatch, Camera((few[n % 50] for n in range(10**9)), fps=1e6, live=False))
    with Stream(model, "any", every_frame=True, frozen_after_s=0) as results:
        stream = iter(results)
        for _ in range(300):
            next(stream)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            next(stream)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 200_000


def test_a_stream_is_used_in_a_with_statement(model: Artifact) -> None:
    with pytest.raises(UsageError, match="with statement"):
        next(iter(Stream(model, "any")))
