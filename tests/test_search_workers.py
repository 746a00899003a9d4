"""Workers of a search that die, sleep or stop, and storages that go away."""

import time
from pathlib import Path

import optuna
import pytest
from search_worker import QUICK, check_account, goal, start, top1, wait_for

from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.search import Budget, Sampling, Study
from edgecnn.search.storage import shown, url_of
from edgecnn.search.workers import Witness, retire, surplus
from edgecnn.spec import ModelSpec

pytestmark = pytest.mark.alone


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


@pytest.mark.parametrize("error", [DataError("a picture is broken"), KeyboardInterrupt()])
def test_what_was_under_way_is_tried_again(error: BaseException, storage: Path) -> None:
    stopped: list[ModelSpec] = []
    judged: list[ModelSpec] = []

    def breaks(spec: ModelSpec) -> float:
        if len(judged) == 2 and not stopped:
            stopped.append(spec)
            raise error
        judged.append(spec)
        return top1(spec)

    study = Study.opened(goal(breaks, "soft"), storage)
    with pytest.raises(type(error)):
        study.run(Budget(5), Sampling("random"))
    assert len(study.found()) == 2
    study.run(Budget(5), Sampling("random"))
    assert judged[2] == stopped[0]
    assert [one.spec for one in study.found()] == judged and len(judged) == 5


def test_a_storage_that_goes_away_is_told_and_comes_back(storage: Path) -> None:
    elsewhere = storage.with_name("moved.db")

    def moves(spec: ModelSpec) -> float:
        if len(study.found()) == 3 and not elsewhere.exists():
            storage.rename(elsewhere)
        return top1(spec)

    study = Study.opened(goal(moves, "soft"), storage)
    with pytest.raises(UnavailableError, match="is gone") as caught:
        study.run(Budget(5), Sampling("random"), pace=QUICK)
    assert caught.value.exit_code == 5 and str(storage) in str(caught.value)
    elsewhere.rename(storage)
    again = Study.opened(goal(aim="soft"), storage)
    again.run(Budget(5), Sampling("random"), pace=QUICK)
    assert len(again.found()) == 5


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 50])
def test_a_file_that_is_no_database_is_told(content: bytes, storage: Path) -> None:
    storage.write_bytes(content)
    with pytest.raises(UnavailableError, match="not a database"):
        Study.opened(goal(), storage)
    assert storage.read_bytes() == content


def test_a_server_that_does_not_answer_is_told() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/") as caught:
        Study.opened(goal(), "postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


def test_storages_by_name(tmp_path: Path) -> None:
    assert shown(url_of(tmp_path / "a.db")) == str(tmp_path / "a.db")
    assert shown(url_of("postgresql://me:secret@host/name")).endswith("//me:***@host/name")
    for wrong in ("mysql://host/name", "redis://host", "://"):
        with pytest.raises(UsageError, match="storage"):
            url_of(wrong)


def test_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    witness = Witness(grace_s=10)

    def dead(*beats: int) -> list[int]:
        running = optuna.trial.TrialState.RUNNING
        trials = [
            optuna.trial.create_trial(state=running, user_attrs={"beat": beat}) for beat in beats
        ]
        for number, trial in enumerate(trials):
            trial.number = number
        return [trial.number for trial in witness.dead(trials)]

    assert dead(5, 5) == []
    now[0] = 9
    assert dead(6, 5) == []
    now[0] = 11
    assert dead(6, 5) == [1]
    now[0] = 25
    assert dead(7, 6) == []


def test_of_two_workers_at_the_last_place_the_first_has_it() -> None:
    study = optuna.create_study()
    first, second = study.ask(), study.ask()
    assert not surplus(first, study.get_trials(), 1)
    assert surplus(second, study.get_trials(), 1)
    assert not surplus(second, study.get_trials(), 2)
    retire(study, first.number, {})
    assert not surplus(second, study.get_trials(), 1)


def test_the_result_of_a_sleeper_is_dropped(storage: Path) -> None:
    calls: list[str] = []

    def sleeps(spec: ModelSpec) -> float:
        calls.append(spec.name)
        if len(calls) == 1:  # meanwhile, another worker takes this one for dead
            trial = study._study.get_trials()[0]
            retire(study._study, trial.number, trial.params)
            retire(study._study, trial.number, trial.params)  # and so does a third
        return top1(spec)

    study = Study.opened(goal(sleeps, "soft"), storage)
    study.run(Budget(3), Sampling("random"), pace=QUICK)
    assert len(study.found()) == 3
    assert calls[1] == calls[0] and len(set(calls)) == 3
    assert len(study._study.get_trials()) == 4


def test_a_killed_worker_loses_nothing(storage: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start(storage, 8, log, 0.2)
    wait_for(lambda: log.exists() and log.read_text().count("begin") == 3)
    worker.kill()
    worker.wait()
    lost = log.read_text().splitlines()[-1].split()[-1]
    assert start(storage, 8, log, 0.0).wait(60) == 0
    check_account(storage, log, 8, lost)


def test_two_workers_share_one_budget(storage: Path, tmp_path: Path) -> None:
    logs = [tmp_path / "a", tmp_path / "b"]
    workers = [start(storage, 8, log, 0.15) for log in logs]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    found = Study.opened(goal(aim="soft"), storage).found()
    assert len(found) == 8
    ended = [
        line.split()[2] for log in logs for line in log.read_text().splitlines() if "end" in line
    ]
    assert sorted(ended) == sorted({one.spec.name for one in found})
    assert all(log.exists() for log in logs)
