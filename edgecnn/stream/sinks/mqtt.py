"""MQTT, with the messages by which Home Assistant finds the sensors by itself.

Topics below the URL's path (``edgecnn/NAME`` without one): ``state`` has the newest result as JSON,
``events`` every event, ``status`` is ``online`` or ``offline``, also when the board loses its power
(last will).
"""

import json
import os
import re
import socket
from time import monotonic_ns
from typing import Any
from urllib.parse import unquote, urlsplit

from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream.frame import NS_PER_S, Event
from edgecnn.stream.result import Result, Summary
from edgecnn.stream.sinks import About, Existing

syntax = "mqtt://[USER@]HOST[:PORT][/TOPIC] or mqtts://..."
PASSWORD = "EDGECNN_MQTT_PASSWORD"  # noqa: S105 (the name of a variable)
PORTS = {"mqtt": 1883, "mqtts": 8883}
DISCOVERY = "homeassistant"
PERIOD_S = 1.0
"""The newest result is published so often, and at once when the best class changes."""
CONNECT_TIMEOUT_S = 5.0
_WAITING = 16
"""Messages that wait for a broker: those by which it learns who we are, and no more."""


def matches(text: str) -> bool:
    """By the scheme."""
    return urlsplit(text).scheme in PORTS


def make(text: str, existing: Existing) -> "Mqtt":
    """Read the URL."""
    parts = urlsplit(text)
    if not parts.hostname:
        raise UsageError(f"{text!r} names no host; allowed: {syntax}.")
    if parts.password:
        raise UsageError(
            f"a password in a URL is seen by every user of the machine; set {PASSWORD} instead."
        )
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "MQTT needs paho-mqtt, which is not installed: pip install 'edgecnn[stream]'"
        ) from error
    topic = unquote(parts.path.strip("/")) or f"edgecnn/{_identifier(socket.gethostname())}"
    if set(topic) & set("+#\0"):
        raise UsageError(f"the topic {topic!r} has one of + and #, which stand for other topics.")
    port = parts.port or PORTS[parts.scheme]
    return Mqtt(parts.hostname, port, parts.username, topic, secure=parts.scheme == "mqtts")


class Mqtt:
    """A client that connects again by itself; what happens meanwhile is not sent later."""

    newest_only = True
    essential = False

    def __init__(self, host: str, port: int, user: str | None, topic: str, *, secure: bool) -> None:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self.name = f"mqtt {host}:{port} {topic}"
        self._host, self._port, self._topic = host, port, topic
        self._client: Any = mqtt.Client(CallbackAPIVersion.VERSION2)
        if user is not None:
            self._client.username_pw_set(unquote(user), os.environ.get(PASSWORD))
        if secure:
            self._client.tls_set()
        self._client.will_set(f"{topic}/status", "offline", qos=1, retain=True)
        self._client.max_queued_messages_set(_WAITING)
        self._client.on_connect = self._connected
        self._about: About | None = None
        self._last_ns, self._last_label = 0, ""

    def open(self, about: About) -> None:
        """Connect for the first time.

        Raises:
            UnavailableError: nobody answers.
        """
        self._about = about
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        try:
            self._client.connect(self._host, self._port)
        except OSError as error:
            raise UnavailableError(f"{self.name}: no answer ({error}).") from error
        self._client.loop_start()

    def _connected(self, client: Any, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        """Say again who we are, after each connection: a broker may have forgotten."""
        if reason.is_failure:
            return
        client.publish(f"{self._topic}/status", "online", qos=1, retain=True)
        for topic, message in discovery(self._topic, self._about):
            client.publish(topic, json.dumps(message), qos=1, retain=True)

    def result(self, result: Result) -> None:
        """Publish it, where the last is old enough or said something else."""
        now_ns, label = monotonic_ns(), result.top[0].label
        if label == self._last_label and now_ns - self._last_ns < PERIOD_S * NS_PER_S:
            return
        self._last_ns, self._last_label = now_ns, label
        self._client.publish(f"{self._topic}/state", json.dumps(result.to_dict()))

    def event(self, event: Event) -> None:
        """Publish it."""
        self._client.publish(f"{self._topic}/events", json.dumps(event.to_dict()))

    def close(self, summary: Summary) -> None:
        """Say goodbye and disconnect."""
        self._client.publish(f"{self._topic}/summary", json.dumps(summary.to_dict()), retain=True)
        last = self._client.publish(f"{self._topic}/status", "offline", qos=1, retain=True)
        if self._client.is_connected():
            last.wait_for_publish(CONNECT_TIMEOUT_S)
        self._client.disconnect()
        self._client.loop_stop()


def discovery(topic: str, about: About | None) -> list[tuple[str, dict[str, Any]]]:
    """Return topic and message for each sensor.

    Source: Home Assistant documentation, MQTT discovery, sensor.mqtt.
    """
    one = _identifier(topic)
    device = {
        "identifiers": [one],
        "name": topic,
        "manufacturer": "edgecnn",
        "model": about.models[0] if about and about.models else "edgecnn",
    }
    sensors = {
        "label": {"name": "Seen", "value_template": "{{ value_json.top[0].label }}",
                  "icon": "mdi:eye"},
        "score": {"name": "Score",
                  "value_template": "{{ (100 * value_json.top[0].score) | round }}",
                  "unit_of_measurement": "%", "state_class": "measurement"},
        "age": {"name": "Frame age", "value_template": "{{ value_json.frame_age_ms | round(1) }}",
                "unit_of_measurement": "ms", "state_class": "measurement",
                "device_class": "duration"},
    }  # fmt: skip
    return [
        (
            f"{DISCOVERY}/sensor/{one}/{name}/config",
            {
                "unique_id": f"{one}_{name}",
                "state_topic": f"{topic}/state",
                "availability_topic": f"{topic}/status",
                "payload_available": "online",
                "payload_not_available": "offline",
                "device": device,
                **sensor,
            },
        )
        for name, sensor in sensors.items()
    ]


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)
