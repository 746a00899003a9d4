"""What an activation costs on a runtime, and what replacing it costs in accuracy.

    python samples/benchmarks/activations.py --work FOLDER [--cifar CIFAR10.zip] [--json FILE]

Three parts, each left out by --without:

- latency: EfficientNet-Lite0 with each activation in place of its ReLU6, in ONNX on onnxruntime and
  in TFLite on LiteRT, fp32 and w8a8. All files of a runtime and precision are measured in turns,
  one thread; the ratio is to relu, by paired rounds, with its 95 % interval.
- swap: the same files on photographs. Weights are those that were trained with ReLU6, so this is
  what an engineer gets who swaps and does not train. The photographs are mostly training images:
  figures are relative, and no ImageNet accuracy.
- train: MobileNetV2 of width 0.35 for 32 pixels, trained on CIFAR-10 with each, the same recipe,
  pictures, seeds and budget for all. Short: a ranking, and no accuracy to quote.

Files and trainings stay in --work, and a run that was ended goes on from there.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from _common import machine, photographs

from edgecnn import evaluate, export, families, measure, sources, strides
from edgecnn.artifact import Artifact
from edgecnn.comparison import Candidate, Plan, paired_ratio
from edgecnn.contract import Recipe

RUNTIMES = {"onnx": "ort", "tflite": "litert"}
PRECISIONS = ("fp32", "w8a8")
FUNCTIONS = ("relu", "relu6", "hswish", "swish", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh")
MODEL = "efficientnet_lite0"
SMALL, OUTPUT_STRIDE = "mobilenet_v2@w0.35,r32", 16
PARTS = ("latency", "swap", "train")


def main() -> None:
    """Measure what was not left out, print and save it."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    packages = ("torch", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer")
    found: dict[str, Any] = {"machine": machine(*packages), "model": MODEL}
    print(found["machine"])
    for part in PARTS:
        if part in options.without:
            continue
        found[part] = RUN[part](options)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, help="By default cifar10.zip beside the photographs.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without", nargs="*", choices=PARTS, default=())
    parser.add_argument("--activation", nargs="*", choices=FUNCTIONS, default=FUNCTIONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    quick = parser.add_argument_group("for a quick look; not for figures")
    quick.add_argument("--runs", type=int, default=200)
    quick.add_argument("--seconds", type=float, default=5.0)
    quick.add_argument("--rounds", type=int, default=16)
    quick.add_argument("--limit", type=int, help="Photographs.")
    quick.add_argument("--calibration-images", type=int, help="For w8a8.")
    quick.add_argument("--train-limit", type=int, default=10_000, help="Pictures of an epoch.")
    quick.add_argument("--held-out", type=int, default=5000)
    options = parser.parse_args()
    options.activation = ["relu", *(name for name in options.activation if name != "relu")]
    return options


# ------------------------------------------------------------------------------------------ files


def artifact(function: str, kind: str, precision: str, options: argparse.Namespace) -> Artifact:
    """The trained network with another activation, exported; from --work where it is there."""
    path = options.work / f"{MODEL}-{function}-{precision}.{kind}"
    if path.exists():
        return Artifact.load(path)
    source = sources.resolve(MODEL, activation=function, keep_weights=True)
    count = options.calibration_images
    return export.export(
        source,
        kind,
        Recipe.parse(precision),
        path,
        calibration_folder=photographs(),
        calibration_images=count,
        force_calibration=count is not None,
    )


def latency(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All activations of a runtime and precision in turns, as times of relu's."""
    plan = Plan(min_runs=options.runs, min_seconds=options.seconds, rounds=options.rounds)
    rows: list[dict[str, Any]] = []
    print(f"\n{'runtime':10}{'file':14}{'activation':14}{'p50 (ms)':>10}{'of relu':>9}  interval")
    for kind, runtime in RUNTIMES.items():
        for precision in PRECISIONS:
            made = [artifact(name, kind, precision, options) for name in options.activation]
            comparison = measure.interleave([Candidate(one, runtime) for one in made], plan)
            if comparison.failures:
                raise comparison.failures[0].error
            profiles = comparison.profiles
            for function, profile in zip(options.activation, profiles, strict=True):
                ratio = paired_ratio(profile, profiles[0])
                rows.append({"runtime": runtime, "format": kind, "precision": precision,
                             "activation": function, "p50_ms": profile.latency.p50,
                             "of_relu": ratio.median, "ci95": [ratio.low, ratio.high]})  # fmt: skip
                print(f"{runtime:10}{kind + ' ' + precision:14}{function:14}"
                      f"{profile.latency.p50:10.2f}{ratio.median:9.3f}  {ratio.low:.3f} to "
                      f"{ratio.high:.3f}")  # fmt: skip
    return rows


def swap(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Top-1 on photographs without training, and agreement with the network as it was trained."""
    reference = artifact("relu6", "onnx", "fp32", options)
    rows: list[dict[str, Any]] = []
    print(
        f"\n{'file':14}{'activation':14}{'top-1 (%)':>10}{'agreement with relu6 (%)':>26}  images"
    )
    for precision in PRECISIONS:
        for function in options.activation:
            result = evaluate.evaluate(
                artifact(function, "onnx", precision, options),
                photographs(),
                reference=reference,
                limit=options.limit,
            )
            rows.append({"precision": precision, "activation": function, "top1": result.top1,
                         "top1_ci95": result.top1_ci95, "agreement": result.agreement,
                         "images": result.images})  # fmt: skip
            print(f"{'onnx ' + precision:14}{function:14}{result.top1 or 0:10.2f}"
                  f"{result.agreement or 0:26.2f}  {result.images}")  # fmt: skip
    return rows


def train(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Top-1 on held-out pictures after the same short training."""
    from edgecnn import train_data
    from edgecnn.train import Recipe as Training
    from edgecnn.train import proxy

    pictures = train_data.load(options.cifar or photographs().parent / "cifar10.zip")
    base = strides.with_output_stride(families.get(SMALL), OUTPUT_STRIDE)
    rows: list[dict[str, Any]] = []
    print(f"\n{base.name}, CIFAR-10: {options.epochs} epochs of {options.train_limit} pictures, "
          f"{options.seeds} seeds")  # fmt: skip
    for function in options.activation:
        spec = base.with_activation(function)
        top1 = [
            proxy(
                spec,
                pictures,
                Training(epochs=options.epochs, batch=64, limit=options.train_limit,
                         held_out=options.held_out, seed=seed, threads=options.threads),
                options.work,
            ).top1
            for seed in range(options.seeds)
        ]  # fmt: skip
        spread = statistics.stdev(top1) if len(top1) > 1 else 0.0
        rows.append({"activation": function, "top1": top1, "mean": statistics.mean(top1),
                     "stdev": spread})  # fmt: skip
        print(f"{function:14}{statistics.mean(top1):7.2f} % (standard deviation {spread:.2f})")
    return rows


RUN = {"latency": latency, "swap": swap, "train": train}

if __name__ == "__main__":
    main()
