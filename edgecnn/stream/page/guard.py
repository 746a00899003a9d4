"""Who may see the page: a check in front of every request."""

import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from edgecnn.stream.page.address import Address

COOKIE = "edgecnn_token"
RATE, BURST = 20.0, 60.0
"""Requests a second of one viewer in the long run, and at once."""
FAILURES_RATE, FAILURES_BURST = 0.1, 5.0
"""Wrong tokens."""
_REMEMBERED = 1024
"""Viewers; of more the oldest is forgotten."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass
class Limit:
    """A token bucket for each viewer."""

    rate: float
    burst: float
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def allows(self, who: str, cost: float = 1.0) -> bool:
        """Whether there is room for one more; takes it if so."""
        now = monotonic()
        left, then = self._left.pop(who, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        allowed = left >= cost
        self._left[who] = (left - cost if allowed else left, now)
        while len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return allowed


def guard(address: Address) -> Middleware:
    """Return the middleware for an address."""
    requests, failures = Limit(RATE, BURST), Limit(FAILURES_RATE, FAILURES_BURST)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        who = request.remote or "unknown"
        if not requests.allows(who):
            raise web.HTTPTooManyRequests(text="too many requests; wait a few seconds\n")
        if address.token is None:
            _refuse_foreign_host(request)
            return _hardened(await handler(request))
        given = _given(request)
        if given is None or not hmac.compare_digest(given.encode(), address.token.encode()):
            if given is not None and not failures.allows(who):
                raise web.HTTPTooManyRequests(text="too many wrong tokens; wait a minute\n")
            raise web.HTTPUnauthorized(
                text="a token is needed: open /?token=..., or send Authorization: Bearer ...\n"
            )
        if "token" in request.query and request.method == "GET":
            # The token leaves the address bar, and with it the browser's history.
            response: web.StreamResponse = web.HTTPSeeOther(request.path)
            response.set_cookie(COOKIE, given, httponly=True, samesite="Strict")
            return response
        return _hardened(await handler(request))

    return check


def _given(request: web.Request) -> str | None:
    header = request.headers.get("Authorization", "")
    bearer = header[len("Bearer ") :] if header.startswith("Bearer ") else None
    return bearer or request.cookies.get(COOKIE) or request.query.get("token")


def _refuse_foreign_host(request: web.Request) -> None:
    """Without a token, a web page elsewhere must not read this one through a name that it points
    to this machine (DNS rebinding)."""
    if urlsplit(f"//{request.host}").hostname not in _LOOPBACK:
        raise web.HTTPForbidden(text="open it as localhost or 127.0.0.1\n")


def _hardened(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response


_FOLDERS = re.compile(r"(?<![\w:/.])(?:~|\.{1,2})?/(?:[^\s/:;,()']+/)+")


def without_folders(text: str) -> str:
    """Return a message with the folders of its paths left out."""
    return _FOLDERS.sub("", text)
