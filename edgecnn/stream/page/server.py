"""The page's server: its own thread, its own event loop; the frame loop does not know of it."""

import asyncio
import json
from collections.abc import Callable
from importlib import resources
from threading import Event as Flag
from threading import Thread
from time import monotonic
from typing import Any

from aiohttp import web

from edgecnn.stream.page.address import Address
from edgecnn.stream.page.guard import guard, without_folders
from edgecnn.stream.page.hub import Hub
from edgecnn.stream.page.metrics import CONTENT_TYPE, exposition
from edgecnn.stream.sinks import About

STATIC = {"/": ("page.html", "text/html"), "/page.js": ("page.js", "text/javascript"),
          "/page.css": ("page.css", "text/css")}  # fmt: skip
VIEWERS = 32
"""At the picture, and as many at the figures; more are asked to come later."""
PICTURES_S, FIGURES_S = 1 / 15, 0.2
"""The least time between two of them."""
SLOW_VIEWER_S = 10.0
"""A viewer that takes nothing for so long is gone."""
WAIT_S = 5.0
STALE_S = 10.0
"""Without a result for so long, something hangs."""
SHOWN = ("seconds", "frames", "dropped", "repeated", "late", "passed", "age_ms", "ages", "fps",
         "models")  # fmt: skip
_BOUNDARY = "edgecnn-frame"


class Server:
    """Serves what the hub has until it is closed."""

    def __init__(self, address: Address, about: About) -> None:
        """Open the port and begin to serve.

        Raises:
            UnavailableError: the port cannot be opened.
        """
        self._socket = address.listen()
        self.address = Address(address.host, self._socket.getsockname()[1], address.token)
        self._about = about
        self._loop = asyncio.new_event_loop()
        self.hub = Hub(self._loop)
        self._stop = asyncio.Event()
        self._viewers = {"picture": 0, "figures": 0}
        self._ready = Flag()
        self._thread = Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Hang up on all viewers and end."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        application = web.Application(middlewares=[guard(self.address)])
        for path in STATIC:
            application.router.add_get(path, self._static)
        for path, handler in (
            ("/picture", self._picture),
            ("/figures", self._figures),
            ("/healthz", self._healthz),
            ("/metrics", self._metrics),
            ("/favicon.ico", self._no_icon),
        ):
            application.router.add_get(path, handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _static(self, request: web.Request) -> web.Response:
        name, kind = STATIC[request.path]
        text = resources.files(__package__).joinpath(name).read_text("utf-8")
        return web.Response(text=text, content_type=kind)

    async def _no_icon(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        """Pictures one after another (multipart/x-mixed-replace)."""
        response = web.StreamResponse()
        response.content_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"

        async def send(number: int) -> None:
            jpeg = await self._loop.run_in_executor(None, self.hub.jpeg)
            head = (
                f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            )
            await response.write(head.encode() + jpeg + b"\r\n")

        return await self._live("picture", request, response, send, PICTURES_S)

    async def _figures(self, request: web.Request) -> web.StreamResponse:
        """Figures one after another (server-sent events)."""
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        seen = 0

        async def send(number: int) -> None:
            nonlocal seen
            seen, events = self.hub.events_after(seen)
            row = self._row() | {"events": events}
            await response.write(f"data: {json.dumps(row)}\n\n".encode())

        return await self._live("figures", request, response, send, FIGURES_S)

    async def _live(
        self,
        what: str,
        request: web.Request,
        response: web.StreamResponse,
        send: Callable[[int], Any],
        period_s: float,
    ) -> web.StreamResponse:
        """Send the newest again and again, as fast as the viewer takes it, to a limit."""
        if self._viewers[what] >= VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{VIEWERS} viewers are here already\n")
        self._viewers[what] += 1
        number = 0
        try:
            await response.prepare(request)
            while not self._stop.is_set():
                began = monotonic()
                number = await self.hub.after(number, WAIT_S)
                async with asyncio.timeout(SLOW_VIEWER_S):
                    await send(number)
                await asyncio.sleep(max(0.0, period_s - (monotonic() - began)))
        except (ConnectionError, TimeoutError):
            # The viewer has gone, or takes nothing any more.
            pass
        finally:
            self._viewers[what] -= 1
        return response

    def _row(self) -> dict[str, Any]:
        about, result = self._about, self.hub.newest
        return {
            "source": without_folders(about.source),
            "models": about.models,
            "budget_ms": about.budget_ms,
            "percentile": about.percentile,
            "result": None if result is None else result.to_dict(),
            "state": {name: about.state()[name] for name in SHOWN},
            "health": about.health(),
            "problem": self._problem(),
        }

    def _problem(self) -> str | None:
        """Return what is wrong, None while all is well."""
        problem, silent_s = self._about.problem(), self.hub.silent_s
        if problem is None and silent_s > STALE_S:
            problem = f"no result for {silent_s:.0f} s"
        return None if problem is None else without_folders(problem)

    async def _healthz(self, request: web.Request) -> web.Response:
        problem = self._problem()
        result = self.hub.newest
        body = {
            "healthy": problem is None,
            "problem": problem,
            "frame_age_ms": None if result is None else result.frame_age_ms,
        }
        return web.json_response(body, status=200 if problem is None else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        text = exposition(self._about.state(), self._about.health())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
