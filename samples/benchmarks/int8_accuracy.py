"""What int8 costs EfficientNet-Lite0 in accuracy and gives in speed, on photographs.

Bars: at most 1.0 point below float in TFLite and in ONNX, calibration images left out; ONNX w8a8
faster than fp32. The photographs are mostly training images: the figures are relative, and no
ImageNet accuracy.
"""

import argparse
import json
import tempfile
from pathlib import Path

from _common import EDGECNN, machine, photographs, run

from edgecnn import measure
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan, paired_ratio

RUNTIME = {"onnx": "ort", "tflite": "litert"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0")
    model = parser.parse_args().model
    data = photographs()
    print(machine("onnxruntime", "ai-edge-litert", "ai-edge-quantizer"))
    with tempfile.TemporaryDirectory() as folder:
        for kind in RUNTIME:
            files = {p: Path(folder) / f"{p}.{kind}" for p in ("fp32", "w8a8")}
            for precision, file in files.items():
                run([*EDGECNN, "export", model, "--format", kind, "--precision", precision,
                     "--data", data, "--output", file])  # fmt: skip
            _, text = run([*EDGECNN, "evaluate", files["w8a8"], "--data", data,
                           "--reference", files["fp32"], "--json"])  # fmt: skip
            result = json.loads(text)
            low, high = result["drop_ci95"]
            print(
                f"{kind}: float {result['reference_top1']:.2f} %, w8a8 {result['top1']:.2f} % on "
                f"{result['images']} images ({result['calibration_left_out']} for calibration "
                f"left out): drop {result['drop']:.2f} points ({low:.2f} to {high:.2f}), "
                f"{result['lost']} lost, {result['gained']} gained, agreement "
                f"{result['agreement']:.1f} %"
            )
            print(f"{kind}: {speed(kind, files)}")


def speed(kind: str, files: dict[str, Path]) -> str:
    """Both precisions on the format's own runtime, in turns, one thread."""
    candidates = [Candidate(Artifact.load(file), RUNTIME[kind]) for file in files.values()]
    comparison = measure.interleave(candidates, Plan(min_runs=200, min_seconds=5, rounds=16))
    plain, quantized = comparison.profiles
    ratio = paired_ratio(quantized, plain)
    return (
        f"fp32 {plain.latency.p50:.2f} ms, w8a8 {quantized.latency.p50:.2f} ms, ratio "
        f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    )


if __name__ == "__main__":
    main()
