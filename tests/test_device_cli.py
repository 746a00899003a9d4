"""``edgecnn device``: names for boards, against a real SSH server on the loopback address."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sshd import Sshd, make_key, serving

from edgecnn import cli, named
from edgecnn.cli import device
from edgecnn.errors import EXIT_BAD_INPUT, EXIT_UNAVAILABLE, EXIT_USAGE
from edgecnn.remote import hostkeys
from edgecnn.remote.openssh import CONFIG_VARIABLE

PYTHON = ("--python", sys.executable)


@pytest.fixture(autouse=True)
def _settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with serving(tmp_path / "sshd") as running:
        monkeypatch.setenv(CONFIG_VARIABLE, str(running.client_config))
        yield running


def edgecnn(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in arguments], input=answer)


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(result: Result, code: int, message: str) -> None:
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output and result.stdout == ""
    assert named.load() == {}


def offered(server: Sshd) -> str:
    (key,) = hostkeys.offered(server.address, server.options)
    return key.fingerprint


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_can_ask", lambda: True)


@pytest.mark.parametrize("name", ["list", "add", "remove"])
def test_each_command_has_help_json_and_debug(name: str) -> None:
    text = edgecnn("device", name, "--help").output
    assert "--json" in text and "--debug" in text
    (line,) = [
        line
        for line in edgecnn("device", "--help").output.splitlines()
        if line.strip().startswith(f"{name} ")
    ]
    assert line.endswith(".") and "..." not in line, line


def test_add_list_remove(server: Sshd) -> None:
    server.trust()
    added = document(edgecnn("device", "add", "pi5", server.address, *PYTHON, "--json"))
    assert added["connected"] is True
    assert added["python"] == sys.executable
    assert added["board"]["python"] == ".".join(map(str, sys.version_info[:3]))
    (row,) = [row for row in document(edgecnn("device", "list", "--json")) if row["name"] == "pi5"]
    assert row["address"] == str(server.address) and row["kind"] == "named"
    assert str(server.address) in edgecnn("device", "list").output
    assert document(edgecnn("device", "remove", "pi5", "--json"))["name"] == "pi5"
    assert named.load() == {}


def test_list_names_this_machine_and_the_emulated_boards() -> None:
    rows = {row["name"]: row for row in document(edgecnn("device", "list", "--json"))}
    assert {"local", "emulated:rpi4"} <= set(rows)
    assert all(row["about"] for row in rows.values())


def test_an_unknown_key_where_nobody_can_answer_is_refused_with_the_line_to_run(
    server: Sshd,
) -> None:
    result = edgecnn("device", "add", "pi5", server.address, *PYTHON)
    refused(result, EXIT_UNAVAILABLE, f"--host-key {offered(server)}")
    assert not server.known_hosts.exists()


def test_the_named_key_is_accepted(server: Sshd) -> None:
    result = edgecnn(
        "device", "add", "pi5", server.address, *PYTHON, "--host-key", offered(server), "--json"
    )
    assert document(result)["connected"] is True
    assert hostkeys.is_known(server.address, server.options)


def test_another_key_than_the_named_one_is_refused(server: Sshd) -> None:
    result = edgecnn("device", "add", "pi5", server.address, *PYTHON, "--host-key", "SHA256:wrong")
    refused(result, EXIT_UNAVAILABLE, "offers no host key SHA256:wrong, but: ssh-ed25519 SHA256:")
    assert not server.known_hosts.exists()


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_a_person_who_does_not_say_yes(
    server: Sshd, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    on_terminal(monkeypatch)
    result = edgecnn("device", "add", "pi5", server.address, *PYTHON, answer=answer)
    refused(result, EXIT_UNAVAILABLE, "was not accepted")
    assert f"ssh-ed25519 {offered(server)}" in result.stderr
    assert not server.known_hosts.exists()


def test_a_person_who_says_yes(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    result = edgecnn("device", "add", "pi5", server.address, *PYTHON, answer="y\n")
    assert result.exit_code == 0, result.stderr
    assert f"pi5 is {server.address}, Python 3." in result.stdout
    assert hostkeys.is_known(server.address, server.options)
    assert "pi5" in named.load()


def test_a_changed_key_is_refused_on_a_terminal_too(
    server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.trust()
    server.stop()
    server.new_host_key()
    server.start()
    on_terminal(monkeypatch)
    result = edgecnn("device", "add", "pi5", server.address, *PYTHON, answer="y\n")
    refused(result, EXIT_UNAVAILABLE, "HAS CHANGED")


def test_an_unreachable_board_is_not_stored_unless_asked_for(server: Sshd) -> None:
    server.trust()
    server.stop()
    refused(edgecnn("device", "add", "pi5", server.address), EXIT_UNAVAILABLE, "nothing listens")
    stored = document(edgecnn("device", "add", "pi5", server.address, "--no-connect", "--json"))
    assert stored["connected"] is False and stored["board"] is None
    assert named.load()["pi5"].address == str(server.address)


def test_the_identity_is_used_and_kept(server: Sshd, tmp_path: Path) -> None:
    server.trust()
    server.client_config.write_text(
        server.client_config.read_text().replace("IdentityFile", "# IdentityFile")
    )
    other = make_key(tmp_path / "other")
    arguments = ("device", "add", "pi5", server.address, *PYTHON, "--identity")
    refused(edgecnn(*arguments, other), EXIT_UNAVAILABLE, "accepts no key of yours")
    assert edgecnn(*arguments, server.identity).exit_code == 0
    assert named.load()["pi5"].identity == server.identity


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "Pi", "ssh://h"], EXIT_USAGE, "cannot name a board"),
        (["add", "cuda", "ssh://h"], EXIT_USAGE, "cannot name a board"),
        (["add", "pi", "pi@h"], EXIT_USAGE, "write ssh://"),
        (["add", "pi", "ssh://pi:secret@h"], EXIT_USAGE, "holds a password"),
        (["add", "pi", "ssh://-oProxyCommand=id"], EXIT_USAGE, "no host name"),
        (["add", "pi", "ssh://h/npu"], EXIT_UNAVAILABLE, "unknown device 'npu'"),
        (["add", "pi", "ssh://nowhere.invalid"], EXIT_UNAVAILABLE, "leads nowhere"),
        (["add", "pi", "ssh://h", "--identity", "/no/key"], EXIT_USAGE, "does not exist"),
        (["add", "pi", "ssh://h", "--python", "", "--no-connect"], EXIT_USAGE, "no path"),
        (["remove", "pi"], EXIT_UNAVAILABLE, "no board is named 'pi'"),
    ],
)
def test_bad_input_is_one_clear_message(arguments: list[str], code: int, message: str) -> None:
    refused(edgecnn("device", *arguments), code, message)


def test_a_taken_name_is_told_before_anybody_is_called() -> None:
    assert edgecnn("device", "add", "pi", "ssh://h", "--no-connect").exit_code == 0
    result = edgecnn("device", "add", "pi", "ssh://nowhere.invalid")
    assert result.exit_code == EXIT_USAGE and "--force" in result.stderr
    assert edgecnn("device", "add", "pi", "ssh://i", "--no-connect", "--force").exit_code == 0
    assert named.load()["pi"].address == "ssh://i"


def test_a_broken_file_of_names_is_bad_input() -> None:
    named.path().parent.mkdir()
    named.path().write_text("[pi\n")
    result = edgecnn("device", "list")
    assert result.exit_code == EXIT_BAD_INPUT and "is no TOML" in result.stderr
