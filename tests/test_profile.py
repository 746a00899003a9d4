"""Profiles: percentiles, outliers, verdicts, and the JSON round trip."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.environment import Conditions, Environment
from edgecnn.errors import DataError, UsageError
from edgecnn.profile import (
    Latency,
    LayerTime,
    Profile,
    Sustained,
    Target,
    TracePoint,
    outliers,
    percentile,
)

IDLE = Conditions(1500.0, 45.0, 0.5, 10.0, 0.0, 100.0, 1.0)
ENVIRONMENT = Environment(
    machine="aarch64", system="Linux 6.6", cpu_model="0x41 0xd08", cores=4, usable_cores=4,
    isa=("asimd",), governor="ondemand", memory_bytes=2**31, python="3.11.2",
    versions={"edgecnn": "0.1.0"}, before=IDLE, after=IDLE,
)  # fmt: skip
PROFILE = Profile(
    artifact="m.onnx", sha256="ab" * 32, name="m", format="onnx", precision="fp32", device="local",
    runtime="ort", threads=2, samples_ns=(3_000_000, 1_000_000, 2_000_000, 40_000_000),
    rounds=(3, 1), warmup_runs=7, steady=True, init_ms=5.0, import_ms=3.0, first_run_ms=9.0,
    peak_rss_bytes=50_000_000, baseline_rss_bytes=20_000_000, environment=ENVIRONMENT,
    measured_at="2026-01-01T00:00:00+00:00", pre_ms=1.0, post_ms=0.1, pre_frame=(720, 1280),
    layers=(LayerTime("conv", "Conv", 0.7),),
    sustained=Sustained(4.0, 2.0, 2.0, 3.0, (TracePoint(4.0, 3.0, None, 60.5),)),
    notes=("n",), target=Target(p95_ms=10.0),
)  # fmt: skip

samples = st.lists(st.integers(1, 10**10), min_size=1, max_size=60)


@given(samples, st.floats(0, 100))
def test_percentile_is_numpys_linear_one(values: list[int], q: float) -> None:
    assert percentile(sorted(values), q) == pytest.approx(np.percentile(values, q), rel=1e-9)


@given(samples)
def test_latency_summarizes_all_samples(values: list[int]) -> None:
    latency = Latency.of(values)
    assert latency.min <= latency.p50 <= latency.p90 <= latency.p95 <= latency.p99 <= latency.max
    assert latency.max == max(values) / 1e6
    assert latency.mean == pytest.approx(sum(values) / len(values) / 1e6)


def test_outliers_are_flagged_and_kept() -> None:
    values = [100, 101, 99, 100, 102, 98, 500]
    assert outliers(values) == (6,)
    assert Latency.of(values).max == 500 / 1e6


def test_document_has_the_promised_keys() -> None:
    document = json.loads(json.dumps(PROFILE.to_dict()))
    assert set(document["latency_ms"]) == {"p50", "p90", "p95", "p99", "min", "max", "mean"}
    promised = {"artifact", "device", "runtime", "threads", "latency_ms", "runs", "init_ms",
                "peak_rss_bytes", "pre_ms", "post_ms", "layers", "environment",
                "passed"}  # fmt: skip
    assert promised <= set(document)
    assert document["runs"] == 4
    assert document["layers"] == [{"name": "conv", "op": "Conv", "ms": 0.7}]


@pytest.mark.parametrize(
    "profile",
    [PROFILE, replace(PROFILE, sustained=None, pre_frame=None, pre_ms=None, layers=(), notes=())],
)
def test_round_trip(tmp_path: Path, profile: Profile) -> None:
    path = tmp_path / "p.json"
    profile.save(path)
    assert Profile.load(path) == profile


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 99}, "schema 99"),
        ({"samples_ns": []}, "samples"),
        ({"rounds": [1]}, "rounds of 1"),
        ({"environment": {}}, "not a readable result"),
        ({"samples_ns": ["x"]}, "not a readable result"),
    ],
)
def test_damaged_profiles_are_refused(tmp_path: Path, change: object, words: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(PROFILE.to_dict() | change))
    with pytest.raises(DataError, match=words):
        Profile.load(path)


@given(st.integers(0, 2000))
def test_truncated_profiles_are_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    text = json.dumps(PROFILE.to_dict())
    path = tmp_path_factory.getbasetemp() / "cut.json"
    path.write_text(text[: min(cut, len(text) - 1)])
    with pytest.raises(DataError):
        Profile.load(path)


def test_verdict_is_on_p95_and_memory() -> None:
    p95 = PROFILE.latency.p95
    assert PROFILE.passed is False
    assert replace(PROFILE, target=Target(p95_ms=p95)).passed is True
    assert replace(PROFILE, target=Target(p95_ms=p95, peak_rss_bytes=1)).passed is False
    assert replace(PROFILE, target=Target()).passed is None


@pytest.mark.parametrize("limits", [{"p95_ms": 0}, {"min_top1": 101}, {"peak_rss_bytes": -1}])
def test_impossible_targets_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Target(**limits)  # type: ignore[arg-type]


def test_round_medians_follow_the_rounds() -> None:
    assert PROFILE.round_medians_ms() == (2.0, 40.0)


def test_others_share_leaves_out_those_who_take_part() -> None:
    after = replace(IDLE, busy_cpu_s=16.0, total_cpu_s=120.0, steal_cpu_s=1.0)
    found = ENVIRONMENT.until(after, taking_part_cpu_s=4.0)
    assert found.others_cpu == pytest.approx((6 - 4) / 20)
    assert found.steal_cpu == pytest.approx(1 / 20)
    assert ENVIRONMENT.until(IDLE, 0.0).others_cpu is None
