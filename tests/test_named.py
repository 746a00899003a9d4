"""The user's own names for boards: a strict file, written in one way."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn import named
from edgecnn.errors import DataError, EdgecnnError, UnavailableError, UsageError
from edgecnn.named import Named

PI = Named("ssh://pi@192.0.2.7:22")


@pytest.fixture(autouse=True)
def _settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def write(text: str) -> None:
    named.path().parent.mkdir(exist_ok=True)
    named.path().write_text(text)


def test_the_file_is_where_the_desktop_standard_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named.path() == tmp_path / "edgecnn" / "devices.toml"
    for unusable in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        monkeypatch.setenv("HOME", "/home/me")
        assert named.path() == Path("/home/me/.config/edgecnn/devices.toml")


def test_add_load_remove() -> None:
    assert named.load() == {}
    orin = Named("ssh://nvidia@orin/cuda:0", "~/venv/bin/python", Path("/keys/orin"))
    named.add("pi5", PI)
    named.add("orin", orin)
    assert named.load() == {"orin": orin, "pi5": PI}
    assert list(named.load()) == ["orin", "pi5"]
    assert named.remove("pi5") == PI
    assert named.load() == {"orin": orin}


def test_the_file_says_what_it_is_and_does_not_depend_on_the_order() -> None:
    named.add("b", PI)
    named.add("a", PI)
    one = named.path().read_text()
    named.remove("b")
    named.add("b", PI)
    assert named.path().read_text() == one
    assert one.startswith("# ") and "comments of\n# your own are lost" in one


def test_a_taken_name_needs_force() -> None:
    named.add("pi5", PI)
    with pytest.raises(UsageError, match="already; pass --force"):
        named.add("pi5", Named("ssh://other"))
    named.add("pi5", Named("ssh://other"), force=True)
    assert named.load()["pi5"].address == "ssh://other"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnavailableError, match="your names: none yet"):
        named.remove("pi4")
    named.add("pi5", PI)
    with pytest.raises(UnavailableError, match="no board is named 'pi4'; your names: pi5"):
        named.remove("pi4")


@pytest.mark.parametrize(
    "name", ["", "Pi", "-x", "_x", "a b", "a.b", "ä", "local", "ssh", "a" * 65]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a board"):
        named.add(name, PI)
    assert not named.path().exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pi5\n", r"is no TOML.*line 1"),
        ("[pi5]\naddress = 1\n", r"\[pi5\]: address must be a text"),
        ("[pi5]\n", r"\[pi5\]: lacks its address"),
        ("[pi5]\naddress = 'ssh://h'\nport = 22\n", r"\[pi5\]: unknown key 'port'; allowed: addr"),
        ("[pi5]\naddress = 'ssh://pi:pw@h'\n", r"\[pi5\]: the address holds a password"),
        ("[pi5]\naddress = 'ssh://h'\npython = ''\n", r"\[pi5\]: python '' is no path"),
        ('[pi5]\naddress = "ssh://h"\npython = "a\\nb"\n', r"\[pi5\]: python 'a\\nb' is no"),
        ("[pi5]\naddress = 'ssh://h'\nidentity = 'key'\n", r"\[pi5\]: identity 'key' is no full"),
        ("[ssh]\naddress = 'ssh://h'\n", r"\[ssh\]: 'ssh' cannot name a board"),
        ("pi5 = 'ssh://h'\n", r"\[pi5\]: must be a table"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_and_kept(text: str, message: str) -> None:
    write(text)
    with pytest.raises(DataError, match=message) as caught:
        named.load()
    assert str(named.path()) in str(caught.value)
    with pytest.raises(DataError):
        named.add("other", PI)
    assert named.path().read_text() == text


def test_bytes_that_are_no_text_and_a_folder_in_the_place_of_the_file() -> None:
    write("")
    named.path().write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is no TOML"):
        named.load()
    named.path().unlink()
    named.path().mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        named.load()


def test_a_linked_file_stays_linked(tmp_path: Path) -> None:
    write("")
    kept = tmp_path / "kept.toml"
    named.path().rename(kept)
    named.path().symlink_to(kept)
    named.add("pi5", PI)
    assert named.path().is_symlink() and "pi5" in kept.read_text()


def test_a_home_folder_in_the_file_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    write("[pi5]\naddress = 'ssh://h'\nidentity = '~/.ssh/board'\n")
    assert named.load()["pi5"].identity == Path("/home/me/.ssh/board")


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,10}", fullmatch=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(names, st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_what_is_written_is_read(name: str, python: str, identity: str) -> None:
    try:
        entry = Named("ssh://h", python, Path("/", identity))
        named.add(name, entry, force=True)
    except EdgecnnError:
        return
    assert named.load()[name] == entry
