"""What does it cost to resize well, and what does it cost not to?

    python samples/benchmarks/preprocessing.py FILE.onnx|FILE.tflite [--limit 500]

Milliseconds from a 640 x 360 frame to the network's input, and on how many photographs the top-1 is
that of PIL's antialiased bicubic filter, with edgecnn's filters and with OpenCV's, which are not
antialiased. Bars, for the artifact's own filter: 1 ms, 99 %.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import cv2
import numpy as np
from _common import machine, photographs
from PIL import Image as Pil

from edgecnn import Artifact, images, preprocess, runtimes
from edgecnn.device import LOCAL
from edgecnn.errors import EXIT_VERDICT_FAILED

REPEATS = 300
FRAME = (360, 640)
MOST_MS, LEAST_AGREEMENT = 1.0, 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--limit", type=int, default=500)
    asked = parser.parse_args()
    print(machine("opencv-python", "pillow"))
    artifact = Artifact.load(asked.file)
    contract = artifact.required_contract().input
    imgsz, crop = contract.imgsz, contract.crop_pct
    ways: dict[str, Callable[[Any], Any]] = {
        "PIL bicubic": lambda image: pil(image, imgsz, crop),
        "edgecnn bicubic": lambda image: own(image, imgsz, crop, "bicubic"),
        "edgecnn bilinear": lambda image: own(image, imgsz, crop, "bilinear"),
        "OpenCV area": lambda image: own(image, imgsz, crop, "area"),
        "OpenCV cubic": lambda image: opencv(image, imgsz, crop, cv2.INTER_CUBIC),
        "OpenCV linear": lambda image: opencv(image, imgsz, crop, cv2.INTER_LINEAR),
        "OpenCV nearest": lambda image: opencv(image, imgsz, crop, cv2.INTER_NEAREST),
    }
    runtime = runtimes.made_for(artifact, LOCAL)
    session = runtimes.open_session(runtime, artifact, LOCAL, 1)
    answers = compared(session, contract, ways, asked.limit)
    print("| resizing | to pixels (ms) | to the input (ms) | same top-1 as PIL | top-1 |")
    print("|---|---|---|---|---|")
    passed = True
    frame = np.random.default_rng(0).integers(0, 255, (*FRAME, 3), np.uint8)
    for name, way in ways.items():

        def whole(way: Callable[[Any], Any] = way) -> Any:
            return preprocess.from_pixels(way(frame), contract, session.inputs[0])

        pixels_ms, input_ms = timed(lambda way=way: way(frame)), timed(whole)
        same = np.mean([a == b for a, b in zip(answers[name], answers["PIL bicubic"], strict=True)])
        right = np.mean([a == b for a, b in zip(answers[name], answers["truth"], strict=True)])
        print(f"| {name} | {pixels_ms:.2f} | {input_ms:.2f} | {same:.1%} | {right:.1%} |")
        if name == f"edgecnn {contract.interpolation}":
            passed = input_ms <= MOST_MS and same >= LEAST_AGREEMENT
    sys.exit(0 if passed else EXIT_VERDICT_FAILED)


def compared(
    session: Any, contract: Any, ways: dict[str, Callable[[Any], Any]], limit: int
) -> dict[str, list[int]]:
    folder = photographs()
    paths = images.list_images(folder)[:limit]
    labelled = images.labelled(paths, folder, classes=1000)
    found: dict[str, list[int]] = {name: [] for name in (*ways, "truth")}
    for one in labelled:
        picture = preprocess.read_image(one.path)
        for name, way in ways.items():
            array = preprocess.from_pixels(way(picture), contract, session.inputs[0])
            found[name].append(int(np.argmax(session.run(array))))
        found["truth"].append(-1 if one.class_index is None else one.class_index)
    return found


def own(image: Any, imgsz: int, crop: float, interpolation: str) -> Any:
    return preprocess.resize_and_crop(image, imgsz, crop, interpolation)


def pil(image: Any, imgsz: int, crop: float) -> Any:
    """As torchvision's Resize and CenterCrop do it on a PIL image."""
    shorter = int(imgsz / crop)
    height, width = image.shape[:2]
    size = (
        (shorter, int(shorter * height / width))
        if width <= height
        else (int(shorter * width / height), shorter)
    )
    resized = Pil.fromarray(image).resize(size, Pil.Resampling.BICUBIC)
    left, top = (round((side - imgsz) / 2) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + imgsz, top + imgsz)))


def opencv(image: Any, imgsz: int, crop: float, flag: int) -> Any:
    """As most scripts do it: resize, then cut out the middle."""
    height, width = image.shape[:2]
    scale = int(imgsz / crop) / min(height, width)
    resized = cv2.resize(image, (max(imgsz, int(width * scale)), max(imgsz, int(height * scale))),
                         interpolation=flag)  # fmt: skip
    top, left = ((side - imgsz) // 2 for side in resized.shape[:2])
    return np.ascontiguousarray(resized[top : top + imgsz, left : left + imgsz])


def timed(call: Callable[[], Any]) -> float:
    """Median milliseconds."""
    samples = []
    for _ in range(REPEATS):
        start = perf_counter_ns()
        call()
        samples.append((perf_counter_ns() - start) / 1e6)
    return statistics.median(samples)


if __name__ == "__main__":
    main()
