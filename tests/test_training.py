"""`edgecnn train`'s library: what comes out, what is kept, and going on after an interruption."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
import training_cases
from training_cases import RECIPE, TEST, TRAIN, trained

from edgecnn import families, network, sources, weights
from edgecnn.accuracy import wilson
from edgecnn.errors import DivergedError, UnavailableError, UsageError, WeightsError
from edgecnn.training import checkpoint, curves, datasets, distill, events, start
from edgecnn.training.checkpoint import BEST, LAST, Progress
from edgecnn.training.loop import Loop, seed_of
from edgecnn.training.recipe import Recipe
from edgecnn.training.result import FILE, Epoch, Result
from edgecnn.training.run import Callbacks, run

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_cases.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of 8 epochs."""
    output = tmp_path_factory.mktemp("done")
    trained(data, output, epochs=8)
    return output


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def _same(a: Path, b: Path) -> bool:
    left, right = _weights(a), _weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_what_a_training_gives(done: Path) -> None:
    result = Result.load(done / FILE)
    assert result.top1 == 100.0  # three colours
    assert result.top1_ci95 == wilson(3 * TEST, 3 * TEST)
    assert (result.tested, result.tested_on) == (3 * TEST, "the test part")
    assert (result.trained_on, result.held_out) == (3 * TRAIN - 6, 6)
    assert [e.number for e in result.epochs] == list(range(1, 9))
    assert result.epochs[-1].loss < result.epochs[0].loss
    assert result.best_epoch == max(result.epochs, key=lambda e: (e.top1, -e.number)).number
    assert result.classes == CLASSES
    assert result.recipe == replace(RECIPE, epochs=8)
    assert json.loads((done / FILE).read_text())["recipe"]["augment"] == "mirror,shift:1"
    assert result.passed is None and result.top1_w8a8 is None


def test_the_best_weights_are_those_that_were_tested(done: Path, data: Path) -> None:
    source = sources.from_training(done / BEST)
    assert source is not None and source.module is not None
    assert source.labels == CLASSES
    assert (source.imgsz, source.crop_pct) == (16, 1.0)
    assert source.provenance.sha256 == weights.sha256_of(done / BEST)
    found = datasets.load(str(data), RECIPE)
    assert found.test is not None and source.spec is not None
    pixels = torch.from_numpy(found.test.squares(source.spec)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (source.mean, source.std))
    with torch.no_grad():
        best = source.module((pixels - mean) / std).argmax(1).numpy()
    assert 100 * float((best == found.test.labels).mean()) == Result.load(done / FILE).top1


def test_the_same_command_again_only_tests(data: Path, done: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(done, tmp_path / "again"))
    epochs: list[Epoch] = []
    again = trained(data, output, Callbacks(epoch=epochs.append), epochs=8)
    assert not epochs
    assert again.top1 == 100.0 and len(again.epochs) == 8


def test_an_interrupted_training_ends_as_one_that_was_not(data: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise StoppedError

    told: list[str] = []
    with pytest.raises(StoppedError):
        trained(data, tmp_path / "a", Callbacks(epoch=stop), epochs=4)
    torch.manual_seed(99)  # the caller's state has no say
    first = trained(data, tmp_path / "a", Callbacks(note=told.append), epochs=4)
    second = trained(data, tmp_path / "b", epochs=4)
    assert _same(tmp_path / "a" / LAST, tmp_path / "b" / LAST)
    assert _same(tmp_path / "a" / BEST, tmp_path / "b" / BEST)
    assert [e.loss for e in first.epochs] == [e.loss for e in second.epochs]
    assert any("after epoch 2 of 4" in text for text in told)
    assert first.epochs[-1].seconds > first.epochs[1].seconds


def test_another_seed_is_another_training(data: Path, done: Path, tmp_path: Path) -> None:
    trained(data, tmp_path, epochs=8, seed=1)
    assert not _same(tmp_path / LAST, done / LAST)


def test_a_folder_of_another_training_is_refused(data: Path, done: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(done, tmp_path / "other"))
    before = (output / LAST).read_bytes()
    with pytest.raises(UsageError, match=r"learning_rate 0\.1 there, 0\.2 here"):
        trained(data, output, epochs=8, learning_rate=0.2)
    assert (output / LAST).read_bytes() == before
    assert trained(data, output, epochs=1, force=True).epochs[-1].number == 1


def test_a_second_training_into_the_same_folder_is_refused(data: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(epoch: Epoch) -> None:
        with pytest.raises(UsageError, match="another process is training into") as error:
            trained(data, tmp_path, force=True)
        refused.append(str(error.value))

    assert len(trained(data, tmp_path, Callbacks(epoch=meanwhile)).epochs) == 3
    assert len(refused) == 3 and str(tmp_path) in refused[0]
    assert len(trained(data, tmp_path).epochs) == 3  # free again


def test_a_damaged_checkpoint_is_told(data: Path, done: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(done, tmp_path / "damaged"))
    file = output / LAST
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match=r"last\.pt"):
        trained(data, output, epochs=8)
    shutil.copy(done / BEST, file)  # weights alone
    with pytest.raises(WeightsError, match="not a training that could go on"):
        trained(data, output, epochs=8)


def test_a_checkpoint_of_another_model_is_refused(data: Path, done: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a checkpoint of tiny, not of mobilenet_v2"):
        sources.resolve("mobilenet_v2", weights=str(done / BEST))
    other = families.get("mobilenet_v3_small")
    with pytest.raises(WeightsError, match="is a checkpoint of tiny"):
        trained(data, tmp_path, base=other, imgsz=32, weights=str(done / BEST))
    assert not (tmp_path / LAST).exists()


@pytest.mark.parametrize(
    "said",
    [{"schema": 2}, {"model": "model x"}, {"classes": ["one"]}, {"classes": 3}, {"model": 5}],
)
def test_a_checkpoint_that_says_nonsense_of_itself_is_refused(
    said: dict[str, object], done: Path, tmp_path: Path
) -> None:
    content = torch.load(done / BEST, weights_only=True)
    content["edgecnn"] |= said
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=r"bad\.pt"):
        weights.read_checkpoint(tmp_path / "bad.pt")


def test_a_loss_that_is_no_number_leaves_what_was_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Loop._step
    steps = (3 * TRAIN - 6) // RECIPE.batch

    def failing(loop: Loop, *arguments: object) -> torch.Tensor:
        loss = step(loop, *arguments)  # type: ignore[arg-type]
        loop.count = getattr(loop, "count", 0) + 1  # type: ignore[attr-defined]
        return loss if loop.count <= 2 * steps else loss * math.nan  # type: ignore[attr-defined]

    monkeypatch.setattr(Loop, "_step", failing)
    with pytest.raises(DivergedError, match=r"loss is nan in epoch 3.*lower learning rate"):
        trained(data, tmp_path, epochs=4)
    assert len(checkpoint.load(tmp_path / LAST).progress.epochs) == 2
    assert all(t.isfinite().all() for t in _weights(tmp_path / BEST).values())
    assert not (tmp_path / FILE).exists()


def test_spoiled_weights_are_not_kept(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"no finite number|loss is"):
        trained(data, tmp_path, learning_rate=1e30, warmup=0.0)
    assert not (tmp_path / LAST).exists() and not (tmp_path / BEST).exists()


def test_without_pictures_held_out_the_last_epoch_is_taken(data: Path, tmp_path: Path) -> None:
    result = trained(data, tmp_path, held_out=0)
    assert (result.trained_on, result.held_out) == (3 * TRAIN, 0)
    assert result.best_epoch == 3
    assert result.top1 == result.epochs[-1].top1  # the test part judges, and chooses nothing
    assert _same(tmp_path / BEST, tmp_path / LAST)


def test_without_a_test_part_the_pictures_held_out_are_told(data: Path, tmp_path: Path) -> None:
    result = trained(data / "train", tmp_path, epochs=1)
    assert result.tested == 6 and "held out" in result.tested_on
    with pytest.raises(UsageError, match="--held-out above 0"):
        trained(data / "train", tmp_path / "none", held_out=0)


def test_a_wanted_accuracy_is_judged(data: Path, tmp_path: Path) -> None:
    assert trained(data, tmp_path, epochs=1, min_top1=0.0).passed is True
    assert trained(data, tmp_path, epochs=1, min_top1=101.0).passed is False


def test_the_first_best_epoch_counts() -> None:
    progress = Progress()
    for number, top1 in enumerate((50.0, 70.0, 70.0, 60.0), 1):
        progress = progress.with_epoch(Epoch(number, 1.0, top1, 0.0), is_choice=True)
    assert progress.best == 2
    assert progress.with_epoch(Epoch(5, 1.0, 10.0, 0.0), is_choice=False).best == 5


def test_tuning_for_other_classes_keeps_all_but_the_head(data: Path, done: Path) -> None:
    fewer = datasets.load(str(data), RECIPE).train
    fewer = replace(fewer, classes=("blue", "red"), labels=fewer.labels % 2)
    text = str(done / BEST)
    spec = start.adapted(tiny_pictures.SPEC, fewer, text)
    assert spec.num_classes == 2
    module, provenance = start.first(spec, tiny_pictures.SPEC, fewer, text, 0)
    before, now = _weights(done / BEST), module.state_dict()
    trained_names = [name for name in now if not name.endswith("num_batches_tracked")]
    differing = {name for name in trained_names if not torch.equal(now[name], before[name])}
    assert differing == {"linear3.linear.weight", "linear3.linear.bias"}
    assert provenance.kind == "file"


def test_published_weights_start_a_training(data: Path, lite0_weights: None) -> None:
    base = families.get("efficientnet_lite0")
    pictures = datasets.load(str(data), RECIPE).train
    spec = start.adapted(base, pictures, "auto", imgsz=32, output_stride=16)
    assert (spec.num_classes, spec.resolution) == (3, 32)
    assert spec.conventions.mean == weights.find(base).checkpoint.conventions.mean
    module, provenance = start.first(spec, base, pictures, "auto", 0)
    published = weights.read_checkpoint(weights.find(base).path)
    stem = next(iter(module.state_dict().values()))
    assert provenance.kind == "package"
    assert any(torch.equal(stem, tensor) for tensor in published.tensors.values())


def test_a_gpu_that_is_not_here_is_told(data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UnavailableError, match="finds no GPU here"):
        trained(data, tmp_path, device="cuda", amp=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"epochs": 0}, "epochs"), ({"batch": 1}, "batch"), ({"optimizer": "lion"}, "sgd, adamw"),
     ({"learning_rate": math.nan}, "learning_rate"), ({"warmup": 1.0}, "warmup"),
     ({"held_out": -1}, "held_out"), ({"device": "tpu"}, "cpu, cuda"), ({"quantize": "w4"}, "w8a8"),
     ({"amp": True}, "--device cuda"), ({"temperature": 0.0}, "temperature"),
     ({"soft_weight": 1.5}, "soft_weight"), ({"seed": -1}, "seed"), ({"threads": 0}, "threads"),
     ({"device": "cuda", "amp": True, "quantize": "w8a8"}, "leave --amp out")],
)  # fmt: skip
def test_a_recipe_without_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(**wrong)  # type: ignore[arg-type]


def test_every_draw_has_a_seed_of_its_own() -> None:
    seeds = {seed_of(s, e, p, r) for s in range(4) for e in range(9) for p in range(3) for r in (0, 1)}  # fmt: skip # noqa: E501
    assert len(seeds) == 4 * 9 * 3 * 2
    assert seed_of(0, 1, 2, 3) == seed_of(0, 1, 2, 3)


# A teacher


def test_the_loss_of_a_student_is_hintons() -> None:
    random = torch.Generator().manual_seed(0)
    logits, taught = (torch.randn(5, 4, generator=random, dtype=torch.float64) for _ in range(2))
    hard = torch.tensor(1.25, dtype=torch.float64)
    p, q = (torch.softmax(x / 3.0, 1) for x in (taught, logits))
    soft = float((p * (p / q).log()).sum(1).mean())
    found = distill.distilled(logits, hard, taught, temperature=3.0, soft_weight=0.75)
    assert float(found) == pytest.approx(0.75 * 9.0 * soft + 0.25 * 1.25)
    assert float(distill.distilled(taught, hard, taught, 3.0, 1.0)) == pytest.approx(0, abs=1e-12)


def test_a_student_learns_from_its_teacher_alone(data: Path, done: Path, tmp_path: Path) -> None:
    result = trained(
        data, tmp_path, epochs=8, soft_weight=1.0, seed=3, teacher=str(done / BEST), temperature=2.0
    )
    assert result.top1 > 80  # chance is 33, and no label was looked at
    assert result.teacher is not None and result.teacher.startswith("tiny ")


def test_a_teacher_of_other_classes_is_refused(done: Path) -> None:
    with pytest.raises(UsageError, match="knows 3 classes, the data has 2"):
        distill.teacher(str(done / BEST), ("a", "b"), 3)
    with pytest.raises(UsageError, match="very classes"):
        distill.teacher(str(done / BEST), ("a", "b", "c"), 3)
    with pytest.raises(UsageError, match="3 channels, the student of 1"):
        distill.teacher(str(done / BEST), CLASSES, 1)


def test_a_teacher_sees_pictures_in_its_own_size(done: Path) -> None:
    teacher = distill.teacher(str(done / BEST), CLASSES, 3)
    pixels = torch.full((2, 3, 32, 32), 120, dtype=torch.uint8)
    small = torch.full((2, 3, 16, 16), 120, dtype=torch.uint8)
    torch.testing.assert_close(teacher(pixels), teacher(small), rtol=0, atol=1e-4)
    assert not teacher(small).requires_grad


# Pictures of the course


def test_curves_are_drawn(done: Path) -> None:
    text = (done / "curves.svg").read_text()
    assert text.startswith("<svg") and "top-1 (%)" in text and "mean training loss" in text
    epochs = Result.load(done / FILE).epochs
    assert curves.curves(epochs, 1).label.startswith("8 epochs")
    assert curves.curves(epochs[:1], 1).draw(400.0).count("<circle") == 3


def test_events_are_read_back_by_tensorboard(done: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    epochs = Result.load(done / FILE).epochs
    for count in (1, len(epochs)):  # written anew, not once more
        assert events.write(tmp_path, epochs[:count]) is None
    found = reader.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [e.step for e in found.Scalars("top1/judged")] == [e.number for e in epochs]
    losses = [e.value for e in found.Scalars("loss/train")]
    assert losses == pytest.approx([e.loss for e in epochs], rel=1e-6)


def test_without_tensorboard_it_is_said(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    assert "edgecnn[train]" in (events.write(tmp_path, Result.load(done / FILE).epochs) or "")
    assert not list(tmp_path.iterdir())


def test_only_rows_decide_whether_a_checkpoint_fits() -> None:
    spec = families.get("mobilenet_v3_small")
    other = spec.scaled(resolution=64).with_classes(7)
    origin = weights.Origin(other, tuple("abcdefg"))
    origin.require_network_of(spec, Path("x.pt"))
    with pytest.raises(WeightsError, match=r"checkpoint of mobilenet_v3_small@r64, not of"):
        origin.require_network_of(spec.scaled(0.75), Path("x.pt"))


def test_a_network_survives_its_checkpoint(tmp_path: Path) -> None:
    spec = tiny_pictures.SPEC
    torch.manual_seed(5)
    module = network.build(spec).eval()
    checkpoint.save_weights(tmp_path / "x.pt", module, weights.Origin(spec, CLASSES))
    found = sources.from_training(tmp_path / "x.pt")
    assert found is not None and found.module is not None
    image = torch.from_numpy(np.random.default_rng(0).random((2, 3, 16, 16), np.float32))
    with torch.no_grad():
        assert torch.equal(found.module(image), module(image))
    torch.save(module.state_dict(), tmp_path / "plain.pt")
    assert sources.from_training(tmp_path / "plain.pt") is None


def test_what_cannot_be_tuned_for_8_bits_is_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train it first"):
        run(training_cases.task(data, tmp_path, quantize="w8a8"))
