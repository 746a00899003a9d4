"""The page in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, program
from report_documents import EVERY, choice, written

from edgecnn import report

NASTY = "</title></script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
MARK = """(() => {
  const charts = [...document.querySelectorAll("svg.chart")];
  const seen = charts.find((one) => one.getBoundingClientRect().width > 0);
  seen.scrollIntoView({block: "center"});
  const box = seen.querySelector(".mark .shape").getBoundingClientRect();
  return [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
})()"""
TIP = """(() => {
  const tip = document.getElementById("tip");
  return tip.hidden ? "" : tip.textContent;
})()"""

pytestmark = pytest.mark.skipif(
    program() is None, reason="no Chromium; on Debian: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of every kind of document, with names that would be markup."""
    folder = tmp_path_factory.mktemp("report")
    paths = written(folder, **{kind: make(NASTY) for kind, make in EVERY.items()})
    report.write(paths, folder / "every.html")
    return folder / "every.html"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a choice."""
    folder = tmp_path_factory.mktemp("report")
    report.write(written(folder, select=choice()), folder / "one.html")
    return folder / "one.html"


@pytest.mark.parametrize("width", [380, 1200])
def test_no_error_no_request_no_foreign_script(every: Path, browser: Browser, width: int) -> None:
    browser.events.clear()
    browser.open(every, width)
    browser.move(*browser.evaluate(MARK))
    assert browser.evaluate(TIP)
    assert browser.problems() == []
    assert browser.requests() == [every.resolve().as_uri()]
    assert browser.evaluate("window.hacked === undefined && document.scripts.length === 1")
    assert browser.evaluate("document.images.length") == 0


@pytest.mark.parametrize("width", [320, 380, 620, 621, 1200, 1920])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_scrolls_sideways(every: Path, browser: Browser, width: int, dark: bool) -> None:
    browser.open(every, width, dark=dark)
    root = "document.documentElement"
    assert browser.evaluate(f"{root}.scrollWidth") <= browser.evaluate(f"{root}.clientWidth")


def test_the_colors_follow_the_reader(one: Path, browser: Browser) -> None:
    found = []
    for dark in (False, True):
        browser.open(one, dark=dark)
        found.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert found[0] != found[1]


def test_details_at_hover(one: Path, browser: Browser) -> None:
    browser.open(one)
    assert browser.evaluate(TIP) == ""
    browser.move(*browser.evaluate(MARK))
    assert "efficientnet_lite0 w8a8, litert\n" in browser.evaluate(TIP)
    assert "ms (" in browser.evaluate(TIP)
    browser.move(1, 1)
    assert browser.evaluate(TIP) == ""


def test_details_at_a_touch(one: Path, browser: Browser) -> None:
    browser.open(one, 380)
    browser.touch(*browser.evaluate(MARK))
    assert "efficientnet_lite0 w8a8, litert\n" in browser.evaluate(TIP)


def test_details_by_the_keyboard(one: Path, browser: Browser) -> None:
    browser.open(one)
    browser.evaluate('document.querySelector("svg.chart").focus()')
    told = []
    for _ in range(4):
        browser.key("ArrowRight")
        told.append(browser.evaluate(TIP))
    assert len(set(told)) == 4
    assert [said.split("\n")[1].split()[0] for said in told] == ["4", "9.1", "12", "30"]
    browser.key("ArrowLeft")
    assert browser.evaluate(TIP) == told[2]
    browser.key("Escape")
    assert browser.evaluate(TIP) == ""
