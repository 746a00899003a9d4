"""Telling systemd that the service is up, and alive (sd_notify(3))."""

import os
import socket
from time import monotonic

_ABSTRACT = "@"


class Notifier:
    """Speaks to systemd where it started the program; elsewhere it does nothing."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith(_ABSTRACT) else address
        watchdog_us = int(os.environ.get("WATCHDOG_USEC") or 0)
        self._period_s = watchdog_us / 1e6 / 3
        self._last_s = 0.0

    def ready(self, text: str) -> None:
        """Say that the stream runs."""
        self._send(f"READY=1\nSTATUS={text}")

    def beat(self) -> None:
        """Say that the loop is alive, three times as often as systemd asks for."""
        if self._period_s and monotonic() - self._last_s >= self._period_s:
            self._last_s = monotonic()
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.settimeout(1.0)
            try:
                there.sendto(message.encode(), self._address)
            except OSError:
                # systemd is busy or gone; it decides what a missing beat means.
                return
