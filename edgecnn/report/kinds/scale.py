"""A network scaled to a deadline (``edgecnn scale``)."""

from collections.abc import Collection

from edgecnn.report import scales
from edgecnn.report.bars import Bar, bars
from edgecnn.report.fields import Fields
from edgecnn.report.markup import join
from edgecnn.report.parts import Section, Verdict, facts, figure, table

made_by = "edgecnn scale --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a scaled network."""
    return {"base", "coefficients", "member", "target_ms"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section: the member that meets the deadline, and the next one, which does not."""
    target_ms, base = document.positive("target_ms"), document.text("base")
    member, following = document.child("member"), document.maybe_child("next")
    rows = [row for row in (member, following) if row is not None]
    latency_ms, kind = member.positive("latency_ms"), _kind(member)
    meets = latency_ms <= target_ms
    said = f"{member.text('name')}: {scales.label(latency_ms)} ms ({kind})"
    command = document.texts("command")
    return Section(
        title=f"{base} scaled to {target_ms:g} ms",
        body=join(
            [
                figure(
                    bars([_bar(row) for row in rows], "latency (ms)",
                         f"The member and the next larger one; the target is {target_ms:g} ms",
                         target_ms),
                    "The largest member within the target, and the next one, which is not.",
                ),
                table(
                    ["network", "phi", "width", "depth", "px", "latency (ms)", "of kind"],
                    [[row.text("name"), *_sizes(row), scales.label(row.positive("latency_ms")),
                      _kind(row)] for row in rows],
                    "Both members.", numbers=range(1, 6),
                ),
                facts([("growth of depth, width, resolution",
                        ", ".join(map(scales.label, document.numbers("coefficients"))))]),
            ]
        ),
        verdicts=(Verdict(f"{said} \N{EN DASH} {'meets' if meets else 'misses'} {target_ms:g} ms",
                          meets),),
        commands=(command,) if command else (),
    )  # fmt: skip


def _kind(row: Fields) -> str:
    return row.maybe_text("latency_kind") or "predicted"


def _sizes(row: Fields) -> list[str]:
    return [scales.label(row.number(key)) for key in ("phi", "width", "depth", "imgsz")]


def _bar(row: Fields) -> Bar:
    latency_ms = row.positive("latency_ms")
    return Bar(row.text("name"), latency_ms, _kind(row), f"{scales.label(latency_ms)} ms")
