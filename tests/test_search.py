"""Searches: what samplers propose, what a study keeps, and what it refuses."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import optuna
import pytest
import tiny_pictures
from search_worker import QUICK, SPACE, TARGET_MS, goal, latency_ms, top1

from edgecnn import families, train
from edgecnn.errors import DataError, UsageError, VerdictError
from edgecnn.reward import Reward
from edgecnn.search import (
    Budget,
    CandidateError,
    Given,
    Goal,
    Progress,
    Proxy,
    Published,
    Sampling,
    Study,
)
from edgecnn.search.samplers import NAMES, choices
from edgecnn.space import Space
from edgecnn.spec import ModelSpec


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "search.db"


def _tried(study: Study) -> list[dict[str, str]]:
    return [dict(trial.params) for trial in study._study.get_trials(deepcopy=False)]


def _run(
    storage: Path, networks: int, sampling: Sampling, name: str = "search", **changes
) -> Study:  # type: ignore[no-untyped-def]
    study = Study.opened(goal(**changes), storage, name)
    study.run(Budget(networks), sampling, pace=QUICK)
    return study


@pytest.mark.parametrize("name", NAMES)
def test_a_search_that_was_interrupted_goes_on_as_it_would_have(name: str, storage: Path) -> None:
    sampling = Sampling(name, seed=3, population=3, tournament=2)
    whole = _tried(_run(storage, 7, sampling, "whole", aim="soft"))
    _run(storage, 4, sampling, "parts", aim="soft")
    assert _tried(_run(storage, 7, sampling, "parts", aim="soft")) == whole
    other = replace(sampling, seed=4)
    assert _tried(_run(storage, 2, other, "other", aim="soft")) != whole[:2]


def test_two_workers_with_one_seed_do_not_try_the_same(storage: Path) -> None:
    studies = [Study.opened(goal(aim="soft"), storage) for _ in range(2)]
    for networks in range(1, 9):
        studies[networks % 2].run(Budget(networks), Sampling("random"))
    assert len({tuple(tried.values()) for tried in _tried(studies[0])}) == 8


def test_evolution_mutates_the_best_of_a_tournament(storage: Path) -> None:
    sampling = Sampling("evolution", population=5, tournament=5)
    study = _run(storage, 20, sampling, aim="soft")
    found = study.found()
    assert len(found) == 20
    chosen = [choices(SPACE, tried) for tried in _tried(study)]
    near = 0
    for number in range(5, 20):
        young = range(number - 5, number)
        parents = [n for n in young if chosen[number] in list(SPACE.neighbours(chosen[n]))]
        assert parents
        near += max(young, key=lambda n: found[n].reward) in parents
    # Five are drawn with replacement: the best one is among them in 67 % of the cases. A parent by
    # chance would be the best in a fifth.
    assert near >= 7
    assert max(one.reward for one in found[15:]) > max(one.reward for one in found[:5])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpe", "nsga2", "evolution"])
def test_learning_samplers_beat_chance(name: str, storage: Path) -> None:
    # The whole space is small enough to know the best, and how good chance is with 60 networks.
    best = sum(_run(storage, 60, Sampling(name, seed), f"{name}{seed}").best()[0].reward
               for seed in range(3))  # fmt: skip
    rewards = [_reward(SPACE.sample(Random(n))) for n in range(3000)]
    chance = [max(Random(n).sample(rewards, 60)) for n in range(200)]
    assert best / 3 > sum(chance) / len(chance)


def _reward(chosen: dict[str, str]) -> float:
    spec = SPACE.decode(chosen)
    return Reward.hard(TARGET_MS)(top1(spec), latency_ms(spec))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"target_ms": 2.0}, "target_ms '1.0' there, '2.0' here"),
        ({"aim": "soft"}, "aim"),
        ({"space": SPACE.with_resolution(48)}, "space"),
    ],
)
def test_another_goal_is_refused(changes: dict[str, object], part: str, storage: Path) -> None:
    Study.opened(goal(), storage)
    Study.opened(goal(), storage)
    with pytest.raises(UsageError, match=part):
        Study.opened(goal(**changes), storage)
    Study.opened(goal(**changes), storage, "another name")


def test_a_study_of_somebody_else_is_refused(storage: Path) -> None:
    study = optuna.create_study(storage=f"sqlite:///{storage}", study_name="search")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(UsageError, match="not one of edgecnn"):
        Study.opened(goal(), storage)


def test_an_impossible_target_ends_before_anything_is_judged(storage: Path) -> None:
    def untouched(spec: ModelSpec) -> float:
        raise AssertionError(spec)

    least = min(latency_ms(SPACE.decode(SPACE.sample(Random(n)))) for n in range(500))
    with pytest.raises(VerdictError, match="the fastest found") as caught:
        Study.opened(goal(untouched, target_ms=least / 5), storage)
    fastest = float(str(caught.value).partition(" takes ")[2].split()[0])
    assert least / 5 < fastest <= least * 1.001
    assert not storage.exists()


def test_the_hard_aim_trains_nothing_that_cannot_win(storage: Path) -> None:
    trained: list[float] = []

    def judged(spec: ModelSpec) -> float:
        trained.append(latency_ms(spec))
        return 90.0

    study = _run(storage, 16, Sampling("random"), function=judged)
    best = study.best()[0].reward
    assert best == 90.0
    first = next(n for n, ms in enumerate(trained) if ms <= TARGET_MS)
    assert all(ms < TARGET_MS * 100 / 90 for ms in trained[first + 1 :])
    assert len(trained) == len(study.found()) < 16


def test_bad_networks_are_stopped_early(storage: Path) -> None:
    class Curve(Given):
        def top1(self, spec: ModelSpec, report: Callable[[int, float], None]) -> float:
            for epoch in (1, 2):
                report(epoch, top1(spec) * epoch / 3)
            ended.append(spec)
            return top1(spec)

    ended: list[ModelSpec] = []
    accuracy = Curve(top1, "curve")
    study = Study.opened(Goal(SPACE, 5.0, accuracy, latency_ms, "macs"), storage)
    study.run(Budget(16), Sampling("random"))
    assert 5 <= len(ended) == len(study.found()) < 16
    assert len(study._study.get_trials(states=(optuna.trial.TrialState.PRUNED,))) == 16 - len(ended)


def test_a_network_that_cannot_be_judged_is_noted(storage: Path) -> None:
    def some(spec: ModelSpec) -> float | None:
        if spec.blocks[0].channels == 8:
            raise CandidateError("eight channels are too few")
        return None if spec.blocks[1].kernel == 5 else 50.0

    study = _run(storage, 10, Sampling("random"), function=some, aim="soft")
    problems = study.problems()
    assert len(problems) + len(study.found()) == 10
    assert {text.rpartition(": ")[2] for text in problems} == {
        "eight channels are too few",
        "its accuracy is not known.",
    }


def test_where_nothing_can_be_judged_the_search_ends(storage: Path) -> None:
    with pytest.raises(VerdictError, match=r"none of 20 networks .* not known"):
        _run(storage, 100, Sampling("random"), function=lambda spec: None)


def test_no_network_is_judged_twice(storage: Path) -> None:
    judged: Counter[ModelSpec] = Counter()

    def count(spec: ModelSpec) -> float:
        judged[spec] += 1
        return top1(spec)

    space = Space.parse(
        'family = "x"\nresolution = 32\nrows = ["stem_k3_s2_{c:c8|c16|c24}_relu", "pool", '
        '"linear_c10"]',
        "three",
    )
    study = _run(storage, 8, Sampling("random"), function=count, space=space, aim="soft")
    assert set(judged.values()) == {1}
    assert len(study.found()) == 8
    assert len(study.best(10)) == len(judged) <= 3


def test_the_front_and_the_best(storage: Path) -> None:
    study = _run(storage, 14, Sampling("nsga2", population=5), aim="pareto")
    found, front = study.found(), study.front()
    for one in found:
        beaten = any(
            a.top1 >= one.top1 and a.latency_ms <= one.latency_ms
            and (a.top1, a.latency_ms) != (one.top1, one.latency_ms) for a in found
        )  # fmt: skip
        assert beaten != (one.spec in [f.spec for f in front])
    best = study.best()[0]
    assert best.latency_ms <= TARGET_MS
    assert best.top1 == max(one.top1 for one in found if one.meets(TARGET_MS))
    assert best.to_dict()["top1_kind"] == "given"
    assert ModelSpec.parse(best.to_dict()["spec"]) == best.spec
    with pytest.raises(UsageError, match="evolution"):
        study.run(Budget(30), Sampling("evolution"))


def test_progress_is_told(storage: Path) -> None:
    told: list[Progress] = []
    study = Study.opened(goal(aim="soft"), storage)
    study.run(Budget(6), Sampling("random"), watch=told.append)
    assert [p.done for p in told] == [0, 1, 2, 3, 4, 5, 6, 6]
    assert told[0].best is None and told[0].seconds_left is None
    assert told[-1].best == study.best()[0] and told[-1].front == study.front()
    assert told[-1].seconds_left == 0 and (told[3].seconds_left or 0) > 0


def test_a_time_limit_begins_nothing_new(storage: Path) -> None:
    def slow(spec: ModelSpec) -> float:
        time.sleep(0.3)
        return top1(spec)

    study = Study.opened(goal(slow, "soft"), storage)
    study.run(Budget(100, seconds=0.5), Sampling("random"))
    assert 1 <= len(study.found()) <= 2


def test_published_accuracy_is_of_the_zoo_alone(storage: Path) -> None:
    space = Space.load("mnasnet")
    study = Study.opened(Goal(space, 500.0, Published(), latency_ms, "macs"), storage)
    study.run(Budget(50), Sampling("random"))
    found = study.found()
    members = {spec.name: spec for spec in families.all().values() if spec in space}
    assert {one.spec.name for one in found} == {n for n, spec in members.items() if spec.accuracy}
    assert "mnasnet_a1" in {one.spec.name for one in found}
    for one in found:
        assert (one.top1, one.top1_kind) == (families.get(one.spec.name).accuracy[0], "published")  # type: ignore[index]
    with pytest.raises(UsageError, match="published"):
        Goal(SPACE, 1.0, Published(), latency_ms, "macs")


def test_networks_are_trained_once(
    tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_pictures.write(tmp_path / "data", 8)
    recipe = train.Recipe(epochs=1, batch=8, held_out=6, shift=1)
    accuracy = Proxy(data, recipe, tmp_path / "work")
    aim = Goal(SPACE, 2.0, accuracy, latency_ms, "macs")
    first = Study.opened(aim, storage)
    first.run(Budget(3), Sampling("random"))
    found = first.found()
    assert len(found) == 3
    assert {(one.spec.num_classes, one.top1_kind) for one in found} == {(3, "measured")}
    monkeypatch.setattr(train, "fit", None)
    second = Study.opened(aim, storage, "again")
    second.run(Budget(3), Sampling("random"))
    assert second.found() == found


def test_one_class_ends_the_search_at_once(tmp_path: Path, storage: Path) -> None:
    data = tiny_pictures.write(tmp_path / "data", 8, classes=("red",))
    accuracy = Proxy(data, train.Recipe(), tmp_path / "work")
    with pytest.raises(DataError, match="one class, 'red'"):
        Study.opened(Goal(SPACE, 2.0, accuracy, latency_ms, "macs"), storage)
