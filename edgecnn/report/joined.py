"""What several runs say of equal artifacts, side by side."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from edgecnn.report import scales
from edgecnn.report.agreement import Pair, agreement
from edgecnn.report.markup import Markup, join
from edgecnn.report.parts import LATENCY, Figure, Identity, Section, figure, table

Joined = Mapping[Identity, Sequence[Figure]]


def joined(sections: Iterable[Section]) -> Joined:
    """Return the figures of each artifact that has some.

    A figure that names only a file belongs to all measurements of that file.
    """
    every = [figure for section in sections for figure in section.figures]
    of_file: dict[str, dict[Identity, None]] = {}
    for one in every:
        if one.identity is not None and one.sha256 is not None:
            of_file.setdefault(one.sha256, {})[one.identity] = None
    found: dict[Identity, list[Figure]] = {}
    for one in every:
        identities = [one.identity] if one.identity else of_file.get(one.sha256 or "", ())
        for identity in identities:
            found.setdefault(identity, []).append(one)
    return found


def side_by_side(sections: Sequence[Section]) -> Markup | None:
    """Return a table of the artifacts that several documents tell of; None without any."""
    told = Counter(identity for section in _named(sections) for identity in joined([section]))
    found = {
        identity: figures for identity, figures in joined(sections).items() if told[identity] > 1
    }
    if not found:
        return None
    columns = list(dict.fromkeys(one.what for figures in found.values() for one in figures))
    rows = [
        [str(identity), *(_cell([one for one in figures if one.what == what]) for what in columns)]
        for identity, figures in found.items()
    ]
    return table(["artifact", *columns], rows, "What several documents tell of one artifact.")


def _named(sections: Sequence[Section]) -> Iterator[Section]:
    """Yield the sections with the names of their files, which another document may tell."""
    every = joined(sections)
    for section in sections:
        own = {id(figure) for figure in section.figures}
        named = (
            replace(one, identity=identity)
            for identity, figures in every.items()
            for one in figures
            if id(one) in own
        )
        yield replace(section, figures=tuple(named))


def _cell(figures: Sequence[Figure]) -> str | None:
    return "; ".join(dict.fromkeys(map(_said, figures))) or None


def _said(one: Figure) -> str:
    value = f"{one.value:.2f}" if one.what != LATENCY else scales.label(one.value)
    return f"{value} ({one.kind})"


def pairs(sections: Sequence[Section], found: Joined) -> tuple[Pair, ...]:
    """Return each prediction that stands beside a measurement."""
    told = [pair for section in sections for pair in section.pairs]
    return (*told, *(pair for item in found.items() for pair in _pairs(*item)))


def _pairs(identity: Identity, figures: Sequence[Figure]) -> Iterator[Pair]:
    times = [one for one in figures if one.what == LATENCY]
    measured = [one.value for one in times if one.kind == "measured"]
    for one in times:
        if measured and one.kind != "measured":
            yield Pair(str(identity), one.value, statistics.median(measured), one.ends)


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
