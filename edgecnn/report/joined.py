"""What several runs say of equal artifacts, side by side."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgecnn.report import scales
from edgecnn.report.agreement import Pair, agreement
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import LATENCY, TOP1, Figure, Identity, Section, figure, table

SHOWN_DIGITS = 12
"""Of a SHA-256."""


@dataclass(frozen=True)
class Row:
    """What figures are joined of: a file by its SHA-256, as it was measured in one place.

    ``sha256`` is None where no document tells of a certain file.
    """

    identity: Identity
    sha256: str | None = None

    def takes(self, figure: Figure) -> bool:
        """Whether a figure is of this.

        One of a certain file never where the file is another, and a measured accuracy only where
        the file is certain.
        """
        is_of_a_file = figure.sha256 is not None or (
            figure.what == TOP1 and figure.kind == "measured"
        )
        if is_of_a_file and figure.sha256 != self.sha256:
            return False
        return figure.identity is None or figure.identity.agrees(self.identity)


Joined = Mapping[Row, Sequence[Figure]]


def joined(sections: Iterable[Section]) -> Joined:
    """Return the figures of each artifact that has some.

    A figure that names only a file belongs to all measurements of that file, one that names none
    to all files of that name, precision, runtime and threads, and, where it says them, device and
    format.
    """
    every = [figure for section in sections for figure in section.figures]
    known: dict[Identity | str, dict[Row, list[Figure]]] = {}
    found: dict[Row, list[Figure]] = {}
    for one in sorted(every, key=lambda one: one.sha256 is None):  # certain files first
        if one.identity is not None and not any(row.takes(one) for row in _near(known, one)):
            row = Row(one.identity, one.sha256)
            figures = found.setdefault(row, [])
            known.setdefault(one.identity.always_said, {})[row] = figures
            if one.sha256 is not None:
                known.setdefault(one.sha256, {})[row] = figures
    for one in every:
        for row, figures in _near(known, one).items():
            if row.takes(one):
                figures.append(one)
    return found


def _near(
    known: Mapping[Identity | str, dict[Row, list[Figure]]], figure: Figure
) -> Mapping[Row, list[Figure]]:
    """The rows that may take a figure."""
    key = figure.sha256 if figure.identity is None else figure.identity.always_said
    return known.get(key or "", {})


def side_by_side(sections: Sequence[Section]) -> Markup | None:
    """Return a table of the artifacts that several documents tell of; None without any."""
    of = {id(one): number for number, s in enumerate(sections) for one in s.figures}
    found = {
        row: figures
        for row, figures in joined(sections).items()
        if len({of[id(one)] for one in figures}) > 1
    }
    if not found:
        return None
    columns = list(dict.fromkeys(one.what for figures in found.values() for one in figures))
    rows = [
        [*_named(row), *(_cell([one for one in figures if one.what == what]) for what in columns)]
        for row, figures in found.items()
    ]
    names = ["artifact", "device", "file"]
    return table([*names, *columns], rows, "What several documents tell of one artifact.")


def _named(row: Row) -> tuple[str, str | None, str | None]:
    return str(row.identity), row.identity.device, row.sha256 and row.sha256[:SHOWN_DIGITS]


def _cell(figures: Sequence[Figure]) -> str | None:
    return "; ".join(dict.fromkeys(map(_said, figures))) or None


def _said(one: Figure) -> str:
    value = f"{one.value:.2f}" if one.what != LATENCY else scales.label(one.value)
    return f"{value} ({one.kind})"


def pairs(sections: Sequence[Section], found: Joined) -> tuple[Pair, ...]:
    """Return each prediction that stands beside a measurement."""
    told = [pair for section in sections for pair in section.pairs]
    return (*told, *(pair for item in found.items() for pair in _pairs(*item)))


def _pairs(row: Row, figures: Sequence[Figure]) -> Iterator[Pair]:
    times = [one for one in figures if one.what == LATENCY]
    measured = [one.value for one in times if one.kind == "measured"]
    for one in times:
        if measured and one.kind != "measured":
            yield Pair(str(row.identity), one.value, statistics.median(measured), one.ends)


def against(found: Sequence[Pair]) -> Markup | None:
    """Return the chart and table of predictions against measurements."""
    if not found:
        return None
    errors = [abs(pair.error) for pair in found]
    inside = sum(error <= 0.1 for error in errors)
    listed = table(
        ["network", "predicted (ms)", "measured (ms)", "error"],
        [[pair.name, scales.label(pair.predicted_ms), scales.label(pair.measured_ms),
          f"{100 * pair.error:+.1f} %"] for pair in found],
        "Predicted against measured medians.", numbers=(1, 2, 3),
    )  # fmt: skip
    said = (
        f"{inside} of {len(found)} predictions are within 10 % of the measured median; the median "
        f"error is {100 * statistics.median(errors):.1f} %."
    )
    return join([figure(agreement(found), said, listed)])
