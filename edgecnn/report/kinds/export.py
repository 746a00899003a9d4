"""A file that was made, and whether it equals its original (``edgecnn export``)."""

from collections.abc import Collection
from pathlib import PurePath

from edgecnn.report.fields import Fields
from edgecnn.report.parts import Figure, Section, Verdict, facts, megabytes

made_by = "edgecnn export --json"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of an export."""
    return {"artifact", "format", "precision", "bytes", "parity"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of an export. Its command is not known: the document lacks the model."""
    name = PurePath(document.text("artifact")).name
    parity, size = document.maybe_child("parity"), document.number("bytes")
    sha256 = document.maybe_text("sha256")
    figures = [Figure("size (MB)", size / 1e6, "measured", None, sha256)]
    command = document.texts("command")
    return Section(
        title=f"Export of {name}",
        body=facts(
            [
                ("file", document.text("artifact")),
                ("sha256", sha256),
                ("format", document.text("format")),
                ("precision", document.maybe_text("precision")),
                ("weights", document.maybe_text("weights")),
                ("size", megabytes(size)),
                ("made in", f"{document.number('seconds'):.1f} s"),
                *(_parity(parity) if parity is not None else []),
            ]
        ),
        verdicts=(_verdict(name, parity),),
        figures=tuple(figures),
        commands=(command,) if command else (),
    )


def _verdict(name: str, parity: Fields | None) -> Verdict:
    if parity is None:
        return Verdict(f"{name}: not compared with its original")
    if parity.flag("passed"):
        return Verdict(f"{name}: equal to its original within the limits of its precision", True)
    return Verdict(f"{name}: not equal to its original: {parity.maybe_text('reason')}", False)


def _parity(parity: Fields) -> list[tuple[str, object]]:
    agreement = parity.maybe_percent("top1_agreement")
    return [
        ("logits differ at most by", f"{parity.number('max_abs'):.3g}"),
        ("on average by", f"{parity.number('mean_abs'):.3g}"),
        ("smallest cosine", f"{parity.number('cosine'):.6f}"),
        ("same top-1", None if agreement is None else f"{agreement:.1f} %"),
    ]
