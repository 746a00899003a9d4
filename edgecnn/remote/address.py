"""Addresses of boards: ``ssh://[user@]host[:port][/unit]``."""

import ipaddress
import re
from dataclasses import dataclass

from edgecnn.device import Device
from edgecnn.errors import UsageError

SCHEME = "ssh://"
SYNTAX = "ssh://[user@]host[:port][/cuda:N]"
LAST_PORT = 65535
LONGEST_HOST = 253  # characters of a name in the DNS (RFC 1035, section 2.3.4)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_ZONE = re.compile(r"[A-Za-z0-9_.-]+")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[^:\[\]]*))?")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """Where a board is reached, and what computes there.

    ``host`` is a name, also one of the user's ``~/.ssh/config``, or an IP address (IPv6 without
    brackets). Where ``user`` or ``port`` is None, that file decides, then SSH's defaults. ``unit``
    is a device as the board sees it: ``local`` (its processor), ``cuda:0``.
    """

    host: str
    user: str | None = None
    port: int | None = None
    unit: str = "local"

    def __post_init__(self) -> None:
        """Refuse what an SSH client or a shell might take for something else.

        Raises:
            UsageError: a part is not what its name says.
        """
        _check_host(self.host)
        if self.user is not None and not _USER.fullmatch(self.user):
            raise UsageError(
                f"{self.user!r} is no user name for an address: allowed are letters, digits and "
                "_ . + - (not at the start). Write any other name as `User` into ~/.ssh/config, "
                "and leave it out of the address."
            )
        if self.port is not None and not 1 <= self.port <= LAST_PORT:
            raise UsageError(f"port {self.port} does not exist; allowed: 1 to {LAST_PORT}.")

    def __str__(self) -> str:
        unit = "" if self.unit == "local" else f"/{self.unit}"
        return f"{SCHEME}{self.authority}{unit}"

    @property
    def authority(self) -> str:
        """The address without scheme and unit: ``pi@192.0.2.7:22``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.login_prefix}{host}" + ("" if self.port is None else f":{self.port}")

    @property
    def login(self) -> str:
        """What SSH's programs take: ``pi@192.0.2.7``; the port is an option of theirs."""
        return f"{self.login_prefix}{self.host}"

    @property
    def login_prefix(self) -> str:
        """``user@``, or nothing."""
        return "" if self.user is None else f"{self.user}@"

    @property
    def port_option(self) -> str:
        """``-p 2222 ``, with a space behind it, for lines that a person runs; or nothing."""
        return "" if self.port is None else f"-p {self.port} "

    def arguments(self) -> list[str]:
        """Return the arguments of ``ssh`` that name the board; the host can be no option."""
        user = [] if self.user is None else ["-l", self.user]
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*user, *port, "--", self.host]


def parse_address(text: str) -> Address:
    """Read ``ssh://[user@]host[:port][/unit]``; an IPv6 address stands in brackets.

    Raises:
        UsageError: the text is no such address, or holds a password.
        UnavailableError: the unit is no device.
    """
    if not text.startswith(SCHEME):
        raise UsageError(f"{text!r} is no address of a board; write {SYNTAX}.")
    before, at, rest = text[len(SCHEME) :].rpartition("@")
    if ":" in before:
        # The text is not repeated: messages end up in logs.
        raise UsageError(
            "the address holds a password: others would read it in the list of processes and in "
            f"the shell's history. Write {SYNTAX}, and log in with a key (`ssh-copy-id`)."
        )
    authority, _, unit = rest.partition("/")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UsageError(
            f"{authority!r} is no host and port; write {SYNTAX}, an IPv6 address in brackets."
        )
    return Address(
        host=_without_brackets(parts["host"]),
        user=before if at else None,
        port=None if parts["port"] is None else _port(parts["port"]),
        unit=str(Device.parse(unit or "local")),
    )


def _without_brackets(host: str) -> str:
    if not host.startswith("["):
        return host
    inside = host[1:-1]
    if ":" not in inside:
        raise UsageError(f"{host!r}: only an IPv6 address stands in brackets.")
    return inside


def _port(text: str) -> int:
    if not _PORT.fullmatch(text):
        raise UsageError(f"{text!r} is no port; allowed: 1 to {LAST_PORT}.")
    return int(text)


def _check_host(host: str) -> None:
    if ":" in host:
        _check_ipv6(host)
    elif not _NAME.fullmatch(host) or len(host) > LONGEST_HOST:
        raise UsageError(
            f"{host[:80]!r} is no host name; allowed are letters, digits and . _ - (not at the "
            f"start), {LONGEST_HOST} at most. Write {SYNTAX}."
        )


def _check_ipv6(host: str) -> None:
    address, percent, zone = host.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError as error:
        raise UsageError(f"{host!r} is no IPv6 address ({error}).") from error
    if percent and not _ZONE.fullmatch(zone):
        raise UsageError(f"{zone!r} is no network interface, as in fe80::1%eth0.")
