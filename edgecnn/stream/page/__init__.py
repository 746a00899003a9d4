"""The page: the picture with its labels, frame ages and events, live in a browser.

A sink like others, and the only one that listens: see `address` for who may see it.
"""

from edgecnn.errors import UnavailableError
from edgecnn.stream.frame import Event
from edgecnn.stream.page.address import Address
from edgecnn.stream.result import Result, Summary
from edgecnn.stream.sinks import About


class Page:
    """Serves the page while the stream runs."""

    newest_only = True
    essential = False

    def __init__(self, address: Address) -> None:
        """Nothing is opened yet.

        Raises:
            UnavailableError: aiohttp is missing.
        """
        try:
            from edgecnn.stream.page.server import Server
        except ImportError as error:
            raise UnavailableError(
                "the page needs aiohttp, which is not installed: pip install 'edgecnn[stream]'"
            ) from error
        self.name, self.address = f"page {address}", address
        self._make = Server
        self._server: Server | None = None

    def open(self, about: About) -> None:
        """Open the port. Raises UnavailableError where it cannot be."""
        self._server = self._make(self.address, about)
        self.address = self._server.address

    def result(self, result: Result) -> None:
        """Show a result."""
        if self._server is not None:
            self._server.hub.publish(result)

    def event(self, event: Event) -> None:
        """Show an event."""
        if self._server is not None:
            self._server.hub.tell(event)

    def close(self, summary: Summary) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
