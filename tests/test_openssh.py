"""The way to a board over SSH, against a real server on the loopback address."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loopback import alive
from sshd import Sshd, make_key, serving

from edgecnn.errors import (
    EXIT_UNAVAILABLE,
    ConnectionLostError,
    EdgecnnError,
    UnavailableError,
    UsageError,
)
from edgecnn.files import DiskError
from edgecnn.named import Named
from edgecnn.remote import hostkeys
from edgecnn.remote.openssh import (
    CONFIG_VARIABLE,
    KEEPALIVE_S,
    KEEPALIVES,
    Address,
    Ssh,
    parse_address,
)

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="no ssh; apt install openssh-client"
)
ECHO = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
AWKWARD = "print('it''s', \"a $HOME!x `id` \\\\ \\n\", '~', '*')  # !x\n"
NOWHERE = "192.0.2.7"  # RFC 5737: an address for documentation, where nobody answers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with serving(tmp_path / "sshd") as running:
        yield running


def call(
    ssh: Ssh, *arguments: str, stdin: bytes = b"", timeout_s: float = 60
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ssh.command(arguments),
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        env=ssh.environment(),
        check=False,
    )


def reason(ssh: Ssh) -> EdgecnnError:
    done = call(ssh, "-c", "")
    assert done.returncode != 0
    return ssh.explain(done.returncode, done.stderr.decode())


def one_line(error: object) -> str:
    return " ".join(str(error).split())


# Addresses

labels = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
hosts = labels | st.ip_addresses().map(str) | st.just("fe80::1%eth0")
users = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,20}", fullmatch=True)
ports = st.none() | st.integers(1, 65535)
units = st.sampled_from(["local", "cuda:0", "cuda:3", "vulkan:1"])


@given(st.builds(Address, hosts, users, ports, units))
def test_an_address_survives_being_written(address: Address) -> None:
    assert parse_address(str(address)) == address
    assert parse_address(f"ssh://{address.authority}").authority == address.authority


@given(st.text(max_size=40) | st.from_regex(r"[-a-z@:\[\]/%.0-9 $]{0,20}", fullmatch=True))
@example("-oProxyCommand=id")
@example("pi@-oProxyCommand=id")
@example("-l@host")
@example("[::1%-o]")
def test_no_text_becomes_an_option_or_shell_code(text: str) -> None:
    try:
        address = parse_address(f"ssh://{text}")
    except EdgecnnError:
        return
    *before, separator, host = address.arguments()
    assert separator == "--" and not host.startswith("-")
    assert before[::2] == [flag for flag in ("-l", "-p") if flag in before]
    assert not any(value.startswith("-") for value in before[1::2])
    assert all(shlex.quote(word.replace("%", "")) == word.replace("%", "") or ":" in word
               for word in (host, *before))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pi@host", "write ssh://"),
        ("ssh://", "no host name"),
        ("ssh://pi@", "no host name"),
        ("ssh://@host", "no user name"),
        ("ssh://-oProxyCommand=id", "no host name"),
        ("ssh://-l@host", "no user name"),
        ("ssh://a b@host", "no user name"),
        ("ssh://host:0", "port 0"),
        ("ssh://host:65536", "allowed: 1 to 65535"),
        ("ssh://host:", "no port"),
        ("ssh://host:٣", "no port"),
        ("ssh://::1", "in brackets"),
        ("ssh://[host]", "only an IPv6 address"),
        ("ssh://[1::2::3]", "no IPv6 address"),
        ("ssh://host/gpu", "unknown device 'gpu'"),
        ("ssh://hôte", "no host name"),
    ],
)
def test_what_is_no_address_is_refused(text: str, message: str) -> None:
    with pytest.raises((UsageError, UnavailableError), match=message):
        parse_address(text)


@pytest.mark.parametrize("text", ["ssh://pi:s3cret@host", "ssh://pi:s3/cr@et@host", "ssh://:s3@h"])
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        parse_address(text)
    assert "s3" not in str(caught.value)


def test_the_unit_is_the_boards(tmp_path: Path) -> None:
    assert parse_address("ssh://nvidia@orin/cuda").unit == "cuda:0"
    assert parse_address("ssh://orin/").unit == "local"
    entry = Named("ssh://pi@h:7", "/opt/py/bin/python3", tmp_path / "key")
    assert Ssh.to("pi@h:7", entry) == Ssh(Address("h", "pi", 7), entry.python, entry.identity)
    assert Ssh.to("pi@[::1]:7").where == "pi@[::1]:7"


def test_a_configuration_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/my/config")
    command = Ssh(Address("h")).command(["-V"])
    assert command[command.index("-F") + 1] == "/my/config"
    monkeypatch.delenv(CONFIG_VARIABLE)
    assert "-F" not in Ssh(Address("h")).command(["-V"])


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"`ssh` is not installed.*openssh-client"):
        Ssh(Address("h")).command(["-V"])


# A connection


def test_streams_arrive_unchanged_and_apart(server: Sshd) -> None:
    server.trust()
    every_byte = bytes(range(256)) * 300 + b"\n~.\r\n~~\x03\x04\x1a"
    done = call(server.ssh(), "-I", "-c", ECHO, stdin=every_byte)
    assert (done.returncode, done.stdout, done.stderr) == (0, every_byte, b"")
    split = "import os; os.write(1, b'out'); os.write(2, b'err'); raise SystemExit(7)"
    done = call(server.ssh(), "-I", "-c", split)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out", b"err")


def test_code_arrives_unchanged_through_the_remote_shell(server: Sshd) -> None:
    server.trust()
    here = subprocess.run([sys.executable, "-c", AWKWARD], capture_output=True, check=True)
    assert call(server.ssh(), "-c", AWKWARD).stdout == here.stdout


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "ksh", "fish", "tcsh", "csh"])
def test_the_remote_line_means_the_same_in_every_shell(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    line = Ssh(Address("h"), sys.executable).command(["-I", "-c", AWKWARD, "a b"])[-1]
    # A login shell runs the line like this: sshd(8), LOGIN PROCESS.
    through = subprocess.run([program, "-c", line], capture_output=True, check=True)
    here = subprocess.run([sys.executable, "-c", AWKWARD], capture_output=True, check=True)
    assert (through.stdout, through.stderr) == (here.stdout, b"")


def test_a_python_with_a_space_or_in_the_home_folder(server: Sshd, tmp_path: Path) -> None:
    server.trust()
    script = tmp_path / "my python"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    ssh = Ssh(server.address, str(script), options=server.options)
    assert ssh.probe()["python"] == ".".join(map(str, sys.version_info[:3]))
    home = subprocess.run(
        ["sh", "-c", Ssh(server.address, "~/no python").command(["-V"])[-1]],
        capture_output=True, text=True, env={"HOME": "/my home"}, check=False,
    )  # fmt: skip
    assert "/my home/no python" in home.stderr


def test_the_board_gets_the_servers_variables(server: Sshd) -> None:
    server.trust()
    code = "import os; print(os.environ['EDGECNN_BOARD_HOME'])"
    assert call(server.ssh(), "-c", code).stdout.decode().strip() == str(server.board_home)


# What can go wrong


def test_an_unknown_key_is_shown_with_the_line_that_accepts_it(server: Sshd) -> None:
    (key,) = hostkeys.offered(server.address, server.options)
    text = one_line(reason(server.ssh()))
    assert f"ssh-ed25519 {key.fingerprint}" in text
    assert f"device add NAME {server.address} --host-key {key.fingerprint}" in text
    assert not server.known_hosts.exists()


def test_the_fingerprint_is_the_one_that_ssh_shows(server: Sshd) -> None:
    (key,) = hostkeys.offered(server.address, server.options)
    public = server.identity.with_name("host_key.pub")
    shown = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, check=True)
    assert key.fingerprint in shown.stdout.decode().split()


def test_only_the_named_key_is_accepted(server: Sshd) -> None:
    (key,) = hostkeys.offered(server.address, server.options)
    with pytest.raises(UnavailableError, match="offers no host key SHA256:other") as caught:
        hostkeys.accept(server.address, "SHA256:other", server.options)
    assert key.fingerprint in str(caught.value)
    assert not hostkeys.is_known(server.address, server.options)
    hostkeys.accept(server.address, key.fingerprint, server.options)
    assert hostkeys.known(server.address, server.options) == (key,)
    assert call(server.ssh(), "-c", "print(1)").stdout == b"1\n"
    before = server.known_hosts.read_text()
    hostkeys.accept(server.address, key.fingerprint, server.options)
    assert server.known_hosts.read_text() == before


def test_an_accepted_key_is_filed_privately_and_behind_what_is_there(
    server: Sshd, tmp_path: Path
) -> None:
    (key,) = hostkeys.offered(server.address, server.options)
    file = tmp_path / "new folder" / "known"
    quoted = ("-o", f'UserKnownHostsFile="{file}"', *server.options)
    with pytest.raises(UnavailableError, match="cannot be told apart"):
        hostkeys.accept(server.address, key.fingerprint, quoted)
    file = tmp_path / "folder" / "known"
    options = ("-o", f"UserKnownHostsFile={file}", "-o", "HashKnownHosts=yes", *server.options)
    hostkeys.accept(server.address, key.fingerprint, options)
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert file.read_text().startswith("|1|") and "127.0.0.1" not in file.read_text()
    assert hostkeys.known(server.address, options) == (key,)
    assert call(Ssh(server.address, sys.executable, options=options), "-c", "").returncode == 0
    file.write_text("other ssh-ed25519 AAAA")
    hostkeys.accept(server.address, key.fingerprint, options)
    assert len(file.read_text().splitlines()) == 2
    assert hostkeys.known(server.address, options) == (key,)


def test_an_alias_files_the_key_without_a_port(server: Sshd) -> None:
    options = ("-o", "HostKeyAlias=my-board", *server.options)
    (key,) = hostkeys.offered(server.address, options)
    hostkeys.accept(server.address, key.fingerprint, options)
    assert server.known_hosts.read_text().startswith("my-board ssh-ed25519 ")
    assert call(Ssh(server.address, sys.executable, options=options), "-c", "").returncode == 0


def test_where_nothing_is_kept_nothing_is_accepted(server: Sshd, tmp_path: Path) -> None:
    (key,) = hostkeys.offered(server.address, server.options)
    options = ("-o", "UserKnownHostsFile=none", *server.options)
    with pytest.raises(UnavailableError, match="keeps no known hosts"):
        hostkeys.accept(server.address, key.fingerprint, options)
    options = ("-o", f"UserKnownHostsFile={tmp_path}", *server.options)
    with pytest.raises(DiskError, match="cannot be written"):
        hostkeys.accept(server.address, key.fingerprint, options)


def test_a_revoked_key_is_not_known_and_is_refused(server: Sshd) -> None:
    server.trust()
    server.known_hosts.write_text(f"@revoked {server.known_hosts.read_text()}")
    assert not hostkeys.is_known(server.address, server.options)
    assert "is refused" in str(reason(server.ssh()))


def test_a_host_behind_another_is_left_to_ssh(server: Sshd) -> None:
    options = ("-o", "ProxyJump=gate", *server.options)
    with pytest.raises(UnavailableError, match=r"reached through 'gate'.* Run `ssh -p \d+ 127"):
        hostkeys.offered(server.address, options)


def test_a_jump_host_works_and_its_unknown_key_is_refused(server: Sshd) -> None:
    server.trust()
    jump = ("-o", f"ProxyJump=localhost:{server.port}", *server.options)
    ssh = Ssh(server.address, sys.executable, options=jump)
    assert "or a jump host's) is refused" in str(reason(ssh))
    known = server.known_hosts.read_text()
    server.known_hosts.write_text(known + known.replace("127.0.0.1", "localhost"))
    assert ssh.probe()["machine"] == os.uname().machine


def test_a_changed_key_is_loud_and_not_covered_up(server: Sshd) -> None:
    server.trust()
    server.stop()
    server.new_host_key()
    server.start()
    (key,) = hostkeys.offered(server.address, server.options)
    text = one_line(reason(server.ssh()))
    assert "HAS CHANGED" in text and key.fingerprint in text
    assert "somebody stands in between" in text
    assert f'-R "[127.0.0.1]:{server.port}"' in text
    before = server.known_hosts.read_text()
    with pytest.raises(UnavailableError, match="another host key"):
        hostkeys.accept(server.address, key.fingerprint, server.options)
    assert server.known_hosts.read_text() == before


def test_a_refused_identity(server: Sshd, tmp_path: Path) -> None:
    server.trust()
    server.client_config.write_text(
        server.client_config.read_text().replace("IdentityFile", "# IdentityFile")
    )
    other = make_key(tmp_path / "other")
    error = reason(server.ssh(other))
    assert "accepts no key of yours" in str(error)
    assert f"ssh-copy-id -i {other} -p {server.port} 127.0.0.1" in str(error)
    assert error.exit_code == EXIT_UNAVAILABLE
    gone = tmp_path / "gone"
    assert f"no key file {gone}" in str(reason(server.ssh(gone)))


def test_nothing_listens(server: Sshd) -> None:
    server.trust()
    server.stop()
    error = reason(server.ssh())
    assert "nothing listens there" in str(error) and "Connection refused" in str(error)
    with pytest.raises(UnavailableError, match=r"shows no host key.*refused"):
        hostkeys.offered(server.address, server.options)


def test_a_name_that_leads_nowhere() -> None:
    ssh = Ssh(Address("nowhere.invalid"), options=("-F", "/dev/null"))
    assert "the name leads nowhere" in str(reason(ssh))


def test_a_configuration_that_is_missing_or_wrong(tmp_path: Path) -> None:
    ssh = Ssh(Address("127.0.0.1"), options=("-F", str(tmp_path / "gone")))
    assert "Mend that file" in str(reason(ssh))
    with pytest.raises(UnavailableError, match="refuses its configuration"):
        hostkeys.route(ssh.address, ssh.options)


@pytest.mark.parametrize("python", ["python3.99", "/opt/no such/python3"])
def test_a_missing_python(server: Sshd, python: str) -> None:
    server.trust()
    ssh = Ssh(server.address, python, options=server.options)
    text = str(reason(ssh))
    assert f"cannot start {python!r}" in text and "--python PATH" in text


def test_a_file_that_cannot_run_is_no_python(server: Sshd) -> None:
    server.trust()
    ssh = Ssh(server.address, "/etc/hostname", options=server.options)
    assert "cannot start '/etc/hostname'" in str(reason(ssh))


def test_a_python_that_fails_is_quoted(server: Sshd) -> None:
    server.trust()
    done = call(server.ssh(), "-c", "raise ValueError('odd')")
    text = str(server.ssh().explain(done.returncode, done.stderr.decode()))
    assert "exit code 1" in text and "ValueError: odd" in text


def test_a_login_script_that_prints_is_found(server: Sshd, tmp_path: Path) -> None:
    server.trust()
    script = tmp_path / "noisy"
    script.write_text(f'#!/bin/sh\necho Welcome\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"Welcome.*login script"):
        Ssh(server.address, str(script), options=server.options).probe()


def test_a_board_that_does_not_answer_in_time(server: Sshd, tmp_path: Path) -> None:
    server.trust()
    script = tmp_path / "slow"
    script.write_text("#!/bin/sh\nexec sleep 5\n")
    script.chmod(0o755)
    with pytest.raises(UnavailableError, match="did not answer within 1 s"):
        Ssh(server.address, str(script), options=server.options).probe(timeout_s=1)


class Running:
    """An echo on the board, under way."""

    def __init__(self, ssh: Ssh) -> None:
        self.ssh = ssh
        self.process = subprocess.Popen(
            ssh.command(["-I", "-u", "-c", f"import os; print(os.getpid(), flush=True); {ECHO}"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ssh.environment(),
        )
        assert self.process.stdout is not None
        self.remote_pid = int(self.process.stdout.readline())

    def end(self, timeout_s: float = 30) -> EdgecnnError:
        _, stderr = self.process.communicate(timeout=timeout_s)
        return self.ssh.explain(self.process.returncode, stderr.decode())


def test_a_dropped_connection_is_lost_and_the_next_one_works(server: Sshd) -> None:
    server.trust()
    running = Running(server.ssh())
    assert len(server.connections()) >= 1
    server.drop_connections()
    assert isinstance(running.end(), ConnectionLostError)
    assert server.ssh().probe()


def test_a_server_killed_mid_way_is_a_lost_connection(server: Sshd) -> None:
    server.trust()
    running = Running(server.ssh())
    server.stop()
    assert isinstance(running.end(), ConnectionLostError)


def test_a_process_killed_on_the_board_is_a_lost_connection(server: Sshd) -> None:
    server.trust()
    running = Running(server.ssh())
    os.kill(running.remote_pid, signal.SIGKILL)
    assert isinstance(running.end(), ConnectionLostError)


def test_a_client_killed_here_ends_the_process_there(server: Sshd) -> None:
    server.trust()
    running = Running(server.ssh())
    running.process.kill()
    assert isinstance(running.end(), ConnectionLostError)
    deadline = time.monotonic() + 20
    while alive(running.remote_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(running.remote_pid)


@pytest.mark.slow
def test_a_board_that_falls_silent_is_noticed(server: Sshd) -> None:
    server.trust()
    running = Running(server.ssh())
    server.freeze()
    error = running.end(timeout_s=KEEPALIVE_S * (KEEPALIVES + 1) + 20)
    assert isinstance(error, ConnectionLostError) and "fell silent" in str(error)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("ssh: connect to host h port 22: Connection timed out", UnavailableError, "no answer"),
        ("ssh: connect to host h port 22: No route to host", UnavailableError, "no answer"),
        ("Connection timed out during banner exchange", UnavailableError, "no answer"),
        ("Unable to negotiate with 192.0.2.7 port 22: no matching host key type found. Their "
         "offer: ssh-rsa", UnavailableError, "old methods"),
        ("Received disconnect from 192.0.2.7 port 22:2: Too many authentication failures",
         UnavailableError, "--identity FILE"),
        ("kex_exchange_identification: read: Connection reset by peer",
         ConnectionLostError, "ended"),
        ("client_loop: send disconnect: Broken pipe", ConnectionLostError, "ended"),
        ("channel 0: open failed: connect failed: Connection refused", UnavailableError,
         "nothing listens"),
        ("Read from remote host h: Connection timed out", ConnectionLostError, "ended"),
        ("Timeout, server h not responding.", ConnectionLostError, "ended"),
        ("a warning of the board's own", ConnectionLostError, "failed or ended: a warning"),
        ("", ConnectionLostError, "without a word"),
    ],
)  # fmt: skip
def test_messages_of_the_client(line: str, kind: type[EdgecnnError], message: str) -> None:
    error = Ssh(Address("h")).explain(255, f"{line}\r\n" if line else "")
    assert type(error) is kind
    assert message in str(error) and str(error).startswith("h") and line in str(error)


def test_csh_says_that_python_is_missing_in_its_own_way() -> None:
    error = Ssh(Address(NOWHERE)).explain(1, "python3: Command not found.\n")
    assert "cannot start 'python3'" in str(error)
