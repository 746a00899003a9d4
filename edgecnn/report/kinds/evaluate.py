"""The accuracy of a file on photographs (``edgecnn evaluate``)."""

from collections.abc import Collection
from pathlib import PurePath

from edgecnn.report.fields import Fields
from edgecnn.report.intervals import Interval, Limit, intervals
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import TOP1, Figure, Section, Verdict, facts, figure, notes, threads

made_by = "edgecnn evaluate --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of an evaluation."""
    return {"artifact", "images", "top1", "top1_ci95"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of an evaluation."""
    name = PurePath(document.text("artifact")).name
    top1, ends = document.maybe_percent("top1"), document.interval("top1_ci95")
    sha256 = document.maybe_text("sha256")
    found = () if top1 is None else (Figure(TOP1, top1, "measured", None, sha256, ends),)
    return Section(
        title=f"Accuracy of {name}",
        body=join(
            [
                notes([*document.texts("warnings"), *_stopped(document)], "note warning"),
                _top1(document, top1, ends, name),
                _drop(document),
                _facts(document),
            ]
        ),
        verdicts=(_verdict(document, name, top1),),
        figures=found,
        commands=(document.texts("command") or _command(document),),
    )


def _verdict(document: Fields, name: str, top1: float | None) -> Verdict:
    images = document.maybe_count("images")
    accuracy = "accuracy unknown" if top1 is None else f"{top1:.2f} % top-1 (measured)"
    said = f"{name}: {accuracy} on {images} photographs"
    drop = document.maybe_number("drop")
    if drop is not None:
        said += f", {drop:.2f} points below its reference"
    failures = document.texts("failures")
    if failures:
        said += f" \N{EN DASH} {'; '.join(failures)}"
    return Verdict(said, document.flag("passed"))


def _stopped(document: Fields) -> list[str]:
    stopped = document.maybe_text("stopped")
    return [] if stopped is None else [stopped]


def _top1(
    document: Fields, top1: float | None, ends: tuple[float, float] | None, name: str
) -> Markup | None:
    if top1 is None:
        return None
    rows = [_accuracy(name, top1, ends)]
    other, reference = document.maybe_percent("reference_top1"), document.maybe_text("reference")
    if other is not None and reference is not None:
        rows.append(_accuracy(f"reference {PurePath(reference).name}", other, None))
    return figure(
        intervals(rows, "top-1 (%)", f"Measured top-1 of {name}: {top1:.2f} per cent"),
        "Top-1 on the photographs; the whisker is the 95 % interval.",
    )


def _accuracy(name: str, value: float, ends: tuple[float, float] | None) -> Interval:
    said = f"{value:.2f} %" + ("" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})")
    return Interval(name, value, ends, "measured", said)


def _drop(document: Fields) -> Markup | None:
    drop, ends = document.maybe_number("drop"), document.interval("drop_ci95")
    if drop is None:
        return None
    said = f"{drop:.2f} points" + ("" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})")
    rows = [Interval("drop", drop, ends, "measured", said)]
    lost, gained = document.maybe_count("lost"), document.maybe_count("gained")
    return figure(
        intervals(rows, "points of top-1", f"Drop of top-1: {said}", [Limit("no drop", 0.0)]),
        f"What is lost against the reference on the same photographs: {lost} only the reference "
        f"has right, {gained} only this file.",
    )


def _facts(document: Fields) -> Markup:
    top5, agreement = document.maybe_percent("top5"), document.maybe_percent("agreement")
    count = document.maybe_count("threads")
    return facts(
        [
            ("file", document.text("artifact")),
            ("sha256", document.maybe_text("sha256")),
            ("reference", document.maybe_text("reference")),
            ("photographs", document.maybe_count("images")),
            ("of", document.maybe_text("data")),
            ("left out, had calibrated", document.maybe_count("calibration_left_out")),
            ("skipped", len(document.children("skipped"))),
            ("top-5", None if top5 is None else f"{top5:.2f} %"),
            ("same top-1 as the reference", None if agreement is None else f"{agreement:.2f} %"),
            ("runtime", document.maybe_text("runtime")),
            ("device", document.maybe_text("device")),
            ("threads", None if count is None else threads(count)),
        ]
    )


def _command(document: Fields) -> tuple[str, ...]:
    words = ["edgecnn", "evaluate", document.text("artifact")]
    for option in ("data", "reference", "runtime", "device"):
        value = document.maybe_text(option)
        words += [f"--{option}", value] if value is not None else []
    return (*words, "--json")
