"""Fetching wheels for a board, and installing them there. Nothing is downloaded: tiny wheels."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import runtimes
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.onboard import install as onboard
from edgecnn.remote import wheels
from edgecnn.remote.wheels import WheelTarget

ROOT = Path(__file__).resolve().parent.parent
PI = WheelTarget("aarch64", "3.11", (2, 36))


def write_wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any") -> Path:
    """Write a package of one module that knows its tag."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"TAG = {tag!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows."""
    folder = tmp_path / "index"
    write_wheel(folder, "pip", "99.0")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


# --- which wheels fit


def test_platforms_of_a_pi() -> None:
    tags = PI.platforms()
    assert tags[:2] == ("manylinux_2_36_aarch64", "manylinux_2_35_aarch64")
    assert tags[-3:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64")


def test_old_names_of_tags_are_in_their_place() -> None:
    tags = WheelTarget("x86_64", "3.12", (2, 17)).platforms()
    assert tags.index("manylinux2014_x86_64") == tags.index("manylinux_2_17_x86_64") + 1
    assert tags[-2:] == ("manylinux1_x86_64", "linux_x86_64")


@given(st.sampled_from(["aarch64", "x86_64", "armv7l"]), st.integers(17, 60))
def test_platforms_admit_no_newer_glibc(machine: str, minor: int) -> None:
    tags = WheelTarget(machine, "3.11", (2, minor)).platforms()
    asked = [int(tag.split("_")[2]) for tag in tags if tag.startswith("manylinux_")]
    assert asked == sorted(asked, reverse=True)
    assert asked[0] == minor
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("glibc", [None, (3, 0)])
def test_another_c_library_is_refused(glibc: tuple[int, int] | None) -> None:
    with pytest.raises(UnavailableError, match="glibc 2"):
        WheelTarget("aarch64", "3.11", glibc).platforms()


# --- what a board needs


@pytest.mark.parametrize("name", runtimes.names())
def test_each_runtime_brings_what_it_requires(name: str) -> None:
    packages = wheels.packages_for([name])
    for requirement in runtimes.get(name).requires:
        package = requirement.partition(">")[0]
        assert any(found.startswith(package) for found in packages)


def test_a_board_computes_with_the_desks_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = {"opencv-python": "5.0.0.93", "onnxruntime": "1.32.0+local"}

    def version(name: str) -> str:
        if name not in desk:
            raise metadata.PackageNotFoundError(name)
        return desk[name]

    monkeypatch.setattr(metadata, "version", version)
    packages = wheels.packages_for(["ort", "litert"])
    assert "onnxruntime==1.32.0" in packages
    assert "opencv-python-headless==5.0.0.93" in packages
    assert "ai-edge-litert>=2.0" in packages, "absent on the desk: only bounded from below"
    assert not any(text.startswith(("torch", "onnx==", "onnx>")) for text in packages)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        wheels.packages_for(["nosuch"])


# --- fetching


def test_the_boards_wheel_is_taken_and_kept(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, "thing", tag="cp311-cp311-manylinux_2_28_aarch64")
    write_wheel(index, "thing", tag="cp311-cp311-manylinux_2_28_x86_64")
    write_wheel(index, "thing", "2.0", tag="cp311-cp311-manylinux_2_39_aarch64")
    found = wheels.fetch(["thing"], PI, tmp_path / "cache")
    assert [path.name for path in found] == [
        "pip-99.0-py3-none-any.whl",
        "thing-1.0-cp311-cp311-manylinux_2_28_aarch64.whl",
    ]
    assert [wheels.is_pip(path) for path in found] == [True, False]
    monkeypatch.setattr(subprocess, "run", None)
    assert wheels.fetch(["thing"], PI, tmp_path / "cache") == found


def test_each_target_has_its_own_wheels(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "thing", tag="cp311-cp311-manylinux_2_17_aarch64")
    write_wheel(index, "thing", tag="cp313-cp313-manylinux_2_17_aarch64")
    newer = WheelTarget("aarch64", "3.13", (2, 41))
    assert "cp311" in wheels.fetch(["thing"], PI, tmp_path)[1].name
    assert "cp313" in wheels.fetch(["thing"], newer, tmp_path)[1].name


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (WheelTarget("armv7l", "3.11", (2, 36)), "64-bit"),
        (WheelTarget("aarch64", "3.14", (2, 41)), "another Python"),
    ],
)
def test_without_a_wheel_it_says_what_to_do(
    index: Path, tmp_path: Path, target: WheelTarget, advice: str
) -> None:
    write_wheel(index, "thing", tag="cp311-cp311-manylinux_2_28_aarch64")
    with pytest.raises(UnavailableError, match=advice) as caught:
        wheels.fetch(["thing"], target, tmp_path / "cache")
    assert "thing" in str(caught.value)
    assert str(target) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == [], "nothing half fetched is kept"


def test_pip_that_fails_otherwise_is_quoted(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Invalid requirement"):
        wheels.fetch(["not a requirement"], PI, tmp_path / "cache")


# --- installing on the board


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pip as a wheel, made of the pip that is installed here."""
    import pip as installed

    folder = Path(installed.__file__).parent
    path = tmp_path_factory.mktemp("pip") / "0123abcd.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, file.relative_to(folder.parent))
    return path


_ANSWER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from edgecnn.errors import EdgecnnError
from edgecnn.onboard.install import Installer
for request in json.loads(sys.argv[3]):
    try:
        answer = Installer(Path(sys.argv[2])).install(**request)
    except EdgecnnError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
"""


def installed(
    home: Path, pip: Path, *requests: tuple[list[str], dict[str, str]], within: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Answer the requests of a desk (packages, wheels) in a process of its own, as a board does."""
    asked = [
        {"packages": packages, "pip": str(pip), "wheels": files} for packages, files in requests
    ]
    result = subprocess.run(
        [*within, sys.executable, "-I", "-S", "-c", _ANSWER, str(ROOT), str(home),
         json.dumps(asked)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def stored(wheel: Path, folder: Path) -> dict[str, str]:
    """Lay a wheel into a store, where it is called by its digest; return its name and place."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{hash(wheel.name) % 10**9}.whl"
    shutil.copy(wheel, path)
    return {wheel.name: str(path)}


def test_an_installation_replaces_the_one_before_or_leaves_it(tmp_path: Path, pip: Path) -> None:
    home, store = tmp_path / "home", tmp_path / "store"
    thing = stored(write_wheel(tmp_path, "thing"), store)
    other = stored(write_wheel(tmp_path, "other", "2.0"), store)
    foreign = stored(write_wheel(tmp_path, "thing", tag="py3-none-manylinux_2_28_riscv64"), store)
    first, second, lacking, elsewhere = installed(
        home,
        pip,
        (["thing"], thing),
        (["other"], other),
        (["other", "absent"], other),
        (["thing"], foreign),
    )
    assert first["packages"] == {"thing": "1.0"}
    assert second["packages"] == {"other": "2.0"}
    assert "No matching distribution found for absent" in lacking["error"]
    assert "thing" in elsewhere["error"], "no wheel for another machine is installed"
    assert [path.name for path in home.iterdir()] == ["site"], "nothing else is left"
    assert onboard.read(home / "site") == onboard.Site(**second)
    assert (home / "site" / "other" / "__init__.py").is_file()
    assert not (home / "site" / "thing").exists()


@pytest.mark.parametrize("name", ["../thing-1.0-py3-none-any.whl", "/etc/x", "thing.whl", ""])
def test_names_that_are_no_wheels_are_refused(tmp_path: Path, name: str) -> None:
    file = write_wheel(tmp_path, "thing")
    with pytest.raises(UnavailableError, match="name of a wheel"):
        onboard.install(["thing"], tmp_path / "home" / "site", file, {name: file})


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    file = tmp_path / "thing-1.0-py3-none-any.whl"
    file.write_bytes(b"not a zip")
    with pytest.raises(UnavailableError, match=r"thing-1.0.*damaged"):
        onboard.install(["thing"], tmp_path / "home" / "site", file, {file.name: file})


def test_a_small_disk_is_found_before(tmp_path: Path) -> None:
    mounting = f'mount -t tmpfs -o size=8M small {tmp_path} && exec "$@"'
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounting, "sh"]
    tried = subprocess.run([*within, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    file = write_wheel(tmp_path.parent / "elsewhere", "thing")
    [answer] = installed(tmp_path, file, (["thing"], {file.name: str(file)}), within=within)
    assert "no space left" in answer["error"]
    assert "needs 20 MB, has 8 MB" in answer["error"]


def test_a_disk_that_fills_up_is_told_as_such(tmp_path: Path) -> None:
    words = ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left"]
    assert "no space left on the board" in str(onboard._refusal(words, tmp_path, 1))


def test_an_interrupted_swap_is_taken_back(tmp_path: Path) -> None:
    left = tmp_path / ".site-x" / "old"
    left.mkdir(parents=True)
    (left / onboard.MANIFEST).write_text(
        json.dumps({"python": "3.11.2", "machine": "aarch64", "packages": {}, "bytes": 1})
    )
    with pytest.raises(UnavailableError, match="name of a wheel"):
        onboard.install([], tmp_path / "site", left, {"no wheel": left})
    assert onboard.read(tmp_path / "site") is not None
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / onboard.MANIFEST).write_text("{")
    with pytest.raises(UnavailableError, match="device setup"):
        onboard.read(tmp_path)
