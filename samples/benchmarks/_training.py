"""What the benchmarks that train share: a training, its int8 files, and their accuracy."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from edgecnn import export, formats, sources, train_data
from edgecnn.artifact import Artifact
from edgecnn.contract import Recipe as Precision
from edgecnn.errors import EdgecnnError
from edgecnn.evaluate import evaluate
from edgecnn.picture_sets import find, written
from edgecnn.training.checkpoint import BEST
from edgecnn.training.result import FILE, Epoch, Result
from edgecnn.training.run import Callbacks, Task, run

CALIBRATION_IMAGES = 200
ERRORS = Console(stderr=True)


def trained(task: Task, name: str) -> Result:
    """Train, or go on; each epoch is told on stderr.

    A finished training is taken as it is, also where a GPU on another machine did it.
    """
    done = task.output / FILE
    if done.exists():
        return _same(Result.load(done), task)

    def tell(epoch: Epoch) -> None:
        said = f"loss {epoch.loss:.4f}, top-1 {epoch.top1:.2f} %, {epoch.seconds:.0f} s"
        ERRORS.print(f"{name}, epoch {epoch.number} of {task.recipe.epochs}: {said}")

    found = run(task, Callbacks(epoch=tell, note=ERRORS.print))
    if found is None:
        raise EdgecnnError("run this in one process, without torchrun.")
    return found


def _same(found: Result, task: Task) -> Result:
    asked, there = (
        replace(recipe, device="cpu", amp=False, threads=1)
        for recipe in (task.recipe, found.recipe)
    )
    if asked != there:
        raise EdgecnnError(
            f"{task.output} holds a training by another recipe; take another --work.\n"
            f"there: {there}\nasked: {asked}"
        )
    return found


@dataclass(frozen=True)
class Folders:
    """Pictures as files: to calibrate with, of the training part, and to test with."""

    calibration: Path
    test: Path


def folders(data: str, work: Path, tested: int | None) -> Folders:
    """Write the pictures where they are not; of the test part at most `tested`, evenly spread."""
    place = find(data)
    train, test = (train_data.load(place, part) for part in ("train", "test"))
    return Folders(
        written(work, train, _spread(len(train.labels), CALIBRATION_IMAGES), "calibration"),
        written(work, test, _spread(len(test.labels), tested or len(test.labels)), "test"),
    )


def _spread(total: int, count: int) -> list[int]:
    count = min(total, count)
    return [index * total // count for index in range(count)]


@dataclass(frozen=True)
class Tested:
    """Top-1 in per cent of a file and of its fp32 original; `problem` where there is no file."""

    artifact: str
    top1: float | None = None
    fp32_top1: float | None = None
    images: int = 0
    problem: str | None = None

    @property
    def drop(self) -> float | None:
        """Points lost."""
        if self.top1 is None or self.fp32_top1 is None:
            return None
        return self.fp32_top1 - self.top1


def quantized(output: Path, format_name: str, pictures: Folders) -> Tested:
    """Export the best weights of a training to w8a8, and test the file beside its original.

    Remembered in the folder. What cannot be exported is told in the result.
    """
    kept = output / f"w8a8-{format_name}.json"
    if kept.exists():
        known: Mapping[str, object] = json.loads(kept.read_text())
        if known["folders"] == [str(pictures.calibration), str(pictures.test)]:
            return Tested(**known["tested"])  # type: ignore[arg-type]
    files = {p: output / f"{p}{formats.get(format_name).suffix}" for p in ("fp32", "w8a8")}
    try:
        fp32, w8a8 = (_exported(output, format_name, p, f, pictures) for p, f in files.items())
        found = evaluate(w8a8, pictures.test, reference=fp32)
        tested = Tested(str(w8a8.path), found.top1, found.reference_top1, found.images)
    except EdgecnnError as error:
        tested = Tested(str(files["w8a8"]), problem=" ".join(str(error).split()))
    document = {
        "folders": [str(pictures.calibration), str(pictures.test)],
        "tested": asdict(tested),
    }
    kept.write_text(json.dumps(document, indent=1))
    return tested


def _exported(
    output: Path, format_name: str, precision: str, path: Path, pictures: Folders
) -> Artifact:
    source = sources.from_training(output / BEST)
    if source is None:
        raise EdgecnnError(f"{output / BEST} is no checkpoint of a training.")
    return export.export(
        source,
        format_name,
        Precision.parse(precision),
        path,
        calibration_folder=pictures.calibration,
        calibration_images=CALIBRATION_IMAGES,
        labels=source.labels,
        force=True,
        # Digits are no photographs, and there are no better ones.
        force_calibration=True,
    )
