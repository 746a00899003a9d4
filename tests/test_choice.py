"""The choice: a pure function, tested on every mixture of rows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.choice import Row, choose, misses, pareto
from edgecnn.profile import Target

TARGET = Target(p95_ms=20.0)


def row(latency_ms: float | None, top1: float | None, kind: str | None = "measured") -> Row:
    return Row(
        "m", "onnx", "fp32", "ort", 1, latency_ms=latency_ms, latency_kind="measured",
        top1=top1, top1_kind=kind if top1 is not None else None,  # type: ignore[arg-type]
    )  # fmt: skip


rows = st.lists(
    st.builds(
        Row,
        name=st.text("abc", min_size=1, max_size=3),
        format=st.just("onnx"),
        precision=st.just("fp32"),
        runtime=st.just("null"),
        threads=st.integers(1, 4),
        latency_ms=st.none() | st.integers(1, 40).map(float),
        top1=st.integers(0, 4).map(lambda n: 20.0 * n),
        top1_kind=st.sampled_from(["measured", "published", "published fp32"]),
        problem=st.none() | st.just("export failed: unknown operator"),
    ).map(lambda r: r if r.name != "a" else replace(r, top1=None, top1_kind=None)),
    max_size=12,
)
targets = st.builds(
    Target,
    p95_ms=st.none() | st.integers(1, 40).map(float),
    min_top1=st.none() | st.just(50.0),
)


@given(rows, targets)
def test_exactly_one_row_is_chosen_or_none_meets(found: list[Row], target: Target) -> None:
    choice = choose(found, target)
    meeting = [r for r in found if r.problem is None and misses(r, target) is None]
    assert choice.passed == bool(meeting)
    assert len(choice.candidates) == len(found)
    chosen = [r for r in choice.candidates if r.rejected_because is None]
    assert chosen == ([choice.choice] if choice.choice else [])
    assert (choice.nearest is None) or not choice.passed


@given(rows, targets)
def test_no_comparable_row_within_the_limits_is_better(found: list[Row], target: Target) -> None:
    best = choose(found, target).choice
    if best is None:
        return
    for r in found:
        if r.problem is None and misses(r, target) is None and r.top1_kind == best.top1_kind:
            assert (best.top1 or 0, -(best.latency_ms or 0)) >= (r.top1 or 0, -(r.latency_ms or 0))


@given(rows, targets)
def test_nothing_is_invented(found: list[Row], target: Target) -> None:
    for before, after in zip(found, choose(found, target).candidates, strict=True):
        assert replace(after, pareto=False, rejected_because=None) == before


@given(rows)
def test_the_front_is_not_dominated_and_all_else_is(found: list[Row]) -> None:
    front = pareto(found)
    comparable = {"measured": 0, "published": 1, "published fp32": 1, None: 2}
    known = [r for r in found if r.latency_ms and r.top1 is not None and r.problem is None]

    def beaten(r: Row) -> bool:
        return any(
            comparable[o.top1_kind] == comparable[r.top1_kind]
            and (o.latency_ms or 0) <= (r.latency_ms or 0)
            and (o.top1 or 0) >= (r.top1 or 0)
            and (o.latency_ms, o.top1) != (r.latency_ms, r.top1)
            for o in known
        )

    assert list(front) == [r for r in known if not beaten(r)]


def reasons(*found: Row, target: Target = TARGET) -> list[str | None]:
    return [r.rejected_because for r in choose(found, target).candidates]


def test_the_most_accurate_within_the_deadline_wins() -> None:
    assert reasons(row(25, 90), row(19, 80), row(10, 75), row(19.5, 70)) == [
        "over the target by 5.00 ms",
        None,
        "less accurate by 5.00 points",
        "less accurate by 10.00 points and slower by 0.50 ms",
    ]


def test_ties_go_to_the_faster() -> None:
    assert reasons(row(12, 80), row(10, 80)) == ["as accurate, slower by 2.00 ms", None]
    assert reasons(row(10, 80), row(10, 80)) == [None, "equal to the choice"]


def test_measured_goes_before_published() -> None:
    found = reasons(row(10, 60), row(10, 99, "published"), row(1, None))
    assert found[0] is None
    assert "only published" in str(found[1])
    assert "unknown" in str(found[2])
    assert reasons(row(30, 60), row(10, 99, "published"))[1] is None


def test_the_float_figure_of_a_quantized_file_goes_behind_a_figure_of_its_own() -> None:
    published, borrowed = row(18, 75, "published"), row(9, 75, "published fp32")
    assert reasons(published, borrowed)[0] is None
    assert "float network" in str(reasons(published, borrowed)[1])
    assert reasons(replace(published, latency_ms=21.0), borrowed)[1] is None
    assert reasons(row(18, 74, "published"), borrowed)[1] is None


def test_problems_are_the_reason() -> None:
    bad = replace(row(1, 99), problem="parity failed: cosine 0.2")
    assert reasons(bad, row(10, 50)) == ["parity failed: cosine 0.2", None]


@pytest.mark.parametrize(
    ("target", "nearest"),
    [(Target(p95_ms=1.0), 1), (Target(min_top1=95.0), 0), (Target(p95_ms=25.0, min_top1=85), 0)],
)
def test_the_nearest_is_named_where_nothing_meets(target: Target, nearest: int) -> None:
    found = [row(30, 90), row(10, 60), row(None, None), replace(row(1, 99), problem="no")]
    choice = choose(found, target)
    assert not choice.passed
    assert choice.nearest is not None
    assert choice.nearest.latency_ms == found[nearest].latency_ms


def test_memory_and_accuracy_are_limits_too() -> None:
    heavy = replace(row(10, 90), peak_rss_bytes=200_000_000)
    light = replace(row(10, 80), peak_rss_bytes=50_000_000)
    target = Target(p95_ms=20, peak_rss_bytes=100_000_000)
    assert reasons(heavy, light, row(10, 99), target=target) == [
        "its memory is 200.0 MB, the limit 100.0 MB",
        None,
        "its memory is unknown, the limit 100.0 MB",
    ]
    assert "no accuracy known" in str(reasons(row(1, None), target=Target(min_top1=50))[0])


def test_an_empty_list_has_no_choice() -> None:
    choice = choose([], TARGET)
    assert (choice.passed, choice.nearest) == (False, None)


def test_document() -> None:
    document = choose([row(10, 80), row(30, 90)], TARGET).to_dict()
    assert document["target_ms"] == 20.0
    keys = {"name", "format", "precision", "runtime", "threads", "latency_ms", "latency_kind",
            "top1", "top1_kind", "top1_source"}  # fmt: skip
    assert keys <= set(document["choice"])
    assert document["candidates"][1]["rejected_because"] == "over the target by 10.00 ms"
