"""Host keys: which one a board offers, which one is known, and accepting one on purpose.

OpenSSH keeps them and checks them (``known_hosts``, described in sshd(8), SSH_KNOWN_HOSTS FILE
FORMAT). Nothing here adds a key that nobody has looked at.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.errors import UnavailableError
from edgecnn.files import DiskError
from edgecnn.remote.address import Address
from edgecnn.remote.programs import tool

SCAN_TIMEOUT_S = 5
TOOL_TIMEOUT_S = 60
STANDARD_PORT = 22
PACKAGE = "sudo apt install openssh-client"

_TYPE = re.compile(r"[a-z0-9@.-]{1,64}")
_NO_FILES = ("none", "/dev/null")


@dataclass(frozen=True)
class HostKey:
    """A public key of a board: ``type`` such as ``ssh-ed25519``, and the key in base64."""

    type: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as all of SSH's programs show it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"


@dataclass(frozen=True)
class Route:
    """How SSH's configuration says that a board is reached.

    ``name`` is what its keys are filed under. ``user_files`` is empty where the configuration
    keeps no known hosts. ``hop`` is what stands in between (a jump host, a proxy), or empty.
    """

    hostname: str
    port: int
    name: str
    user_files: tuple[Path, ...]
    global_files: tuple[Path, ...]
    is_hashed: bool
    hop: str


def route(address: Address, options: Sequence[str] = ()) -> Route:
    """Ask ``ssh -G`` what the configuration says; ``options`` are those of the connection.

    Raises:
        UnavailableError: there is no SSH client, or its configuration is not understood.
    """
    done = _run(["ssh", *options, "-G", *address.arguments()])
    if done.returncode != 0:
        raise UnavailableError(f"ssh refuses its configuration: {done.stderr.strip()}")
    found = _settings(done.stdout)
    hostname, port = found["hostname"], int(found["port"])
    hops = [found.get(key, "none") for key in ("proxyjump", "proxycommand")]
    return Route(
        hostname=hostname,
        port=port,
        name=found.get("hostkeyalias", _filed_as(hostname, port)),
        user_files=_paths(found.get("userknownhostsfile", "")),
        global_files=_paths(found.get("globalknownhostsfile", "")),
        is_hashed=found.get("hashknownhosts") == "yes",
        hop=next((hop for hop in hops if hop != "none"), ""),
    )


def offered(address: Address, options: Sequence[str] = ()) -> tuple[HostKey, ...]:
    """Ask the board which keys it has. What answers may be anybody: this proves nothing yet.

    Raises:
        UnavailableError: nothing answers within five seconds, or the board stands behind another
            host, where only ``ssh`` itself gets.
    """
    return _scan(address, route(address, options))


def known(address: Address, options: Sequence[str] = ()) -> tuple[HostKey, ...]:
    """Return the keys of the board in the user's and the system's files of known hosts.

    A certificate authority that signs the board's key counts as one; a revoked key does not.

    Raises:
        UnavailableError: SSH's programs are missing, or its configuration is not understood.
    """
    return _known(route(address, options))


def is_known(address: Address, options: Sequence[str] = ()) -> bool:
    """Say whether any key of the board is known; see :func:`known`."""
    return bool(known(address, options))


def accept(address: Address, fingerprint: str, options: Sequence[str] = ()) -> HostKey:
    """File the key that has this fingerprint (``SHA256:...``) under the board's name.

    It goes to the end of the user's first file of known hosts, hashed where the configuration
    hashes names. A key that is there already stays as it is.

    Raises:
        UnavailableError: the board offers no such key, another key of the type is known already,
            or the configuration keeps no known hosts.
        DiskError: the file cannot be written.
    """
    way = route(address, options)
    keys = _scan(address, way)
    key = next((key for key in keys if key.fingerprint == fingerprint), None)
    if key is None:
        raise UnavailableError(
            f"{address.authority} offers no host key {fingerprint}, but:\n{listing(keys)}\n"
            "Compare with what the board itself shows (`ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub`)."
        )
    before = _known(way)
    if key not in before:
        _refuse_changed(key, before, way)
        _append(way, key)
    return key


def listing(keys: Sequence[HostKey]) -> str:
    """Return the keys for a message, one a line."""
    return "\n".join(f"  {key}" for key in keys)


def _scan(address: Address, way: Route) -> tuple[HostKey, ...]:
    if way.hop:
        raise UnavailableError(
            f"{address.authority} is reached through {way.hop!r}, so its host key cannot be asked "
            f"for. Run `ssh {address.port_option}{address.login}` once, and compare the key there."
        )
    done = _run(["ssh-keyscan", "-T", str(SCAN_TIMEOUT_S), "-p", str(way.port), way.hostname])
    keys = sorted(_keys(done.stdout), key=lambda key: (key.type != "ssh-ed25519", key.type))
    if not keys:
        said = [line for line in done.stderr.splitlines() if not line.startswith("#")]
        reason = said[-1] if said else f"refused, or no answer within {SCAN_TIMEOUT_S} s"
        raise UnavailableError(
            f"{address.authority} shows no host key ({reason}). Check that the board is on, and "
            "that its SSH server answers at this host and port."
        )
    return tuple(keys)


def _known(way: Route) -> tuple[HostKey, ...]:
    files = [path for path in (*way.user_files, *way.global_files) if path.is_file()]
    return tuple(
        key
        for path in files
        for key in _keys(_run(["ssh-keygen", "-F", way.name, "-f", str(path)]).stdout)
    )


def _keys(text: str) -> Iterator[HostKey]:
    """The keys in lines of a known_hosts file; other lines are passed over."""
    for line in text.splitlines():
        fields = line.removeprefix("@cert-authority ").split()
        if len(fields) < 3 or line.startswith(("#", "@revoked")):
            continue
        if _TYPE.fullmatch(fields[1]) and _is_base64(fields[2]):
            yield HostKey(fields[1], fields[2])


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def _refuse_changed(key: HostKey, before: Sequence[HostKey], way: Route) -> None:
    others = [other for other in before if other.type == key.type]
    if others:
        raise UnavailableError(
            f"another host key of {way.name} is known:\n{listing(others)}\nIt offers now:\n  {key}"
            "\nEither the board was installed anew, or somebody stands in between. Where you know "
            f"why it changed, run `ssh-keygen -R '{way.name}'` first."
        )


def _append(way: Route, key: HostKey) -> None:
    if not way.user_files:
        raise UnavailableError(
            "SSH's configuration keeps no known hosts (UserKnownHostsFile); name a file there."
        )
    path = way.user_files[0]
    name = _hashed(way.name) if way.is_hashed else way.name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = path.read_bytes() if path.exists() else b""
        start = "" if not old or old.endswith(b"\n") else "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{start}{name} {key.type} {key.blob}\n")
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror}).") from error


def _hashed(name: str) -> str:
    """``|1|salt|digest``: HMAC-SHA1 of the name, which keeps it from being read (sshd(8))."""
    salt = secrets.token_bytes(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


def _filed_as(hostname: str, port: int) -> str:
    return hostname if port == STANDARD_PORT else f"[{hostname}]:{port}"


def _settings(text: str) -> dict[str, str]:
    lines = (line.partition(" ") for line in text.splitlines())
    return {key: value for key, _, value in lines}


def _paths(text: str) -> tuple[Path, ...]:
    """The files of a setting; ``ssh -G`` writes a path with a space as if it were two."""
    files = [word for word in text.split() if word not in _NO_FILES]
    if not all(word.startswith("/") for word in files):
        raise UnavailableError(
            f"ssh's files of known hosts cannot be told apart: {text!r}. Connect once with `ssh`, "
            "and accept the host key there."
        )
    return tuple(map(Path, files))


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    program, *arguments = command
    try:
        return subprocess.run(
            [tool(program, PACKAGE), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            env=os.environ | {"LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"`{program}` did not end within {TOOL_TIMEOUT_S} s.") from error
