"""A picture of the page that `edgecnn stream --serve` shows, with a drawn scene as its camera.

    python samples/page/make.py MODEL.tflite --picture samples/page/page.png

Needs Chromium (Debian: apt install chromium). The scene is drawn here, since nobody's photographs
belong into a repository.
"""

import argparse
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np

import edgecnn
from edgecnn.stream import Budget, Frame
from edgecnn.stream.page import Page
from edgecnn.stream.page.address import Address

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import chromium

HEIGHT, WIDTH, FPS = 360, 640, 30
SETTLE_S = 40.0
"""Until the page's plots have something to show."""
SIZE = (1200, 900)


class Scene:
    """A ball that rolls over a table, with a sensor's noise."""

    live, frames, clock, name = True, None, "capture", "drawn scene, 640x360"
    fps = float(FPS)

    def __init__(self) -> None:
        self._number = -1
        self._random = np.random.default_rng(0)
        self._start = time.monotonic()

    def read(self) -> Frame:
        self._number += 1
        time.sleep(max(0.0, self._start + self._number / FPS - time.monotonic()))
        captured_ns = time.monotonic_ns()
        return Frame(self._drawn(), self._number, captured_ns)

    def _drawn(self) -> np.ndarray:
        rows = np.linspace(190, 90, HEIGHT)[:, None, None]
        scene = np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.float32).copy()
        scene[HEIGHT * 2 // 3 :] = (122, 86, 54)
        x = int(WIDTH / 2 + WIDTH / 3 * np.sin(self._number / 40))
        cv2.circle(scene, (x, HEIGHT * 2 // 3 - 60), 70, (235, 140, 30), -1, cv2.LINE_AA)
        for angle in (0, 60, 120):
            turned = angle + self._number * 2
            cv2.ellipse(scene, (x, HEIGHT * 2 // 3 - 60), (70, 20), turned, 0, 360, (40, 25, 10), 2,
                        cv2.LINE_AA)  # fmt: skip
        noise = self._random.normal(0, 4, scene.shape)
        return np.clip(scene + noise, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--budget-ms", type=float, default=33.0)
    asked = parser.parse_args()
    page = Page(Address.parse("127.0.0.1:0", None))
    budget = Budget(asked.budget_ms)
    with edgecnn.Stream(asked.model, Scene(), budget=budget, sinks=[page]) as results:
        runner = threading.Thread(target=lambda: [None for _ in results], daemon=True)
        runner.start()
        photograph(str(page.address), asked.picture)
        results.stop()
        runner.join(10)


def photograph(url: str, path: Path) -> None:
    """Let a headless Chromium look at the page for a while, and keep what it sees."""
    assert chromium.program() is not None, "no Chromium; on Debian: apt-get install chromium"
    with chromium.Browser() as browser:
        browser.visit(url, *SIZE)
        time.sleep(SETTLE_S)
        browser.screenshot(path)


if __name__ == "__main__":
    main()
