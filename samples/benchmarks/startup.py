"""How long `edgecnn --help` takes, and what `import edgecnn` loads. Bar: 0.2 s, nothing heavy."""

import statistics
import sys

from _common import EDGECNN, in_turns, machine, run

HEAVY = ("torch", "onnx", "cv2", "onnxruntime", "rich")
PROBE = f"import sys, edgecnn; print([m for m in {HEAVY} if m in sys.modules])"


def main() -> None:
    bare = [sys.executable, "-c", "pass"]
    seconds = in_turns(
        {"edgecnn --help": lambda _: run([*EDGECNN, "--help"]), "python": lambda _: run(bare)}, 21
    )
    print(machine("click"))
    for name, values in seconds.items():
        print(f"{name}: median {statistics.median(values):.3f} s, best {min(values):.3f} s")
    print(f"import edgecnn loads of {', '.join(HEAVY)}: {run([sys.executable, '-c', PROBE])[1]}")


if __name__ == "__main__":
    main()
