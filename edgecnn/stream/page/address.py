"""Where the page is served, and what an address needs."""

import ipaddress
import socket
from dataclasses import dataclass

from edgecnn.errors import UnavailableError, UsageError

LEAST_TOKEN = 16
_BACKLOG = 64


@dataclass(frozen=True)
class Address:
    """Host and port to listen on; ``token`` is what a viewer has to know, None for nothing."""

    host: str
    port: int
    token: str | None = None

    @classmethod
    def parse(cls, text: str, token: str | None) -> "Address":
        """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``PORT``, which is of this machine alone.

        Raises:
            UsageError: the text is none of these; another host than this machine without a token,
                or with one that is soon guessed.
        """
        host, _, port = text.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        if not port.isdecimal() or not int(port) < 65536:
            raise UsageError(f"{text!r}: allowed: HOST:PORT, such as 127.0.0.1:8080.")
        found = cls(host, int(port), token)
        if token is not None and len(token) < LEAST_TOKEN:
            raise UsageError(
                f"the token has {len(token)} characters; at least {LEAST_TOKEN} are needed. Make "
                "one with: openssl rand -hex 16"
            )
        if token is None and not found.is_loopback:
            raise UsageError(
                f"{host} can be reached by others: pass --token (or set EDGECNN_TOKEN), or serve "
                "on 127.0.0.1. Make a token with: openssl rand -hex 16"
            )
        return found

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def listen(self) -> socket.socket:
        """Open the port. With port 0 the system chooses one.

        Raises:
            UnavailableError: it is in use, or may not be opened.
        """
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise UnavailableError(
                f"{self}: cannot be served ({error.strerror or error}). Pass another port, or end "
                "the program that uses it."
            ) from error
