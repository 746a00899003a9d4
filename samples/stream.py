"""The Python API of a stream: count what a camera sees, and say when the deadline is broken.

python samples/stream.py MODEL.tflite SOURCE [--seconds 10]
"""

import argparse
from collections import Counter

import edgecnn
from edgecnn.stream import Budget


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("source", help="0, picamera, a file, a URL, ...")
    parser.add_argument("--budget-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    seen: Counter[str] = Counter()
    with edgecnn.Stream(asked.model, asked.source, budget=Budget(asked.budget_ms)) as results:
        first_ns = None
        for result in results:
            best = result.top[0]
            if best.score > 0.5:
                seen[best.label] += 1
            first_ns = first_ns or result.at_ns
            if result.at_ns - first_ns > asked.seconds * 1e9:
                break
    summary = results.summary
    for label, count in seen.most_common(5):
        print(f"{count:6} {label}")
    print(f"{summary.frames} results, frame age p95 {summary.age_ms['p95']:.1f} ms, budget "
          f"{'kept' if summary.passed else 'broken'}")  # fmt: skip


if __name__ == "__main__":
    main()
