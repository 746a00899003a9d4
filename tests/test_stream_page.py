"""The page, over HTTP and in a real browser."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromium
import pytest
import scripted
from hypothesis import given
from hypothesis import strategies as st
from scripted import LOST, Camera, forever, picture, plug

from edgecnn import Artifact, Stream
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.stream import Budget

pytest.importorskip("aiohttp", reason="pip install aiohttp")

from edgecnn.stream.page import Page, server
from edgecnn.stream.page.address import Address
from edgecnn.stream.page.guard import Limit, without_folders

pytestmark = pytest.mark.alone

TOKEN = "0123456789abcdef"  # noqa: S105 (of a test)


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    return scripted.model(tmp_path)


@contextmanager
def served(
    model: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    *cameras: Any,
    token: str | None = None,
    **given: Any,
) -> Iterator[tuple[Stream, int]]:
    """A running stream and its page's port."""
    plug(monkeypatch, *(cameras or (Camera(forever(), fps=50),)))
    page = Page(Address.parse("127.0.0.1:0", token))
    with Stream(model, "any", sinks=[page], **given) as results:
        runner = threading.Thread(target=lambda: [None for _ in results], daemon=True)
        runner.start()
        yield results, page.address.port
        results.stop()
        runner.join(10)


def get(port: int, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8", "replace")
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def wait_for(check: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


def test_health_and_metrics(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, monkeypatch, budget=Budget(limit_ms=1000)) as (results, port):
        wait_for(lambda: results.summary.frames > 10)
        status, text, _ = get(port, "/healthz")
        assert status == 200
        assert json.loads(text)["healthy"]
        status, text, headers = get(port, "/metrics")
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        assert float(values["edgecnn_results_total"]) > 10
        assert 0 < float(values['edgecnn_frame_age_seconds{quantile="0.95"}']) < 1
        assert float(values["edgecnn_budget_seconds"]) == 1.0
        assert float(values['edgecnn_model_results_total{model="tiny"}']) > 10


def test_a_lost_camera_is_no_health(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([picture(0), LOST])
    cameras = [Camera(script), *[UnavailableError("gone")] * 500]
    with served(model, monkeypatch, *cameras) as (results, port):
        wait_for(lambda: results.problem is not None)
        status, text, _ = get(port, "/healthz")
        assert status == 503
        assert json.loads(text)["problem"] == "the source is lost"


def test_a_hanging_loop_is_no_health(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALE_S", 0.2)

    def hangs() -> Iterator[Any]:
        yield picture(0)
        time.sleep(3)

    with served(model, monkeypatch, Camera(hangs())) as (_, port):
        wait_for(lambda: get(port, "/healthz")[0] == 503)
        assert "no result for" in get(port, "/healthz")[1]


def test_pictures_and_figures_go_on(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, monkeypatch) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/picture")
        data = connection.getresponse().read(100_000)
        assert data.count(b"\xff\xd8\xff") >= 5
        connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/figures")
        answer = connection.getresponse()
        rows = []
        while len(rows) < 3:
            line = answer.readline()
            if line.startswith(b"data: "):
                rows.append(json.loads(line[6:]))
        connection.close()
    assert rows[0]["events"][0]["event"] == "opened"
    assert rows[-1]["result"]["frame"] > rows[0]["result"]["frame"]
    assert "image" not in rows[0]["result"]


def test_answers_are_hardened(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, monkeypatch) as (_, port):
        status, text, headers = get(port, "/")
        assert status == 200
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "<script>" not in text
        assert get(port, "/../../etc/passwd")[0] == 404
        assert get(port, "/page.py")[0] == 404
        assert get(port, "/", Host="evil.example")[0] == 403


def test_a_token_is_asked_for(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, monkeypatch, token=TOKEN) as (_, port):
        for path in ("/", "/picture", "/figures", "/healthz", "/metrics", "/page.js"):
            assert get(port, path)[0] == 401
        assert get(port, "/healthz", Authorization=f"Bearer {TOKEN}")[0] == 200
        status, _, headers = get(port, f"/?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert get(port, "/", Cookie=cookie)[0] == 200
        found = [get(port, "/?token=wrong-wrong-wrong")[0] for _ in range(10)]
        assert found[0] == 401
        assert found[-1] == 429


def test_two_hundred_connections_cost_the_loop_nothing(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecnn.stream.page.guard.BURST", 1000.0)
    monkeypatch.setattr("edgecnn.stream.page.guard.RATE", 1000.0)
    with served(model, monkeypatch, Camera(forever(), fps=30)) as (results, port):
        wait_for(lambda: results.summary.frames > 5)
        viewers = []
        for _ in range(200):
            # They ask and never read.
            one = socket.create_connection(("127.0.0.1", port), timeout=10)
            one.sendall(b"GET /picture HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            viewers.append(one)
        before, start = results.summary.frames, time.monotonic()
        time.sleep(2)
        rate = (results.summary.frames - before) / (time.monotonic() - start)
        heads = []
        for one in viewers:
            one.settimeout(10)
            heads.append(one.recv(12))
            one.close()
    assert rate > 20, "of 30"
    assert heads.count(b"HTTP/1.1 200") == server.VIEWERS
    assert heads.count(b"HTTP/1.1 503") == 200 - server.VIEWERS


def test_too_many_requests_are_refused(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(model, monkeypatch) as (_, port):
        found = {get(port, "/healthz")[0] for _ in range(100)}
    assert 429 in found


def test_a_port_in_use_is_said(model: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, Camera(forever()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        page = Page(Address.parse(f"127.0.0.1:{taken.getsockname()[1]}", None))
        with (
            pytest.raises(UnavailableError, match="another port"),
            Stream(model, "any", sinks=[page]),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "token", "said"),
    [("0.0.0.0:80", None, "--token"), ("192.168.1.5:80", None, "--token"),
     ("[::]:80", None, "--token"), ("cam.local:80", None, "--token"),
     ("0.0.0.0:80", "short", "at least 16"),
     ("127.0.0.1", None, "HOST:PORT"), ("127.0.0.1:http", None, "HOST:PORT"),
     ("127.0.0.1:70000", None, "HOST:PORT")],
)  # fmt: skip
def test_an_address_that_may_not_be(text: str, token: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Address.parse(text, token)


def test_addresses_of_this_machine_need_no_token() -> None:
    for text in ("127.0.0.1:80", "localhost:80", "[::1]:80", ":80", "127.8.8.8:80"):
        assert Address.parse(text, None).is_loopback


@given(st.text(max_size=40))
def test_an_address_is_read_or_refused(text: str) -> None:
    try:
        found = Address.parse(text, None)
    except UsageError:
        return
    assert found.is_loopback
    assert 0 <= found.port < 65536


def test_a_limit_lets_bursts_through_and_forgets_old_viewers() -> None:
    limit = Limit(rate=1.0, burst=3.0)
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b")
    for number in range(2000):
        limit.allows(f"viewer {number}")
    assert len(limit._left) <= 1024


@pytest.mark.parametrize(
    ("text", "shown"),
    [("/home/me/out.mp4: full", "out.mp4: full"), ("~/x/y.csv", "y.csv"), ("a/b", "a/b"),
     ("rtsp://cam/live: gone", "rtsp://cam/live: gone"),
     ("in /var/lib/x and /tmp/y.z", "in x and y.z")],
)  # fmt: skip
def test_folders_are_not_shown(text: str, shown: str) -> None:
    assert without_folders(text) == shown


@pytest.mark.skipif(chromium.program() is None, reason="no Chromium (Debian: apt install chromium)")
def test_the_page_lives_in_a_browser(
    model: Artifact, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(Address.parse("127.0.0.1:0", None))
    budget = Budget(limit_ms=40)
    with Stream(model, str(video), budget=budget, sinks=[page]) as results:
        runner = threading.Thread(target=lambda: [None for _ in results], daemon=True)
        runner.start()
        with chromium.Browser() as browser:
            for width in (1200, 390):
                browser.visit(str(page.address), width=width)
                _look(browser, width)
                browser.screenshot(tmp_path / f"{width}.png")
            assert browser.problems() == []
            assert all(url.startswith(str(page.address)) for url in browser.requests())
        results.stop()
        runner.join(10)


def _look(browser: chromium.Browser, width: int) -> None:
    """The page at a width shows everything, and goes on."""

    def text(name: str) -> Any:
        return browser.evaluate(f"document.getElementById('{name}').textContent")

    def ink(name: str) -> Any:
        return browser.evaluate(_INK.format(name))

    wait_for(lambda: browser.evaluate("document.querySelectorAll('#top li').length") == 5)
    wait_for(lambda: browser.evaluate("document.getElementById('picture').naturalWidth") == 640)
    first = text("age")
    wait_for(lambda: text("age") != first)
    wait_for(lambda: ink("ages") > 100 and ink("histogram") > 100)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert "40 ms" in text("verdict")
    assert browser.evaluate("document.querySelectorAll('#events li').length") >= 1


_INK = """(() => {{ const c = document.getElementById('{0}');
const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }})()"""
"""How many points of a canvas are drawn on."""
