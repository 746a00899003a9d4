"""The page: one file that asks nothing of the network."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files

from edgecnn import __version__
from edgecnn.report import chart, joined
from edgecnn.report.environments import environments
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.parts import Section, Verdict, command_line, legend, notes, swatch

LEGEND = (
    ("measured", "filled: measured, on the device that is named"),
    ("predicted", "hollow: predicted, by a latency table"),
    ("published", "hatched: published by others, with the source"),
)
SHAPES = (
    "In charts of accuracy a circle is measured accuracy, a diamond published accuracy, a triangle "
    "the published accuracy of the float network at a quantized file, and a square any other. "
    "Figures of two kinds cannot be compared. A ring is the choice."
)
BADGES = {
    True: ("passed", "\N{CHECK MARK} passed"),
    False: ("failed", "\N{MULTIPLICATION SIGN} failed"),
    None: ("open", "no limit asked"),
}
UNIT = re.compile(r"(?<=\d) (?=ms\b|%)")
"""A figure and its unit stay on one line."""
KEYS = "Charts show details at hover, at a touch, and by the arrow keys."


def page(sections: Sequence[Section], made: str, remake: Sequence[str]) -> str:
    """Return the page of one or more runs.

    ``made`` says when; ``remake`` is the command that made the page.
    """
    found = joined.joined(sections)
    first, *others = [(section.title, section.body) for section in sections]
    blocks = [
        first,
        ("Prediction against measurement", joined.against(joined.pairs(sections, found))),
        *others,
        ("Equal artifacts side by side", joined.side_by_side(sections)),
        ("Environment", environments(sections)),
        ("How to remake it", _commands(sections, remake)),
        ("What the marks mean", _marks()),
    ]
    present = [(title, body) for title, body in blocks if body is not None]
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    title = verdicts[0].sentence if verdicts else sections[0].title
    return _document(title, _header(verdicts, [name for name, _ in present]),
                     _main(present), f"Made by edgecnn {__version__}, {made}.")  # fmt: skip


def _document(title: str, header: Markup, main: Markup, footer: str) -> str:
    style, script = _text("page.css") + _text("chart.css"), _text("page.js")
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    ]
    hidden = tag("svg", chart.PATTERNS, width=0, height=0, aria_hidden="true", class_="patterns")
    body = [
        hidden,
        tag("header", header),
        tag("main", main),
        tag("footer", footer),
        tag("div", id="tip", role="status", aria_live="polite", hidden="hidden"),
        tag("script", Markup(script)),
    ]
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', *body), lang='en')}\n"


def _policy(style: str, script: str) -> str:
    """Allow this style and this script and nothing else, so that no text can become more."""
    return f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return files("edgecnn.report").joinpath(name).read_text("utf-8")


def _header(verdicts: Sequence[Verdict], titles: Sequence[str]) -> Markup:
    links = (tag("li", tag("a", name, href=f"#part-{i}")) for i, name in enumerate(titles, 1))
    return join(
        [
            tag("h1", "edgecnn report"),
            *(_verdict(verdict, first=i == 0) for i, verdict in enumerate(verdicts)),
            tag("nav", tag("ul", *links), aria_label="Parts of this page"),
        ]
    )


def _verdict(verdict: Verdict, first: bool) -> Markup:
    class_, badge = BADGES[verdict.passed]
    return tag(
        "div",
        tag("span", badge, class_="badge"),
        tag("span", UNIT.sub("\N{NO-BREAK SPACE}", verdict.sentence)),
        class_=f"verdict {class_}" + (" first" if first else ""),
    )


def _main(blocks: Sequence[tuple[str, Markup]]) -> Markup:
    return join(_part(number, title, body) for number, (title, body) in enumerate(blocks, 1))


def _part(number: int, title: str, body: Markup) -> Markup:
    heading = tag("h2", title, id=f"title-{number}")
    return tag("section", heading, body, id=f"part-{number}", aria_labelledby=f"title-{number}")


def _commands(sections: Sequence[Section], remake: Sequence[str]) -> Markup:
    commands = dict.fromkeys(command for section in sections for command in section.commands)
    return join(
        [
            notes(["As far as the documents tell: folders of photographs and weights that they do "
                   "not name have to be added."]),
            *(tag("pre", command_line(command)) for command in (*commands, tuple(remake))),
        ]
    )  # fmt: skip


def _marks() -> Markup:
    signs = legend((swatch(kind), said) for kind, said in LEGEND)
    return join([signs, notes([SHAPES, KEYS])])
