"""Reaching a board with OpenSSH's own client.

The user's configuration, jump hosts, agent, hardware keys and known hosts all work, because it is
OpenSSH that reads them. It never asks anything here: what it would ask is said in words instead.
"""

import base64
import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import ConnectionLostError, EdgecnnError, RefusedError, UnavailableError
from edgecnn.named import Named
from edgecnn.remote import hostkeys
from edgecnn.remote.address import Address, parse_address
from edgecnn.remote.programs import tool

__all__ = ["Address", "Ssh", "parse_address"]

CONFIG_VARIABLE = "EDGECNN_SSH_CONFIG"
"""A file for ``ssh -F``, in the place of the user's and the system's configuration."""
CONNECT_TIMEOUT_S = 10
KEEPALIVE_S, KEEPALIVES = 5, 3
PROBE_TIMEOUT_S = 60.0
CLIENT_FAILED = 255  # ssh(1), EXIT STATUS; the remote command's status otherwise
CANNOT_RUN, NOT_FOUND = 126, 127  # POSIX, Shell Command Language, 2.8.2

_SETTINGS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    f"ConnectTimeout={CONNECT_TIMEOUT_S}",
    f"ServerAliveInterval={KEEPALIVE_S}",
    f"ServerAliveCountMax={KEEPALIVES}",
    # Banners would end up among the board's own messages.
    "LogLevel=ERROR",
    "EscapeChar=none",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    # A connection that is there already is used; a new one is not left behind for others.
    "ControlMaster=no",
)
_PROBE = (
    "import json, platform; print(json.dumps("
    "{'python': platform.python_version(), 'machine': platform.machine()}))"
)


def config_options() -> tuple[str, ...]:
    """Return the options of ``ssh`` that the environment asks for; see ``CONFIG_VARIABLE``."""
    file = os.environ.get(CONFIG_VARIABLE)
    return ("-F", file) if file else ()


@dataclass(frozen=True)
class Ssh:
    """The way to a board over SSH; see :class:`edgecnn.remote.link.Transport`.

    ``python`` is the board's interpreter, ``identity`` a private key of the desk that is used
    alone, and ``options`` are more options of ``ssh``, which cannot loosen those given here.
    """

    address: Address
    python: str = "python3"
    identity: Path | None = None
    options: tuple[str, ...] = field(default_factory=config_options)

    @classmethod
    def to(cls, authority: str, entry: Named | None = None) -> "Ssh":
        """Return the way to ``user@host:port``, with what the user filed about the board.

        Raises:
            UsageError: that is no address.
        """
        address = parse_address(f"ssh://{authority}")
        return cls(address) if entry is None else cls(address, entry.python, entry.identity)

    @property
    def where(self) -> str:
        """``user@host:port``, as it was written."""
        return self.address.authority

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs the board's Python; its streams are the board's.

        The remote login shell may be any (sh, fish, csh): code after ``-c`` travels as base64,
        and other arguments are quoted, which all shells agree on for text without ``!``, ``\\``
        and line ends.

        Raises:
            UnavailableError: there is no SSH client.
        """
        settings = [word for setting in _SETTINGS for word in ("-o", setting)]
        identity = (
            [] if self.identity is None else ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"]
        )
        return [
            *(tool("ssh", hostkeys.PACKAGE), "-T", *settings, *identity, *self.options),
            *self.address.arguments(),
            _remote_line(self.python, arguments),
        ]

    def environment(self) -> dict[str, str]:
        """Return the client's variables: messages in English, and no window that asks."""
        return os.environ | {"LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}

    def explain(self, code: int | None, stderr: str) -> EdgecnnError:
        """Say why the connection ended, from ``ssh``'s exit code and standard error.

        Where the host key is unknown, the board is asked for its keys, which takes seconds.
        """
        if code is None or code < 0:
            return ConnectionLostError(
                f"{self.where}: the connection was given up at the desk: no sign of life came "
                "from the board, or the command was interrupted."
            )
        if code != CLIENT_FAILED:
            return self._explain_remote(code, stderr)
        for pattern, explanation in _EXPLANATIONS:
            line = next((line for line in stderr.splitlines() if pattern.search(line)), None)
            if line is not None:
                return explanation(self, line.strip(), stderr)
        if stderr.strip():
            return ConnectionLostError(
                f"{self.where}: the connection failed or ended: {_tail(stderr)}"
            )
        return ConnectionLostError(
            f"{self.where} fell silent, or ended the process without a word. Check its power and "
            "network, and its memory (`dmesg` there tells of processes killed for memory)."
        )

    def probe(self, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, str]:
        """Log in once, and return the board's ``python`` version and ``machine`` (architecture).

        Raises:
            UnavailableError: it cannot be reached, or its login script prints something.
        """
        try:
            done = subprocess.run(
                self.command(["-I", "-c", _PROBE]),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                env=self.environment(),
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{self.where} did not answer within {timeout_s:.0f} s."
            ) from error
        if done.returncode != 0:
            raise self.explain(done.returncode, done.stderr.decode(errors="replace"))
        return self._probed(done.stdout)

    def _probed(self, output: bytes) -> dict[str, str]:
        try:
            found = json.loads(output)
            return {key: str(found[key]) for key in ("python", "machine")}
        except (ValueError, TypeError, KeyError) as error:
            raise UnavailableError(
                f"{self.where} answered {output[:80]!r}. A login script there (~/.bashrc) must "
                "not print anything for connections without a terminal."
            ) from error

    def _explain_remote(self, code: int, stderr: str) -> EdgecnnError:
        # csh ends with 1 where a program is missing, all others with 127.
        is_missing = code == NOT_FOUND or re.search(r"not found\W*$", stderr.strip(), re.IGNORECASE)
        if is_missing or code == CANNOT_RUN:
            return UnavailableError(
                f"{self.where} cannot start {self.python!r} ({_tail(stderr)}). Install Python 3.11 "
                "or newer there (`sudo apt install python3`), or name it: "
                f"`edgecnn device add NAME {self.address} --python PATH`."
            )
        if code == 0:
            return ConnectionLostError(f"{self.where}: the process on the board ended.")
        return UnavailableError(
            f"{self.where}: Python on the board ended with exit code {code}: {_tail(stderr)}"
        )


def _remote_line(python: str, arguments: Sequence[str]) -> str:
    words = list(arguments)
    if "-c" in words:
        place = words.index("-c") + 1
        code = base64.b64encode(words[place].encode()).decode()
        words[place] = f'exec(__import__("base64").b64decode("{code}"))'
    # Without exec a shell would stay between the connection and Python.
    return f"exec {_program(python)} {shlex.join(words)}"


def _program(python: str) -> str:
    """Quote the interpreter, leaving ``~/`` to the board's shell."""
    if python.startswith("~/"):
        return f"~/{shlex.quote(python[2:])}"
    return shlex.quote(python)


def _tail(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it said nothing"


def _unknown_key(ssh: Ssh, line: str, stderr: str) -> EdgecnnError:
    try:
        way = hostkeys.route(ssh.address, ssh.options)
        if f" known for {way.name} " not in line:
            # The key of a jump host, which is not the board's.
            return UnavailableError(f"{ssh.where}: {line} Run `{_by_hand(ssh)}` once.")
        keys = hostkeys.offered(ssh.address, ssh.options)
    except UnavailableError as error:
        return UnavailableError(f"{ssh.where}: its host key is not known here. {error}")
    return unknown_key(ssh.address, keys)


def unknown_key(address: Address, keys: Sequence[hostkeys.HostKey]) -> RefusedError:
    """Return the refusal of a board whose key nobody has accepted, with the line that accepts."""
    return RefusedError(
        f"the host key of {address.authority} is not known here. It offers:\n"
        f"{hostkeys.listing(keys)}\n"
        "Compare with what the board itself shows (`ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub`), then run\n"
        f"  edgecnn device add NAME {address} --host-key {keys[0].fingerprint}\n"
        "or connect once with `ssh`, and accept it there."
    )


def _changed_key(ssh: Ssh, line: str, stderr: str) -> EdgecnnError:
    offered = re.search(r"SHA256:[\w+/]+", stderr)
    remove = re.search(r"ssh-keygen .*-R .*", stderr)
    return RefusedError(
        f"THE HOST KEY OF {ssh.where} HAS CHANGED; nothing was sent. Either the board was "
        "installed anew, or somebody stands in between and listens. It offers now: "
        f"{offered[0] if offered else 'another key'}. Only where you know why it changed, run "
        f"`{remove[0].strip() if remove else 'ssh-keygen -R ' + ssh.address.host}`, and accept the "
        "new one."
    )


def _denied(ssh: Ssh, line: str, stderr: str) -> EdgecnnError:
    if ssh.identity is not None and not ssh.identity.is_file():
        return RefusedError(f"{ssh.where}: there is no key file {ssh.identity}. ({line})")
    identity = "" if ssh.identity is None else f"-i {ssh.identity} "
    return RefusedError(
        f"{ssh.where} accepts no key of yours. ({line}) Run `ssh-copy-id {identity}"
        f"{ssh.address.port_option}{ssh.address.login}` once, or load a key that has a passphrase "
        "with `ssh-add`. edgecnn never takes a password."
    )


def _by_hand(ssh: Ssh) -> str:
    return f"ssh {ssh.address.port_option}{ssh.address.login}"


@dataclass(frozen=True)
class _Because:
    """An explanation that needs nothing but the line that SSH printed."""

    advice: str
    kind: type[UnavailableError] = UnavailableError

    def __call__(self, ssh: Ssh, line: str, stderr: str) -> EdgecnnError:
        return self.kind(f"{ssh.where}: {self.advice} ({line})")


_REFUSED_KEY = _Because(
    "a host key on the way (the board's, or a jump host's) is refused. Run `ssh` by hand to see "
    "why, and to accept it."
)
_TOO_MANY_KEYS = _Because(
    "too many keys were tried. Name the right one: `edgecnn device add NAME ADDRESS --identity "
    "FILE`."
)
_NO_SUCH_NAME = _Because(
    "the name leads nowhere. Check its spelling and the network; `NAME.local` needs mDNS, an IP "
    "address always works."
)
_NOBODY_LISTENS = _Because(
    "nothing listens there. Check that its SSH server runs (`sudo systemctl enable --now ssh`), "
    "and the port."
)
_NO_ANSWER = _Because(
    f"no answer within {CONNECT_TIMEOUT_S} s. Check that the board is on, its address, and the "
    "network between."
)
_TOO_OLD = _Because(
    "its SSH server speaks only old methods that this desk's client refuses. Update it, or allow "
    "them for this host in ~/.ssh/config."
)
_BAD_CONFIGURATION = _Because("the SSH client refuses its configuration. Mend that file.")
_ENDED = _Because("the connection ended. Check the board's power and network.", ConnectionLostError)

# What OpenSSH prints: sshconnect.c, sshconnect2.c, packet.c, clientloop.c, kex.c, readconf.c. The
# first that is found counts.
_EXPLANATIONS = tuple(
    (re.compile(pattern), explanation)
    for pattern, explanation in (
        (r"REMOTE HOST IDENTIFICATION HAS CHANGED", _changed_key),
        (r"host key is known for .* strict checking", _unknown_key),
        (r"REVOKED HOST KEY|Host key verification failed", _REFUSED_KEY),
        (r"Too many authentication failures", _TOO_MANY_KEYS),
        (r"Permission denied \(", _denied),
        (r"Could not resolve hostname", _NO_SUCH_NAME),
        (r"connect (to host|failed).* Connection refused", _NOBODY_LISTENS),
        (r"connect (to host|failed).* (timed out|No route|Network is un|Host is down)", _NO_ANSWER),
        (r"timed out during banner", _NO_ANSWER),
        (r"Unable to negotiate", _TOO_OLD),
        (r"configuration option|Bad owner or permissions|Can't open user config",
         _BAD_CONFIGURATION),
        (r"Connection (to .* )?(closed|reset|timed out)|Broken pipe|Timeout, server|isconnect",
         _ENDED),
    )
)  # fmt: skip
