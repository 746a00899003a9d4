"""Documents of every kind that edgecnn writes, small and made up; figures mean nothing."""

import json
from pathlib import Path
from typing import Any

from edgecnn.accuracy import Evaluation
from edgecnn.choice import Row, choose
from edgecnn.environment import Conditions, Environment
from edgecnn.profile import LayerTime, Profile, Sustained, Target, TracePoint
from edgecnn.rehearsal import Rehearsal

SHA256 = "ab" * 32


def rows(name: str = "efficientnet_lite0") -> tuple[Row, ...]:
    """Candidates with every kind of latency and of accuracy, and one that could not be made."""

    def row(threads: int, **known: Any) -> Row:
        return Row(name, "tflite", "w8a8", "litert", threads, **known)

    return (
        row(1, latency_ms=9.1, p50_ms=8.0, latency_kind="measured", top1=75.1,
            top1_kind="published", top1_source="their table 1"),
        row(2, latency_ms=4.0, latency_kind="predicted", top1=70.0, top1_kind="measured"),
        row(3, latency_ms=30.0, latency_kind="published", top1=77.0, top1_kind="published fp32"),
        row(4, latency_ms=12.0, latency_kind="measured"),
        row(5, problem="the converter refused it"),
    )  # fmt: skip


def choice(name: str = "efficientnet_lite0", target_ms: float = 15.0) -> dict[str, Any]:
    """A choice among :func:`rows`; from 5 ms on one of them meets the target."""
    return choose(rows(name), Target(p95_ms=target_ms)).to_dict()


def environment() -> Environment:
    """A machine."""
    state = Conditions(1500.0, 50.0, 0.1, 1.0, 0.0, 2.0, 0.5)
    return Environment("aarch64", "Linux 6.1", "Cortex-A72", 4, 4, ("neon",), "performance",
                       4 * 2**30, "3.11.2", {"edgecnn": "0.1", "ai-edge-litert": "2.3.0"}, state,
                       state, 0.01, 0.0)  # fmt: skip


def profile(name: str = "efficientnet_lite0", device: str = "local") -> dict[str, Any]:
    """A measurement with layers, a sustained run, and one run far from the others."""
    samples = (*(8_000_000 + 37_000 * (i % 13) for i in range(99)), 90_000_000)
    measured = Profile(
        artifact=f"{name}.tflite", sha256=SHA256, name=name, format="tflite", precision="w8a8",
        device=device, runtime="litert", threads=1, samples_ns=samples, rounds=(50, 50),
        warmup_runs=5, steady=True, init_ms=20.0, import_ms=300.0, first_run_ms=12.0,
        peak_rss_bytes=80_000_000, baseline_rss_bytes=50_000_000, environment=environment(),
        measured_at="2026-11-24T10:00:00+00:00",
        layers=tuple(LayerTime(f"node_{i}", ("conv", "add")[i % 2], 0.1 * i) for i in range(30)),
        sustained=Sustained(20.0, 5.0, 8.0, 9.0, tuple(TracePoint(t, 8.0 + t / 20, 1500.0, 50.0)
                                                       for t in range(1, 21))),
        target=Target(p95_ms=15.0),
    )  # fmt: skip
    ranking = [
        {"device": device, "runtime": runtime, "threads": 1, "latency_ms": {"p50": p50, "p95": p95}}
        for runtime, p50, p95 in (("litert", 8.2, 9.0), ("openvino", 9.5, 11.0))
    ]
    return measured.to_dict() | {"ranking": ranking, "unavailable": []}


def devices(name: str = "efficientnet_lite0") -> dict[str, Any]:
    """Two devices that were measured, one that was only emulated, and one that failed."""
    checked = Rehearsal("a.tflite", SHA256, name, "tflite", "w8a8", "emulated:rpi4", "litert", 1,
                        None, environment(), "2026-11-24T10:00:00+00:00")  # fmt: skip
    failed = {"device": "pi5", "error": "it does not answer"}
    return {"devices": [profile(name), profile(name, "pi4"), checked.to_dict(), failed]}


def evaluation(name: str = "efficientnet_lite0") -> dict[str, Any]:
    """An accuracy, with a reference."""
    return Evaluation(
        f"{name}.tflite", SHA256, "photographs", "litert", "local", 1, 400, 87.75, 98.75,
        (84.17, 90.61), f"{name}-fp32.tflite", 88.0, 98.25, 0.25, (-0.95, 1.44), 3, 2, 100,
        passed=True,
    ).to_dict()  # fmt: skip


def export(name: str = "efficientnet_lite0") -> dict[str, Any]:
    """A file that equals its original."""
    parity = {"max_abs": 0.57, "mean_abs": 0.05, "cosine": 0.997, "top1_agreement": 96.9,
              "passed": True, "reason": None}  # fmt: skip
    return {"artifact": f"{name}.tflite", "format": "tflite", "precision": "w8a8",
            "bytes": 5_310_000, "parity": parity, "seconds": 20.6, "sha256": SHA256,
            "weights": "a package"}  # fmt: skip


def estimate(name: str = "efficientnet_lite0") -> dict[str, Any]:
    """A prediction for what :func:`profile` measured."""
    table = {"device": "local", "runtime": "litert", "precision": "w8a8", "threads": 1}
    layers = [{"name": f"block_{i}", "op": "conv", "ms": 0.4} for i in range(20)]
    return {"model": name, "table": table, "latency_ms": 8.6, "interval_ms": [8.0, 9.3],
            "level": 0.9, "layers": layers, "unknown_ops": ["HardSwish"], "unknown_share": 0.01,
            "latency_kind": "predicted"}  # fmt: skip


def table(name: str = "efficientnet_lite0") -> dict[str, Any]:
    """A latency table with held-out errors."""
    networks = [{"name": name, "predicted_ms": 9.0, "measured_ms": 10.0},
                {"name": f"{name}_b", "predicted_ms": 21.0, "measured_ms": 20.0}]  # fmt: skip
    errors = {"conv": {"median": 0.03, "count": 20}, "networks": networks}
    return {"schema": 1, "source": "measured", "device": "local", "runtime": "ort",
            "runtime_version": "1.32", "precision": "fp32", "threads": 1, "governor": None,
            "created": "2026-11-24", "samples": [{}, {}], "errors": errors,
            "model": "..."}  # fmt: skip


def search(name: str = "mnasnet_17") -> dict[str, Any]:
    """What a search found."""

    def one(number: int, top1: float, latency_ms: float) -> dict[str, Any]:
        return {"number": number, "name": f"{name}_{number}", "top1": top1, "top1_kind": "measured",
                "latency_ms": latency_ms, "latency_kind": "predicted", "reward": top1}  # fmt: skip

    front = [one(1, 60.0, 5.0), one(2, 66.0, 9.0)]
    best = [front[1] | {"meets": True}, one(3, 65.0, 9.5) | {"meets": True}]
    goal = {"space": "mnasnet 0123", "aim": "soft", "accuracy": "proxy", "latency": "table"}
    return {"goal": goal, "target_ms": 10.0, "judged": 40, "problems": {}, "best": best,
            "front": front}  # fmt: skip


def scaling(name: str = "efficientnet_b0") -> dict[str, Any]:
    """A network scaled to a deadline."""
    member = {"name": name, "phi": 1.0, "width": 1.1, "depth": 1.2, "imgsz": 240,
              "latency_ms": 14.0, "latency_kind": "predicted"}  # fmt: skip
    return {"base": name, "target_ms": 15.0, "coefficients": [1.2, 1.1, 1.15], "member": member,
            "next": member | {"latency_ms": 17.0, "phi": 1.5}}  # fmt: skip


def grid(name: str = "efficientnet_b0") -> dict[str, Any]:
    """Coefficients that were searched for, without a target."""
    best = {"coefficients": [1.2, 1.1, 1.15], "name": f"{name}@w1.1", "ratio": 1.95, "top1": 61.2,
            "latency_ms": {"table a": 14.0, "table b": None}}  # fmt: skip
    other = best | {"coefficients": [1.0, 1.2, 1.2], "top1": None}
    found = {"constraint": "multiply-adds", "top1_kind": "measured", "best": best,
             "points": [best, other]}  # fmt: skip
    return {"base": name, "target_ms": None, "grids": [found, found]}


EVERY = {
    "select": choice, "profile": profile, "devices": devices, "evaluate": evaluation,
    "export": export, "predict": estimate, "table": table, "search": search, "scale": scaling,
}  # fmt: skip


def written(folder: Path, **documents: Any) -> list[Path]:
    """Write documents as JSON files."""
    paths = []
    for name, document in documents.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(document))
    return paths
