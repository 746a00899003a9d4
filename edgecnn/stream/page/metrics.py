"""A stream's counts in Prometheus' text format.

Source: prometheus.io/docs, exposition formats, text-based format, version 0.0.4.
"""

from collections.abc import Iterable, Mapping
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4"
_QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}


def exposition(state: Mapping[str, Any], health: Mapping[str, Any]) -> str:
    """Return the page; ``state`` is `Stream.state`, ``health`` `Health.to_dict`."""
    lines: list[str] = []
    for name, key, text in (
        ("results", "frames", "Results so far."),
        ("dropped_frames", "dropped", "Frames that were passed over for newer ones."),
        ("repeated_frames", "repeated", "Frames that showed the same picture as the one before."),
        ("late_results", "late", "Results whose frame was older than the budget."),
    ):
        lines += _metric(f"{name}_total", "counter", text, [({}, state[key])])
    for name, key, text in (
        ("frame_age_seconds", "age_ms", "From capture to result."),
        ("inference_seconds", "infer_ms", "The network alone."),
    ):
        lines += _summary(name, text, state[key])
    lines += _metric(
        "model_results_total",
        "counter",
        "Results by network.",
        [({"model": model}, count) for model, count in state["models"].items()],
    )
    lines += _metric(
        "events_total",
        "counter",
        "Events by kind.",
        [({"kind": kind}, count) for kind, count in state["events"].items()],
    )
    gauges = {
        "source_frames_per_second": ("Rate of the source.", state["fps"]),
        "budget_seconds": ("The limit of frame age.", _seconds(state["budget_ms"])),
        "temperature_celsius": ("The hottest zone.", health["temperature_c"]),
        "clock_hertz": ("Mean over the cores.", _hertz(health["clock_mhz"])),
        "throttled": ("Whether the board holds its clock down.", int(bool(health["throttled"]))),
    }  # fmt: skip
    for name, (text, value) in gauges.items():
        if value is not None:
            lines += _metric(name, "gauge", text, [({}, value)])
    return "\n".join(lines) + "\n"


def _metric(
    name: str, kind: str, text: str, rows: Iterable[tuple[Mapping[str, str], float]]
) -> list[str]:
    full = f"edgecnn_{name}"
    head = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    return [*head, *(f"{full}{_labels(labels)} {value}" for labels, value in rows)]


def _summary(name: str, text: str, ms: Mapping[str, Any]) -> list[str]:
    rows = [({"quantile": q}, ms[key] / 1e3) for key, q in _QUANTILES.items() if key in ms]
    total = ms.get("mean", 0.0) * ms["count"] / 1e3
    return [
        *_metric(name, "summary", text, rows),
        f"edgecnn_{name}_sum {total}",
        f"edgecnn_{name}_count {ms['count']}",
    ]


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


def _hertz(mhz: float | None) -> float | None:
    return None if mhz is None else mhz * 1e6
