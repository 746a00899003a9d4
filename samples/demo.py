"""The whole promise on a real network: `make demo` runs this.

EfficientNet-Lite0 with its ImageNet weights is exported to ONNX and TFLite, quantized to int8,
proven equal to the original, evaluated, profiled, and the best variant under a deadline chosen.
Everything is done by the commands that are shown; nothing is downloaded.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import photographs

MODEL = "efficientnet_lite0"
CANDIDATES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
CALIBRATION = 40
"""Images that calibrate; the others are left to compare on, also where there are only 65."""
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target-ms", type=float, default=20.0, help="the deadline for select")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="where the files go")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(options.output)

    say("1. What the network is")
    edgecnn("describe", MODEL)

    say("2. Export, quantize, prove equal to PyTorch")
    files = {
        (kind, precision): options.output / f"{MODEL}-{precision}.{kind}"
        for kind in ("onnx", "tflite")
        for precision in ("fp32", "w8a8")
    }
    for (kind, precision), file in files.items():
        edgecnn("export", MODEL, "--format", kind, "--precision", precision,
                "--data", pictures, "--calibration-images", CALIBRATION, "--output", file,
                "--force")  # fmt: skip

    say("3. Accuracy on photographs, int8 against float")
    for kind in ("onnx", "tflite"):
        edgecnn("evaluate", files[kind, "w8a8"], "--data", pictures,
                "--reference", files[kind, "fp32"])  # fmt: skip

    say("4. Latency on this machine, every runtime in turns")
    for kind in ("onnx", "tflite"):
        edgecnn("profile", files[kind, "w8a8"], "--runtime", "auto")

    say(f"5. The most accurate network within {options.target_ms:g} ms")
    edgecnn("select", *CANDIDATES, "--precision", "w8a8", "--target-ms", options.target_ms,
            "--data", pictures, "--limit", "200", "--workdir", options.output / "select",
            may_fail=True)  # fmt: skip


def _pictures(output: Path) -> Path:
    """The user's photographs in class folders where there are some, else scikit-image's."""
    own = Path(os.environ.get("EDGECNN_DATA", BESIDE)) / "imagenet-sample"
    if own.is_dir():
        print(f"photographs: {own}")
        return own
    folder = output / "photographs"
    count = photographs.write(folder)
    print(
        f"photographs: {count} views of scikit-image's pictures in {folder}. They have no "
        "classes: set EDGECNN_DATA to a folder with imagenet-sample/<class>/*.jpg for accuracy."
    )
    return folder


def say(title: str) -> None:
    """Print a heading."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)


def edgecnn(*arguments: object, may_fail: bool = False) -> None:
    """Show a command and run it; ends the demo where it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ edgecnn {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "edgecnn", *words], check=False).returncode
    if code and not may_fail:
        sys.exit(code)


if __name__ == "__main__":
    main()
