"""A latency that was predicted from a table (``edgecnn predict``)."""

from collections.abc import Collection

from edgecnn.report import scales
from edgecnn.report.fields import Fields
from edgecnn.report.intervals import Interval, intervals
from edgecnn.report.layers import Layer, layers
from edgecnn.report.markup import join
from edgecnn.report.parts import LATENCY, Figure, Identity, Section, Verdict, facts, figure, notes

made_by = "edgecnn predict --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of an estimate."""
    return {"model", "table", "latency_ms", "interval_ms"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of an estimate."""
    kind = document.maybe_text("latency_kind") or "predicted"
    identity, told = _identity(document)
    latency_ms, ends = document.positive("latency_ms"), document.interval("interval_ms")
    said = f"{scales.label(latency_ms)} ms"
    if ends is not None:
        level = document.maybe_number("level")
        share = "" if level is None else f"{100 * level:g} % "
        said += f" ({share}interval {scales.label(ends[0])} to {scales.label(ends[1])})"
    found = [Layer(one.text("name"), one.text("op"), max(0.0, one.number("ms")))
             for one in document.children("layers")]  # fmt: skip
    row = Interval(str(identity), latency_ms, ends, kind, said)
    command = document.texts("command") or ("edgecnn", "predict", identity.name, "--table",
                                            told or "TABLE", "--json")  # fmt: skip
    return Section(
        title=f"Prediction for {identity}",
        body=join(
            [
                notes(_unknown(document), "note warning"),
                figure(
                    intervals([row], "latency (ms)", f"{kind} latency: {said}"),
                    f"The latency of the whole network, {kind}, not measured.",
                ),
                layers(found, kind),
                facts([("table", told), ("of kind", kind)]),
            ]
        ),
        verdicts=(Verdict(f"{identity}: {said}, {kind}"),),
        figures=(Figure(LATENCY, latency_ms, kind, identity, None, ends),),
        commands=(command,),
    )


def _identity(document: Fields) -> tuple[Identity, str | None]:
    """Return what was predicted and the table's name: the table is an object or a text."""
    table = document.data["table"]
    source = document.child("table") if isinstance(table, dict) else document
    told = document.maybe_text("table") if not isinstance(table, dict) else _named(source)
    name = document.text("model")
    return Identity(name, source.maybe_text("precision"), source.maybe_text("runtime"),
                    source.maybe_count("threads"), source.maybe_text("device")), told  # fmt: skip


def _named(table: Fields) -> str:
    known = [table.maybe_text(key) for key in ("name", "device", "runtime", "precision")]
    return " ".join(text for text in known if text)


def _unknown(document: Fields) -> list[str]:
    ops, share = document.texts("unknown_ops"), document.maybe_number("unknown_share")
    if not ops:
        return []
    part = "" if share is None else f", {share:.1%} of the latency"
    return [f"The table does not know these operators: {', '.join(ops)}{part}."]
