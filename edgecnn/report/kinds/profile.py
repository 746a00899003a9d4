"""A measurement (``edgecnn profile``), on one device."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from edgecnn.profile import NS_PER_MS, Latency
from edgecnn.report import scales
from edgecnn.report.bars import Bar, bars
from edgecnn.report.fields import Fields
from edgecnn.report.layers import Layer, layers
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.parts import (
    LATENCY,
    Figure,
    Identity,
    Section,
    Verdict,
    facts,
    figure,
    megabytes,
    ms,
    notes,
    table,
)
from edgecnn.report.samples import Line, histogram, sequence, trace

made_by = "edgecnn profile --json (or --output)"


def matches(keys: Collection[str]) -> bool:
    """Tell whether these are the fields of a profile, or of a rehearsal on an emulated board."""
    return {"artifact", "runtime", "threads", "environment", "timing"} <= set(keys)


def section(document: Fields) -> Section:
    """Return the section of a measurement, or of a file that was only checked."""
    identity = Identity(
        document.text("name"),
        document.maybe_text("precision"),
        document.text("runtime"),
        document.maybe_count("threads"),
        document.maybe_text("device"),
        document.maybe_text("format"),
    )
    environment = document.child("environment")
    if document.text("timing") != "measured":
        return _checked(document, identity, environment)
    samples_ms = tuple(ns / NS_PER_MS for ns in _samples(document))
    latency = Latency.of([round(value * NS_PER_MS) for value in samples_ms])
    sha256 = document.maybe_text("sha256")
    return Section(
        title=f"Latency of {identity} on {document.text('device')}",
        body=join(
            [
                notes(_warnings(document), "note warning"),
                _distribution(samples_ms, latency, document),
                _ranking(document),
                _sustained(document.maybe_child("sustained")),
                layers(tuple(_layers(document)), "measured"),
                _facts(document, latency),
            ]
        ),
        verdicts=(_verdict(document, identity, latency),),
        figures=(Figure(LATENCY, latency.p50, "measured", identity, sha256),),
        environments=(environment,),
        commands=(document.texts("command") or _command(document),),
    )


def _samples(document: Fields) -> tuple[float, ...]:
    samples = document.numbers("samples_ns")
    if not samples or min(samples) <= 0:
        # Raises, naming the field.
        Fields(document.where, {"samples_ns": None}).positive("samples_ns")
    return samples


def _target_ms(document: Fields) -> float | None:
    target = document.maybe_child("target")
    return None if target is None else target.maybe_positive("p95_ms")


def _verdict(document: Fields, identity: Identity, latency: Latency) -> Verdict:
    target_ms, passed = _target_ms(document), document.flag("passed")
    said = f"{identity} on {document.text('device')}: {scales.label(latency.p95)} ms (measured p95)"
    void = document.maybe_text("void")
    if void is not None:
        return Verdict(f"{said} \N{EN DASH} void: {void}", False)
    if target_ms is None or passed is None:
        return Verdict(f"{said}, median {scales.label(latency.p50)} ms")
    return Verdict(f"{said} \N{EN DASH} {'meets' if passed else 'misses'} {target_ms:g} ms", passed)


def _warnings(document: Fields) -> Iterator[str]:
    void = document.maybe_text("void")
    if void is not None:
        yield f"Void: {void}. These figures do not count."
    if document.flag("complete") is False:
        yield "Incomplete: the run was cut short."
    yield from document.texts("notes")


def _distribution(samples_ms: Sequence[float], latency: Latency, document: Fields) -> Markup:
    lines = [Line("median", latency.p50), Line("p95", latency.p95)]
    target_ms = _target_ms(document)
    if target_ms is not None:
        lines.append(Line("target", target_ms, target=True))
    runs = len(samples_ms)
    spread = table(
        ["min", "p50", "p90", "p95", "p99", "max", "mean"],
        [[scales.label(value) for value in (latency.min, latency.p50, latency.p90, latency.p95,
                                            latency.p99, latency.max, latency.mean)]],
        f"Latency in ms over {runs} runs; percentiles by linear interpolation.",
        numbers=range(7),
    )  # fmt: skip
    rounds = tuple(int(count) for count in document.numbers("rounds"))
    return join(
        [
            figure(
                histogram(samples_ms, lines, f"Distribution of {runs} measured latencies, median "
                          f"{scales.label(latency.p50)} ms, p95 {scales.label(latency.p95)} ms"),
                f"How long the {runs} timed runs took. Every sample is kept.",
                spread,
            ),
            figure(
                sequence(samples_ms, rounds, f"{runs} measured latencies in their order"),
                "The same runs in their order: fastest to slowest of each stretch, and the median.",
            ),
        ]
    )  # fmt: skip


def _ranking(document: Fields) -> Markup | None:
    rows = [row for row in document.children("ranking") if row.maybe_child("latency_ms")]
    if len(rows) < 2:
        return None
    found = []
    for row in rows:
        latency = row.child("latency_ms")
        p50, p95 = latency.positive("p50"), latency.positive("p95")
        threads = row.maybe_count("threads")
        name = f"{row.text('runtime')}, {threads} thr."
        said = f"{scales.label(p50)} ms, p95 {scales.label(p95)}"
        found.append(Bar(name, p50, "measured", said, (p50, max(p50, p95))))
    return figure(
        bars(found, "latency (ms)", f"Measured medians of {len(found)} runtimes",
             _target_ms(document)),
        "Runtimes measured in turns, in one run: the bar ends at the median, the whisker at p95.",
    )  # fmt: skip


def _sustained(found: Fields | None) -> Markup | None:
    if found is None:
        return None
    points = [
        (point.number("at_s"), point.positive("p50_ms"), "\n".join(_state(point)))
        for point in found.children("trace")
    ]
    if not points:
        return None
    burst, steady = found.positive("burst_p50_ms"), found.positive("steady_p50_ms")
    return figure(
        trace(points, f"Median latency over {found.number('seconds'):.0f} seconds of work"),
        f"Back to back for {found.number('seconds'):.0f} s: median {scales.label(burst)} ms at "
        f"first, {scales.label(steady)} ms in the end ({steady / burst:.2f} times).",
        table(["after", "what"], [[f"{at:.0f} s", tip] for at, _, tip in points], "The trace."),
    )


def _state(point: Fields) -> Iterable[str]:
    yield f"{point.number('at_s'):.0f} s: p50 {scales.label(point.positive('p50_ms'))} ms"
    clock, heat = point.maybe_number("clock_mhz"), point.maybe_number("temperature_c")
    if clock is not None:
        yield f"{clock:.0f} MHz"
    if heat is not None:
        yield f"{heat:.0f} \N{DEGREE SIGN}C"


def _layers(document: Fields) -> Iterator[Layer]:
    for layer in document.children("layers"):
        yield Layer(layer.text("name"), layer.text("op"), max(0.0, layer.number("ms")))


def _facts(document: Fields, latency: Latency) -> Markup:
    energy, transfers = document.maybe_child("energy"), document.maybe_child("transfers")
    joules = None if energy is None else energy.maybe_number("joules_per_run")
    outliers = document.maybe_child("outliers")
    return facts(
        [
            ("file", document.maybe_text("artifact")),
            ("sha256", document.maybe_text("sha256")),
            ("measured", document.maybe_text("measured_at")),
            ("outliers", outliers and f"{outliers.maybe_count('count')} ({outliers.text('rule')})"),
            ("opening", ms(document.maybe_number("init_ms"))),
            ("first run", ms(document.maybe_number("first_run_ms"))),
            ("before: photograph to input", ms(document.maybe_number("pre_ms"))),
            ("after: five best classes", ms(document.maybe_number("post_ms"))),
            ("memory at most", megabytes(document.maybe_number("peak_rss_bytes"))),
            ("energy", "not measured" if joules is None else f"{1000 * joules:.1f} mJ a run"),
            ("transfer in", transfers and ms(transfers.maybe_number("in_ms"))),
            ("work on the GPU", transfers and ms(transfers.maybe_number("compute_ms"))),
            ("transfer out", transfers and ms(transfers.maybe_number("out_ms"))),
            ("golden sample", _golden(document.maybe_child("golden"))),
        ]
    )


def _golden(golden: Fields | None) -> str:
    if golden is None:
        return "none in the file"
    verdict = "as exported" if golden.flag("passed") else "not as exported"
    off, limit = golden.number("max_abs"), golden.number("limit")
    return f"{verdict}: off by {off:.2g} at most, allowed {limit:.2g}"


def _checked(document: Fields, identity: Identity, environment: Fields) -> Section:
    golden = document.maybe_child("golden")
    passed = None if golden is None else golden.flag("passed")
    device = document.text("device")
    said = f"{identity} on {device}: opens; golden sample {_golden(golden)}; nothing was timed"
    body = join(
        [
            tag(
                "p",
                "An emulated processor: its results are real, it has no latency.",
                class_="note",
            ),
            facts([("file", document.maybe_text("artifact")), ("golden sample", _golden(golden))]),
        ]
    )
    return Section(
        title=f"{identity} on {device}",
        body=body,
        verdicts=(Verdict(said, passed),),
        environments=(environment,),
        commands=(document.texts("command") or _command(document),),
    )


def _command(document: Fields) -> tuple[str, ...]:
    words = ["edgecnn", "profile", document.text("artifact")]
    words += ["--device", document.text("device"), "--runtime", document.text("runtime")]
    words += ["--num-threads", str(document.maybe_count("threads") or 1)]
    target_ms, sustained = _target_ms(document), document.maybe_child("sustained")
    if target_ms is not None:
        words += ["--target-ms", f"{target_ms:g}"]
    if document.data.get("layers"):
        words.append("--per-layer")
    if sustained is not None:
        words += ["--sustained", f"{sustained.number('seconds'):.0f}"]
    return (*words, "--json")
