"""The end of a search: who takes part, on which pictures, and who beats whom."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_pictures

from edgecnn import train, train_data, train_weights
from edgecnn.errors import DataError
from edgecnn.reward import Reward
from edgecnn.search import CandidateError, Proxy, exam, finale
from edgecnn.search.finale import Entrant, Standing
from edgecnn.spec import ModelSpec
from edgecnn.workload import from_spec

RECIPE = train.Recipe(epochs=1, batch=8, held_out=9, limit=20)


def _ms(spec: ModelSpec) -> float:
    return from_spec(spec).macs / 1e6


def _proxy(data: Path, work: Path) -> Proxy:
    return Proxy(data, RECIPE, work)


def test_stock_networks_have_the_size_and_strides_of_the_found() -> None:
    like = tiny_pictures.SPEC
    found = list(finale.stock(like, _ms, (0.35, 1.0)))
    assert len(found) == 2 * len(finale.STOCK)
    for one in found:
        assert (one.spec.resolution, one.spec.num_classes) == (16, 3)
        assert np.prod([block.stride for block in one.spec.blocks]) == 4
        assert one.latency_ms == _ms(one.spec)


def test_stock_networks_beyond_the_table_are_left_out() -> None:
    def some(spec: ModelSpec) -> float:
        if spec.family == "mnasnet":
            raise CandidateError("too large")
        return _ms(spec)

    found = list(finale.stock(tiny_pictures.SPEC, some, (0.35,)))
    assert {one.spec.family for one in found} == {"mobilenet_v2", "mobilenet_v3"}


def test_of_each_family_the_widest_within_the_target() -> None:
    every = list(finale.stock(tiny_pictures.SPEC, _ms, finale.WIDTHS))
    chosen = finale.widest(every, 14.0)
    assert {one.spec.name.partition("-")[0] for one in chosen} == set(finale.STOCK)
    for one in chosen:
        base = one.spec.name.partition("@")[0]
        others = [o.latency_ms for o in every if o.spec.name.partition("@")[0] == base]
        assert one.latency_ms == max(ms for ms in others if ms <= 14.0)
    assert finale.widest(every, 0.1) == ()


@pytest.mark.parametrize(
    ("mine", "other", "beats"),
    [
        ((50.0, 1.0), (49.0, 1.0), True),
        ((50.0, 1.0), (50.0, 2.0), False),
        ((50.0, 1.1), (40.0, 1.0), False),
        ((None, 1.0), (40.0, 1.0), None),
    ],
)
def test_who_beats_whom(
    mine: tuple[float | None, float], other: tuple[float | None, float], beats: bool | None
) -> None:
    rows = [
        Standing("found", "a", "", 9.0, "predicted", top1=top1, measured_ms=ms)
        for top1, ms in (mine, other)
    ]
    assert rows[0].beats(rows[1]) == beats


def test_test_pictures_are_those_of_the_test_part_pixel_for_pixel(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path / "data" / "train", 20)
    tiny_pictures.write(tmp_path / "data" / "test", 4)
    found = exam.exam(_proxy(tmp_path / "data", tmp_path / "work"))
    test = train_data.load(tmp_path / "data", "test")
    files = sorted(found.folder.rglob("*.png"), key=lambda path: path.name)
    assert len(files) == len(test.labels) == 12
    for index, file in enumerate(files):
        assert file.parent.name == test.classes[test.labels[index]]
        assert np.array_equal(cv2.imread(str(file))[:, :, ::-1], test.image(index))
    written = [file.stat().st_mtime_ns for file in files]
    assert exam.exam(_proxy(tmp_path / "data", tmp_path / "work")) == found
    assert [file.stat().st_mtime_ns for file in files] == written


def test_without_a_test_part_the_held_out_pictures_are_used_and_named_so(tmp_path: Path) -> None:
    proxy = _proxy(tiny_pictures.write(tmp_path / "data", 20), tmp_path / "work")
    found = exam.exam(proxy)
    assert "by which the search chose" in found.told
    train_on, held_out = train_data.split(proxy.pictures.labels, 9, 20, 0)
    names = {int(path.stem) for path in found.folder.rglob("*.png")}
    assert names == set(held_out.tolist())
    assert set(exam.trained_on(proxy, 10)) <= set(train_on.tolist())
    assert len(exam.trained_on(proxy, 10)) == 10


def test_test_pictures_of_other_classes_are_refused(tmp_path: Path) -> None:
    tiny_pictures.write(tmp_path / "data" / "train", 20)
    tiny_pictures.write(tmp_path / "data" / "test", 4, classes=("red", "green"))
    with pytest.raises(DataError, match="are of the classes green, red; those trained on"):
        exam.exam(_proxy(tmp_path / "data", tmp_path / "work"))


def test_weights_are_those_of_the_search_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    proxy = _proxy(tiny_pictures.write(tmp_path / "data", 20), tmp_path / "work")
    searched = train.proxy(tiny_pictures.SPEC, proxy.pictures, RECIPE, proxy.work)
    source, trained = train_weights.source(tiny_pictures.SPEC, proxy.pictures, RECIPE, proxy.work)
    assert trained.top1 == searched.top1
    monkeypatch.setattr(train, "fit", None)
    again, _ = train_weights.source(tiny_pictures.SPEC, proxy.pictures, RECIPE, proxy.work)
    assert again.provenance == source.provenance
    image = torch.rand(1, 3, 16, 16)
    assert source.module is not None and again.module is not None
    with torch.no_grad():
        assert torch.equal(source.module(image), again.module(image))


def test_entrants_are_what_was_found() -> None:
    from edgecnn.search import Found

    found = Found(3, tiny_pictures.SPEC, 50.0, "measured", 2.0, Reward.hard(2.0)(50.0, 2.0))
    assert finale.best_found([found]) == (Entrant("found", tiny_pictures.SPEC, 2.0),)
