import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from report_documents import (
    EVERY,
    choice,
    devices,
    estimate,
    evaluation,
    grid,
    profile,
    table,
    written,
)

from edgecnn import report
from edgecnn.cli import main
from edgecnn.errors import DataError, UsageError
from edgecnn.report import documents
from edgecnn.report.fields import Fields
from edgecnn.report.page import page
from edgecnn.report.parts import Section

NASTY = "</title><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'&"
VOID = ("meta", "br", "img", "link", "input")


class Reader(HTMLParser):
    """Checks that every element is closed, and keeps names, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def made(folder: Path, **given: Any) -> str:
    output = folder / "report.html"
    report.write(written(folder, **given), output, force=True)
    return output.read_text("utf-8")


def section_of(kind: str, document: dict[str, Any]) -> Section:
    return documents.kinds()[kind].section(Fields("x.json", document))


def test_each_kind_is_known_by_its_own_documents_only() -> None:
    kinds = documents.kinds()
    assert set(kinds) == set(EVERY)
    for name, make in EVERY.items():
        assert [kind for kind in kinds if kinds[kind].matches(make().keys())] == [name]


@pytest.mark.parametrize("kind", EVERY)
def test_each_kind_makes_a_page(kind: str, tmp_path: Path) -> None:
    name = "some_network_7"
    reader = read(made(tmp_path, **{kind: EVERY[kind](name)}))
    assert name in reader.text


def test_the_verdict_stands_on_top_in_one_sentence(tmp_path: Path) -> None:
    said = (
        "efficientnet_lite0 w8a8 on litert, 2 threads: 4 ms (predicted), 70.0 % top-1 (measured)"
        " \N{EN DASH} meets 15 ms"
    )
    html = made(tmp_path, select=choice())
    assert f"<title>{said}</title>" in html
    text = read(html).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count(said) == 2
    assert text.rindex(said) < text.index("Choice under 15 ms")


def test_coefficients_that_were_searched_for_are_listed(tmp_path: Path) -> None:
    text = read(made(tmp_path, run=grid())).text
    assert text.count("Coefficients that double the multiply-adds") == 2
    assert "ms by table b" in text
    assert "61.20" in text


def test_where_nothing_meets_the_target_the_nearest_is_named() -> None:
    (verdict,) = section_of("select", choice(target_ms=3.0)).verdicts
    assert verdict.passed is False
    assert verdict.sentence.startswith("Nothing meets 3 ms. The nearest is efficientnet_lite0")
    assert "over the target by 1.00 ms" in verdict.sentence


def test_figures_say_of_which_kind_they_are(tmp_path: Path) -> None:
    html = made(tmp_path, select=choice())
    for kind, said in (("measured", "9.1 ms (measured p95)"), ("predicted", "4 ms (predicted)"),
                       ("published", "30 ms (published)")):  # fmt: skip
        assert re.search(rf'<g class="mark {kind} \w+"><title>[^<]*{re.escape(said)}', html)
    assert "top-1 unknown" in html
    assert "77.00 % (published fp32)" in html


def test_a_profile_shows_its_figures(tmp_path: Path) -> None:
    text = read(made(tmp_path, profile=profile())).text
    for said in ("meets 15 ms", "Cortex-A72", "2.3.0", "node_29", "100 timed runs", "openvino",
                 "not measured", "1 (above median + 5 MAD; kept)"):  # fmt: skip
        assert said in text
    assert "edgecnn profile efficientnet_lite0.tflite --device local --runtime litert" in text


def test_equal_artifacts_are_joined(tmp_path: Path) -> None:
    text = read(made(tmp_path, p=profile(), q=estimate(), e=evaluation())).text
    assert "8.22 (measured); 8.6 (predicted)" in text
    assert "87.75 (measured)" in text
    assert "1 of 1 predictions are within 10 % of the measured median" in text


def _cells(page: str) -> list[list[str]]:
    """The rows of the table of equal artifacts."""
    table = page.partition("What several documents tell of one artifact.")[2]
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>") if "<td" in row]


def _of(document: dict[str, Any], digest: str, **changes: Any) -> dict[str, Any]:
    return document | {"sha256": digest} | changes


def test_an_accuracy_belongs_to_its_file_alone(tmp_path: Path) -> None:
    """The same network in the same precision, runtime and threads: two formats, two boards."""
    onnx, tflite = "11" * 32, "22" * 32
    page = made(
        tmp_path,
        a=_of(profile(device="board-a"), onnx, format="onnx", runtime="openvino"),
        b=_of(profile(device="board-b"), tflite, runtime="openvino"),
        e=_of(evaluation(), tflite),
    )
    (row,) = _cells(page)
    assert row[1:3] == ["board-b", tflite[:12]] and "87.75 (measured)" in row[-1]


def test_one_file_on_two_boards_has_one_accuracy_and_two_latencies(tmp_path: Path) -> None:
    page = made(tmp_path, a=profile(), b=profile(device="board-b"), e=evaluation())
    rows = _cells(page)
    assert [row[1] for row in rows] == ["local", "board-b"]
    assert all("87.75 (measured)" in row[-1] for row in rows)
    assert all(row[3].count("measured") == 1 for row in rows)


def test_a_prediction_for_another_device_stands_alone(tmp_path: Path) -> None:
    page = made(tmp_path, p=profile(device="board-b"), q=estimate())
    assert not _cells(page) and "Prediction against" not in page
    unsaid = estimate() | {"table": estimate()["table"] | {"device": None}}
    assert "Prediction against" in made(tmp_path, r=profile(device="board-b"), s=unsaid)


def test_a_prediction_is_not_joined_with_another_network(tmp_path: Path) -> None:
    assert "Prediction against" not in made(tmp_path, p=profile("one"), q=estimate("other"))


def test_a_table_shows_its_held_out_errors(tmp_path: Path) -> None:
    text = read(made(tmp_path, t=table())).text
    assert "2 of 2 predictions are within 10 %" in text
    assert "0.03" in text


def test_several_devices_stand_side_by_side(tmp_path: Path) -> None:
    text = read(made(tmp_path, d=devices())).text
    for said in ("pi4", "emulated:rpi4", "it does not answer", "nothing was timed"):
        assert said in text


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    html = made(tmp_path, **{kind: make() for kind, make in EVERY.items()})
    reader = read(html)
    links = [value for _, attributes in reader.elements for key, value in attributes.items()
             if key in ("src", "href", "xlink:href", "action", "data", "poster")]  # fmt: skip
    assert links
    assert all(value and value.startswith("#part-") for value in links)
    assert "url(" not in html.replace("url(#hatch-", "")
    assert "@import" not in html
    assert "default-src &#x27;none&#x27;" in html


def test_ids_are_unique(tmp_path: Path) -> None:
    reader = read(made(tmp_path, **{kind: make() for kind, make in EVERY.items()}))
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_charts_are_named_and_have_words(tmp_path: Path) -> None:
    reader = read(made(tmp_path, **{kind: make() for kind, make in EVERY.items()}))
    charts = [found for name, found in reader.elements
              if name == "svg" and found.get("class") == "chart"]  # fmt: skip
    assert len(charts) >= 20
    assert all(found.get("aria-label") and found.get("tabindex") == "0" for found in charts)


@pytest.mark.parametrize("kind", EVERY)
def test_what_a_document_says_never_becomes_markup(kind: str, tmp_path: Path) -> None:
    document = _replaced_texts(EVERY[kind](), NASTY)
    reader = read(made(tmp_path, run=document))
    names = [name for name, _ in reader.elements]
    assert names.count("script") == 1
    assert "img" not in names
    assert not any(key.startswith("on") for _, found in reader.elements for key in found)


def _replaced_texts(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        kept = ("timing", "latency_kind", "top1_kind")
        return {key: one if key in kept else _replaced_texts(one, text)
                for key, one in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [_replaced_texts(one, text) for one in value]
    return text if isinstance(value, str) else value


def test_unprintable_characters_are_replaced(tmp_path: Path) -> None:
    html = made(tmp_path, select=choice("a\x00b\ud800c\u202ed"))
    assert not set("\x00\ud800\u202e") & set(html)
    assert "a\N{REPLACEMENT CHARACTER}b" in html


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, one in pairs if isinstance(value, dict | list) else ():
        found += _paths(one, (*path, key)) if isinstance(one, dict | list) else [(*path, key)]
    return found


@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_document_is_refused_or_shown(kind: str, data: st.DataObject) -> None:
    document = json.loads(json.dumps(EVERY[kind]()))
    path = data.draw(st.sampled_from(_paths(document)))
    inside: Any = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = data.draw(JSON)
    try:
        section = section_of(kind, copy.deepcopy(document))
        read(page([section], "today", ("edgecnn", "report")))
    except DataError as error:
        assert "x.json" in str(error) or "errors" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe\x00", "no text"),
        (b"[1]", "a JSON list"),
        (b"{}", "no fields"),
        (b'{"layers": [], "name": "x"}', "the fields 'layers', 'name'"),
        (b'{"candidates": [], "choice": NaN, "rule": ""}', "NaN"),
        (b"[" * 100_000, "no JSON"),
        (b"1" * 5000, "no JSON"),
    ],
)
def test_another_file_is_refused_with_what_it_is(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(said)) as raised:
        documents.section(path)
    assert "edgecnn select --json" in str(raised.value)


def test_a_missing_or_too_large_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="No such file"):
        documents.section(tmp_path / "none.json")
    monkeypatch.setattr(documents, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger"):
        documents.section(written(tmp_path, run=choice())[0])


def test_a_page_is_not_written_over_by_accident(tmp_path: Path) -> None:
    paths = written(tmp_path, run=choice())
    output = tmp_path / "report.html"
    report.write(paths, output)
    with pytest.raises(UsageError, match="--force"):
        report.write(paths, output)


def test_the_command(tmp_path: Path) -> None:
    (path,) = written(tmp_path, run=choice())
    output = tmp_path / "out.html"
    result = CliRunner().invoke(main, ["report", str(path), "--output", str(output), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["bytes"] == output.stat().st_size
    path.write_text("[]")
    result = CliRunner().invoke(main, ["report", str(path), "--output", str(output), "--force"])
    assert result.exit_code == 3
    assert "a JSON list" in result.output
