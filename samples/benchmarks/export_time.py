"""Export of EfficientNet-Lite0 against the bare converters, as whole processes in turns.

Bar: at most 1.2 times. The bare process builds the same network with the same weights, converts
and saves; it proves nothing, calibrates nothing and writes no contract.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from _common import EDGECNN, in_turns, machine, paired_ratio, run

BARE = {
    "onnx": """
import sys, torch, onnx, onnxslim
from edgecnn import sources
module = sources.resolve("efficientnet_lite0").module
program = torch.onnx.export(module, (torch.zeros(1, 3, 224, 224),), dynamo=True)
onnx.save(onnxslim.slim(program.model_proto), sys.argv[1])
""",
    "tflite": """
import sys, torch, litert_torch
from edgecnn import sources
module = litert_torch.to_channel_last_io(sources.resolve("efficientnet_lite0").module, args=[0])
litert_torch.convert(module.eval(), (torch.zeros(1, 224, 224, 3),)).export(sys.argv[1])
""",
}


def main() -> None:
    import sys

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(machine("torch", "onnx", "onnxslim", "litert-torch"))
    with tempfile.TemporaryDirectory() as folder:
        for kind, script in BARE.items():
            ours = [*EDGECNN, "export", "efficientnet_lite0", "--format", kind, "--output"]
            bare = [sys.executable, "-c", script]
            seconds = in_turns(
                {
                    "edgecnn": lambda i, c=ours, k=kind: run([*c, Path(folder) / f"{i}.{k}"]),
                    "bare": lambda i, c=bare, k=kind: run([*c, Path(folder) / f"bare{i}.{k}"]),
                },
                repeats,
            )
            medians = {name: statistics.median(values) for name, values in seconds.items()}
            ratio = paired_ratio(seconds["edgecnn"], seconds["bare"])
            print(f"{kind}: edgecnn {medians['edgecnn']:.1f} s, bare {medians['bare']:.1f} s, "
                  f"ratio {ratio:.2f} (bar 1.20)")  # fmt: skip


if __name__ == "__main__":
    main()
