"""Make an example page from real runs, and a picture of it.

    python samples/report/make.py --data photographs/ --output report.html

Runs `edgecnn select`, `profile` and `evaluate` (minutes; what was measured before is kept in
--work), and then `edgecnn report`. With --picture FILE.png a headless Chromium takes a picture.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v3_small")
ENDED_WELL = (0, 4)  # 4: a verdict failed, and the document is there all the same
SIZE = (1200, 1080)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--work", type=Path, default=Path(".edgecnn"))
    parser.add_argument("--output", type=Path, default=Path("report.html"))
    parser.add_argument("--target-ms", default="15")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    report(documents(given), given.output)
    if given.picture is not None:
        picture(given.output, given.picture)


def documents(given: argparse.Namespace) -> list[Path]:
    """Choose, then measure and evaluate what was chosen; return the documents."""
    limit, data = ("--target-ms", given.target_ms), ("--data", str(given.data))
    select = run("select", *MODELS, *limit, *data, "--limit", "100", "--workdir", str(given.work))
    picked = select["choice"] or select["nearest"]
    file, runtime = picked["artifact"], ("--runtime", picked["runtime"])
    found = {
        "select": select,
        "profile": run("profile", file, *runtime, *limit, "--per-layer"),
        "evaluate": run("evaluate", file, *runtime, *data, "--limit", "100"),
    }
    paths = []
    for name, document in found.items():
        paths.append(given.work / f"example-{name}.json")
        paths[-1].write_text(json.dumps(document))
    return paths


def run(*words: str) -> Any:
    """Run a command of edgecnn and return its document."""
    command = [sys.executable, "-m", "edgecnn", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert done.returncode in ENDED_WELL, f"{' '.join(words)} ended with {done.returncode}"
    return json.loads(done.stdout)


def report(paths: list[Path], output: Path) -> None:
    """Make the page."""
    command = [sys.executable, "-m", "edgecnn", "report", *map(str, paths)]
    subprocess.run([*command, "--output", str(output), "--force"], check=True)


def picture(page: Path, path: Path) -> None:
    """Take a picture of the page's top."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "no Chromium; on Debian: apt-get install chromium"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [program, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
             f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}",
             f"--screenshot={path.resolve()}", page.resolve().as_uri()],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip


if __name__ == "__main__":
    main()
