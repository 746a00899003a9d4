import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_documents import rows

from edgecnn.choice import Row, choose
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.profile import Target
from edgecnn.report import plots, scales
from edgecnn.report.labels import place
from edgecnn.report.pareto import MAX_POINTS, Point, pareto

POSITIVE = st.floats(1e-6, 1e9)


def judged(name: str = "a") -> tuple[Row, ...]:
    return choose(rows(name), Target(p95_ms=15)).candidates


def test_an_svg_is_xml_with_its_own_colors(tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    plots.pareto(judged("<b>&\x00"), 15.0, path)
    root = ElementTree.fromstring(path.read_text("utf-8"))  # noqa: S314
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = path.read_text("utf-8")
    assert "var(" not in text
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    # Four of the five have a latency.
    assert text.count('class="mark ') == 4


def test_a_png_is_a_picture_with_words(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("resvg_py", reason="pip install edgecnn[report]")
    path = tmp_path / "p.png"
    plots.pareto(judged(), 15.0, path)
    picture = cv2.imread(str(path))
    assert picture.shape[1] == plots.PIXELS * plots.WIDTH
    # The line below the chart holds nothing but words.
    assert (picture[-40:] < 200).any()


def test_other_endings_and_empty_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.svg or \.png"):
        plots.pareto(judged(), 15.0, tmp_path / "p.jpg")
    with pytest.raises(UsageError, match="no candidate has a latency"):
        plots.pareto((), 15.0, tmp_path / "p.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_png_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UnavailableError, match=r"pip install edgecnn\[report\]"):
        plots.check(tmp_path / "p.png")


def test_a_png_without_fonts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py", reason="pip install edgecnn[report]")
    monkeypatch.setattr(plots, "png", lambda picture: b"the same, since words are left out")
    with pytest.raises(UnavailableError, match="no font"):
        plots.check(tmp_path / "p.png")


def test_thousands_of_points_keep_the_front_and_the_choice() -> None:
    many = [Point(f"n{i}", 1.0 + i, "predicted", 50.0, "published", front=i % 1000 == 0,
                  chosen=i == 5000) for i in range(20_000)]  # fmt: skip
    drawn = pareto(many, None).draw(760)
    assert drawn.count('class="mark ') <= MAX_POINTS
    assert drawn.count(" strong") >= 20
    assert drawn.count('class="ring"') == 1


@pytest.mark.parametrize(("count", "named"), [(5, 5), (9, 1)])
def test_of_a_few_points_all_are_named_and_of_many_the_front(count: int, named: int) -> None:
    points = [
        Point(f"n{i}", 1.0 + 5 * i, "measured", 50.0 + 5 * i, "measured", front=i == 0)
        for i in range(count)
    ]
    assert pareto(points, None).draw(760).count('class="name') == named


def test_the_percentile_of_a_measured_latency_is_told() -> None:
    assert "2 ms (measured p50)" in Point("n", 2.0, "measured", 80.0, "measured", percentile=50).tip
    assert "2 ms (predicted)" in Point("n", 2.0, "predicted", 80.0, "measured").tip


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_scale_holds_its_values_and_ticks(values: list[float]) -> None:
    scale = scales.fitted(values, 10.0, 500.0)
    assert all(10.0 <= scale(value) <= 500.0 for value in values)
    assert scale(min(values)) <= scale(max(values))
    ticks = scale.ticks(6)
    assert len(ticks) <= 10
    assert all(scale.low - 1e-9 * abs(scale.low) <= tick <= scale.high * (1 + 1e-9)
               for tick in ticks)  # fmt: skip


@given(st.floats(1e-4, 1e7))
def test_a_label_tells_its_value(value: float) -> None:
    assert float(scales.label(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


def test_words_stand_where_nothing_else_does() -> None:
    room = (0.0, 0.0, 300.0, 200.0)
    first = place((150, 100), 80, 14, [], room)
    assert first is not None
    second = place((150, 100), 80, 14, [first], room)
    assert second is not None
    assert second != first
    assert place((150, 100), 400, 14, [], room) is None
