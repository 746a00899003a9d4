"""A latency table, and how far its predictions are off (``edgecnn calibrate``)."""

from collections.abc import Collection, Iterator
from typing import Any

from edgecnn.report import scales
from edgecnn.report.agreement import Pair
from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import Section, Verdict, facts, table, threads

made_by = "edgecnn calibrate --output TABLE"
DEEPEST = 3


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a latency table."""
    return {"source", "device", "runtime", "precision", "samples", "errors"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of a table. Of its errors every number is listed, by group; networks with
    ``predicted_ms`` and ``measured_ms`` are also drawn."""
    errors = document.child("errors")
    count, source = document.maybe_count("threads"), document.text("source")
    where = " ".join([document.text("device"), document.text("runtime"),
                      document.maybe_text("precision") or ""])  # fmt: skip
    said = where + (f", {threads(count)}" if count is not None else "")
    samples = document.data.get("samples")
    command = document.texts("command")
    return Section(
        title=f"Latency table of {said}",
        body=join(
            [
                _errors(errors),
                facts(
                    [
                        ("source", source),
                        ("device", document.text("device")),
                        ("runtime", document.text("runtime")),
                        ("version", document.maybe_text("runtime_version")),
                        ("precision", document.maybe_text("precision")),
                        ("threads", count),
                        ("governor", document.maybe_text("governor")),
                        ("made", document.maybe_text("created")),
                        ("samples", len(samples) if isinstance(samples, list) else None),
                    ]
                ),
            ]
        ),
        verdicts=(Verdict(f"{said}: a table of {source} latencies"),),
        pairs=tuple(_pairs(errors)),
        environments=tuple(filter(None, [document.maybe_child("environment")])),
        commands=(command,) if command else (),
    )


def _errors(errors: Fields) -> Markup | None:
    rows = list(_numbers(errors.data, ()))
    if not rows:
        return None
    return table(
        ["held out", "figure", "value"],
        [[" ".join(path[:-1]) or "all", path[-1], scales.label(value)] for path, value in rows],
        "Errors of predictions for what took no part in the fit.",
        numbers=(2,),
    )


def _numbers(data: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(data, dict) and len(path) < DEEPEST:
        for key, value in data.items():
            yield from _numbers(value, (*path, key))
    elif isinstance(data, int | float) and not isinstance(data, bool):
        yield path, Fields("errors", {path[-1]: data}).number(path[-1])


def _pairs(errors: Fields) -> Iterator[Pair]:
    for key, value in errors.data.items():
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            continue
        for row in errors.children(key):
            if {"predicted_ms", "measured_ms"} <= row.data.keys():
                yield Pair(row.maybe_text("name") or key, row.positive("predicted_ms"),
                           row.positive("measured_ms"))  # fmt: skip
