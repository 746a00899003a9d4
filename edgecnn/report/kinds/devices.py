"""One file on several devices (``edgecnn profile --device A --device B``)."""

from collections.abc import Collection, Sequence

from edgecnn.report import scales
from edgecnn.report.bars import Bar, bars
from edgecnn.report.fields import Fields
from edgecnn.report.kinds import profile
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.parts import Section, figure, table

made_by = "edgecnn profile --device A --device B --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of several devices' profiles."""
    return "devices" in keys


def section(document: Fields) -> Section:
    """Return the section: the devices side by side, then each one."""
    every = document.children("devices")
    if not every:
        # Raises, naming the field.
        Fields(document.where, {"devices": None}).child("devices")
    good = [one for one in every if one.maybe_text("error") is None]
    parts = [profile.section(one) for one in good]
    return Section(
        title=f"{len(every)} devices",
        body=join(
            [
                _chart(good),
                table(["device", "runtime", "p50 (ms)", "p95 (ms)", "what"], map(_row, every),
                      "Every device; of an emulated one no latency is known.", numbers=(2, 3)),
                *(tag("details", tag("summary", part.title), part.body) for part in parts),
            ]
        ),
        verdicts=tuple(verdict for part in parts for verdict in part.verdicts),
        figures=tuple(figure for part in parts for figure in part.figures),
        environments=tuple(found for part in parts for found in part.environments),
        commands=(document.texts("command") or _command(good),) if good else (),
    )  # fmt: skip


def _chart(documents: Sequence[Fields]) -> Markup | None:
    rows = []
    for document in documents:
        latency = document.maybe_child("latency_ms")
        if latency is None:
            continue
        p50, p95 = latency.positive("p50"), latency.positive("p95")
        said = f"{scales.label(p50)} ms, p95 {scales.label(p95)}"
        name = f"{document.text('device')} {document.text('runtime')}"
        rows.append(Bar(name, p50, "measured", said, (p50, max(p50, p95))))
    if len(rows) < 2:
        return None
    return figure(
        bars(rows, "latency (ms)", f"Measured medians on {len(rows)} devices"),
        "Each device with its fastest runtime: the bar ends at the median, the whisker at p95.",
    )


def _row(document: Fields) -> list[object]:
    latency, error = document.maybe_child("latency_ms"), document.maybe_text("error")
    figures: list[object] = [None, None]
    if latency is not None:
        figures = [scales.label(latency.number("p50")), scales.label(latency.number("p95"))]
    what = error or document.maybe_text("timing")
    return [document.text("device"), document.maybe_text("runtime"), *figures, what]


def _command(documents: Sequence[Fields]) -> tuple[str, ...]:
    words = ["edgecnn", "profile", documents[0].text("artifact")]
    for document in documents:
        words += ["--device", document.text("device")]
    return (*words, "--json")
