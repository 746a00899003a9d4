"""Folders are the registries: what lies in them is found, and provides what it must."""

import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn
from edgecnn import discovery, export, formats, runtimes

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("edgecnn.runtimes", "edgecnn.formats", "edgecnn.export")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with two entries, one of which protects a name by an underscore."""
    folder = tmp_path / "some_plugins"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "json_.py").write_text("name = 'json'\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_helper.py").touch()
    (folder / "notes.txt").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [name for name in sys.modules if name.startswith("some_plugins")]:
        monkeypatch.delitem(sys.modules, module)
    return "some_plugins"


def test_files_are_entries_and_nothing_is_imported(plugins: str) -> None:
    assert discovery.names(plugins) == ("broken", "json")
    assert f"{plugins}.broken" not in sys.modules


def test_load_finds_the_file_behind_a_protected_name(plugins: str) -> None:
    assert discovery.load(plugins, "json").name == "json"


@pytest.mark.parametrize("name", ["absent", "_helper", "json_", "notes", ""])
def test_load_refuses_what_is_no_entry(plugins: str, name: str) -> None:
    with pytest.raises(KeyError):
        discovery.load(plugins, name)


def test_an_entry_added_later_is_found(plugins: str, tmp_path: Path) -> None:
    (tmp_path / plugins / "later.py").write_text("name = 'later'\n")
    assert "later" in discovery.names(plugins)


def _entries() -> list[tuple[str, str]]:
    return [(package, name) for package in PACKAGES for name in discovery.names(package)]


def _is_registered(package: str, name: str) -> bool:
    return package != "edgecnn.export" or name.startswith("to_")


@pytest.mark.parametrize(("package", "name"), [e for e in _entries() if _is_registered(*e)])
def test_an_entry_is_called_as_its_file(package: str, name: str) -> None:
    assert discovery.load(package, name).name == name.removeprefix("to_")


@pytest.mark.parametrize("name", runtimes.names())
def test_a_runtime_reads_formats_that_exist(name: str) -> None:
    assert set(runtimes.get(name).formats) <= set(formats.names())


@pytest.mark.parametrize("name", formats.names())
def test_a_format_has_an_exporter_and_a_timed_runtime(name: str) -> None:
    assert name in export.names()
    assert any(runtimes.get(reader).timed for reader in runtimes.reading(name))
    assert export.get(name).runtime in runtimes.reading(name)


@pytest.mark.slow
def test_entries_satisfy_their_protocols(tmp_path: Path) -> None:
    """Mypy accepts every entry as a value of the protocol."""
    lines: list[str] = []
    for package, protocol in zip(PACKAGES, ("Runtime", "Format", "Exporter"), strict=True):
        lines.append(f"from {package} import {protocol}")
        for name in discovery.names(package):
            if _is_registered(package, name):
                module = discovery.load(package, name).__name__
                lines += [f"import {module}", f"entry_{len(lines)}: {protocol} = {module}"]
    script = tmp_path / "check.py"
    script.write_text("\n".join(lines) + "\n")
    config = str(ROOT / "pyproject.toml")
    command = [sys.executable, "-m", "mypy", "--config-file", config, str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_root_exports_its_nouns_and_imports_none_of_them() -> None:
    for noun in edgecnn.__all__:
        assert getattr(edgecnn, noun).__name__ == noun
    assert set(edgecnn.__all__) == set(edgecnn._MODULES)
    code = "import sys, edgecnn.onboard.runner; sys.exit('edgecnn.artifact' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
