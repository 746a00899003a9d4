"""What was measured: a :class:`Profile` holds every sample and what the machine was doing.

A profile is never a prediction. It is saved as JSON, and read back with all samples.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from edgecnn import documents
from edgecnn.environment import Environment
from edgecnn.errors import UsageError
from edgecnn.machine.power import Energy

T = TypeVar("T")
SCHEMA = 2
MeasuredKey = tuple[str, str, str, int]
NS_PER_MS = 1e6
OUTLIER_MADS = 5.0


@dataclass(frozen=True)
class Target:
    """The limits that a candidate has to keep; None where there is no limit.

    ``p95_ms``: 95th percentile of the latency; ``min_top1``: per cent; ``peak_rss_bytes``: memory.
    """

    p95_ms: float | None = None
    min_top1: float | None = None
    peak_rss_bytes: int | None = None

    def __post_init__(self) -> None:
        for limit in (self.p95_ms, self.peak_rss_bytes):
            if limit is not None and limit <= 0:
                raise UsageError(f"a limit of {limit} cannot be met; it must be above 0.")
        if self.min_top1 is not None and not 0 <= self.min_top1 <= 100:
            raise UsageError(f"minimum top-1 is {self.min_top1}; it is a per cent from 0 to 100.")


@dataclass(frozen=True)
class LayerTime:
    """Time of one executed node: the median of the profiled runs, where the runtime tells each.

    Otherwise their mean.
    """

    name: str
    op: str
    ms: float


@dataclass(frozen=True)
class Latency:
    """Summary of latency samples in milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    min: float
    max: float
    mean: float

    @classmethod
    def of(cls, samples_ns: Sequence[int]) -> "Latency":
        """Summarize samples in nanoseconds; see :func:`percentile`."""
        ordered = sorted(samples_ns)
        quantiles = {f"p{q}": percentile(ordered, q) / NS_PER_MS for q in (50, 90, 95, 99)}
        return cls(
            **quantiles,
            min=ordered[0] / NS_PER_MS,
            max=ordered[-1] / NS_PER_MS,
            mean=statistics.fmean(ordered) / NS_PER_MS,
        )


def percentile(ordered: Sequence[int], q: float) -> float:
    """Return the ``q``-th percentile (0 to 100) of ascending samples.

    Linear interpolation between the two samples around position (n - 1) q / 100, counted from 0:
    definition 7 of Hyndman & Fan, "Sample Quantiles in Statistical Packages" (1996), numpy's
    default.
    """
    position = (len(ordered) - 1) * q / 100.0
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def outliers(samples_ns: Sequence[int]) -> tuple[int, ...]:
    """Return the indices of samples above median + 5 median absolute deviations.

    They are flagged and stay in every statistic.
    """
    median = statistics.median(samples_ns)
    deviation = statistics.median(abs(sample - median) for sample in samples_ns)
    limit = median + OUTLIER_MADS * deviation
    return tuple(i for i, sample in enumerate(samples_ns) if sample > limit)


@dataclass(frozen=True)
class GoldenCheck:
    """The golden sample of a file, run here: the largest deviation of a logit.

    ``steps`` is the deviation in quantization steps, where the logits have any.
    """

    max_abs: float
    limit: float
    steps: int | None
    passed: bool

    def __str__(self) -> str:
        if self.steps is not None and self.passed:
            return f"{self.steps} quantization steps off"
        steps = "" if self.steps is None else f" ({self.steps} quantization steps)"
        return f"off by {self.max_abs:.2g}{steps}, allowed {self.limit:.2g}"


@dataclass(frozen=True)
class Transfers:
    """Medians of the way to a GPU, the work there and the way back, each waited for in turn."""

    in_ms: float
    compute_ms: float
    out_ms: float


@dataclass(frozen=True)
class TracePoint:
    """One stretch of a sustained run: its end after ``at_s`` seconds, and the state then."""

    at_s: float
    p50_ms: float
    clock_mhz: float | None
    temperature_c: float | None
    throttled: int | None = None


@dataclass(frozen=True)
class Sustained:
    """Burst against steady state: the medians of the first and the last ``window_s`` seconds."""

    seconds: float
    window_s: float
    burst_p50_ms: float
    steady_p50_ms: float
    trace: tuple[TracePoint, ...]

    @property
    def slowdown(self) -> float:
        """Steady state over burst; above 1 the machine got slower."""
        return self.steady_p50_ms / self.burst_p50_ms


@dataclass(frozen=True)
class Profile:
    """One artifact measured on one runtime and device with a stated number of threads.

    ``rounds`` are the numbers of consecutive samples taken before another candidate had its turn.
    ``init_ms`` is the time to open the file once the runtime's package is imported (``import_ms``);
    the first run, which often still packs weights, takes ``first_run_ms``.
    ``peak_rss_bytes`` is the highest resident memory of the whole process after the timed runs,
    ``baseline_rss_bytes`` what it held before it imported the runtime. ``pre_ms`` is None where
    the file carries no contract. ``golden`` is None where the file has no golden sample, ``energy``
    where no meter could be read, ``transfers`` where nothing is transferred or the runtime cannot
    tell. ``void`` says why the figures do not count (the board was throttled), ``processes`` how
    many took part, one after another: more than one where a connection broke. ``complete`` is
    False where the run was cut short; ``notes`` say what a reader has to know of the figures.
    """

    artifact: str
    sha256: str
    name: str
    format: str
    precision: str | None
    device: str
    runtime: str
    threads: int
    samples_ns: tuple[int, ...]
    rounds: tuple[int, ...]
    warmup_runs: int
    steady: bool
    init_ms: float
    import_ms: float
    first_run_ms: float
    peak_rss_bytes: int
    baseline_rss_bytes: int
    environment: Environment
    measured_at: str
    pre_ms: float | None = None
    post_ms: float | None = None
    pre_frame: tuple[int, int] | None = None
    layers: tuple[LayerTime, ...] = ()
    sustained: Sustained | None = None
    golden: GoldenCheck | None = None
    transfers: Transfers | None = None
    energy: Energy | None = None
    void: str | None = None
    processes: int = 1
    complete: bool = True
    notes: tuple[str, ...] = ()
    target: Target = field(default_factory=Target)

    @property
    def latency(self) -> Latency:
        """Percentiles of all samples."""
        return Latency.of(self.samples_ns)

    @property
    def key(self) -> MeasuredKey:
        """What was measured: the file's digest, runtime, device and threads."""
        return (self.sha256, self.runtime, self.device, self.threads)

    @property
    def passed(self) -> bool | None:
        """Whether the latency and memory limits of ``target`` are kept; None without any.

        A void measurement keeps none.
        """
        measured = ((self.latency.p95, self.target.p95_ms),
                    (self.peak_rss_bytes, self.target.peak_rss_bytes))  # fmt: skip
        verdicts = [value <= limit for value, limit in measured if limit is not None]
        return (all(verdicts) and self.void is None) if verdicts else None

    def round_medians_ms(self) -> tuple[float, ...]:
        """Return the median of each round, for comparing interleaved candidates in pairs."""
        medians, start = [], 0
        for runs in self.rounds:
            medians.append(statistics.median(self.samples_ns[start : start + runs]) / NS_PER_MS)
            start += runs
        return tuple(medians)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document: every field, and the figures that follow from them."""
        flagged = outliers(self.samples_ns)
        return asdict(self) | {
            "schema": SCHEMA,
            "timing": "measured",
            "latency_ms": asdict(self.latency),
            "percentiles": "linear interpolation (Hyndman & Fan 7)",
            "runs": len(self.samples_ns),
            "outliers": {"count": len(flagged), "indices": flagged,
                         "rule": f"above median + {OUTLIER_MADS:g} MAD; kept"},
            "passed": self.passed,
        }  # fmt: skip

    def save(self, path: Path) -> None:
        """Write the JSON document in one step."""
        documents.save(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing, too large, damaged, or of another schema.
        """
        return documents.load(path, SCHEMA, _from_dict)


def _from_dict(data: Mapping[str, Any]) -> Profile:
    values = {f.name: data[f.name] for f in fields(Profile)}
    samples, rounds = tuple(map(int, values["samples_ns"])), tuple(map(int, values["rounds"]))
    if not samples or sum(rounds) != len(samples):
        raise ValueError(f"{len(samples)} samples in rounds of {sum(rounds)}")
    frame, sustained = values["pre_frame"], values["sustained"]
    return Profile(**values | {
        "samples_ns": samples,
        "rounds": rounds,
        "environment": Environment.from_dict(values["environment"]),
        "notes": tuple(values["notes"]),
        "pre_frame": None if frame is None else (int(frame[0]), int(frame[1])),
        "layers": tuple(LayerTime(**layer) for layer in values["layers"]),
        "sustained": None if sustained is None else _sustained(sustained),
        "golden": _optional(GoldenCheck, values["golden"]),
        "transfers": _optional(Transfers, values["transfers"]),
        "energy": _optional(Energy, values["energy"]),
        "target": Target(**values["target"]),
    })  # fmt: skip


def _optional(kind: type[T], data: Mapping[str, Any] | None) -> T | None:
    return None if data is None else kind(**data)


def _sustained(data: Mapping[str, Any]) -> Sustained:
    trace = tuple(TracePoint(**point) for point in data["trace"])
    return Sustained(**{**data, "trace": trace})
