"""The networks that calibration measures: drawn by a seed, within their ranges, around the zoo."""

from collections.abc import Sequence
from functools import cache
from math import gcd
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import pytest
from run_graphs import COMBINATIONS, RUNTIMES, executed, logits

from edgecnn import families, fusion, layers, space, workload
from edgecnn.encoding import Encoder, Features, Signature, features
from edgecnn.errors import UsageError
from edgecnn.fusion import Target
from edgecnn.latency import design, graphs
from edgecnn.latency.model import SPAN_SLACK
from edgecnn.spec import ModelSpec


def _drawn(count: int, seed: int = 0, ranges: design.Ranges | None = None) -> list[ModelSpec]:
    random = Random(seed)
    return [design.random_spec(random, ranges or design.Ranges()) for _ in range(count)]


@cache
def _many() -> list[ModelSpec]:
    return _drawn(1500)


def test_a_seed_gives_the_same_networks() -> None:
    assert [str(s) for s in _drawn(20)] == [str(s) for s in _drawn(20)]
    assert len({str(s).split("\n", 1)[1] for s in _drawn(50)}) == 50


def test_designed_networks_are_within_their_ranges() -> None:
    ranges = design.Ranges()
    specs = _drawn(120)
    for spec in specs:
        assert ModelSpec.parse(str(spec)) == spec
        assert ranges.resolution[0] <= spec.resolution <= ranges.resolution[1]
        rows = [b for b in spec.blocks if b.kind not in ("stem", "head", "pool", "linear")]
        assert ranges.rows[0] <= len(rows) <= ranges.rows[1]
        for block, shape in layers.row_shapes(spec):
            operators = workload.row_operators(block, shape, spec.conventions)
            assert sum(o.macs for o in operators) <= ranges.row_macs
            assert max(o.out_bytes for o in operators) <= 4 * ranges.tensor_elements
    blocks = [block for spec in specs for block in spec.blocks]
    assert {b.kind for b in blocks} >= {"conv", "dws", "mbconv", "fused", "uib", "head"}
    assert {b.activation for b in blocks} >= set(ranges.activations)
    assert {b.kernel for b in blocks} >= {3, 5, 7}
    assert {s.conventions.padding for s in specs} == {"same", "symmetric"}
    assert any(b.se for b in blocks) and any(b.hse for b in blocks)
    assert any(b.channels % 8 for b in blocks if b.kind == "mbconv")


def test_a_width_makes_whole_networks_narrow() -> None:
    def channels(width: float) -> float:
        specs = _drawn(40, ranges=design.Ranges(width=(width, width)))
        return median(b.channels for s in specs for b in s.blocks if b.kind == "mbconv")

    assert channels(0.2) < 0.6 * channels(1.0)


def test_channels_are_multiples_of_a_networks_grain() -> None:
    """Those of published networks: MobileNetV1 has none that 32 does not divide."""
    specs = _drawn(80, ranges=design.Ranges(channels=(32, 640)))
    grains = [gcd(*(b.channels for b in s.blocks if b.kind == "mbconv")) for s in specs]
    assert any(grain % 32 == 0 for grain in grains if grain)
    assert sum(grain % 8 != 0 for grain in grains) < 0.3 * len(grains)  # odd ones


def test_a_backward_range_is_refused() -> None:
    with pytest.raises(UsageError, match="width is 0 to 1"):
        design.Ranges(width=(0.0, 1.0))
    with pytest.raises(UsageError, match="resolution is 320 to 32"):
        design.Ranges(resolution=(320, 32))
    with pytest.raises(UsageError, match="allow more"):
        _drawn(3, ranges=design.Ranges(row_macs=10))


@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
def test_designed_networks_run(format_name: str, precision: str, tmp_path: Path) -> None:
    small = design.Ranges(row_macs=5_000_000, resolution=(32, 96))
    for spec in _drawn(5, ranges=small):
        made = logits(
            graphs.write(spec, format_name, precision, tmp_path / f"f.{format_name}"), format_name
        )
        assert np.isfinite(made).all() and 0.02 < made.std() < 5, str(spec)


@pytest.mark.slow
@pytest.mark.parametrize("precision", graphs.PRECISIONS["onnx"])
def test_ort_executes_what_is_modelled_of_designed_networks(precision: str, tmp_path: Path) -> None:
    """Of most: beside channels that are no multiple of 8, the model misses some additions."""
    small = design.Ranges(row_macs=20_000_000, resolution=(32, 128))
    specs = _drawn(40, seed=2, ranges=small)
    alike = 0
    for spec in specs:
        found = fusion.fused(workload.from_spec(spec), "ort", Target.here(precision))
        expected = [operator.node.removeprefix("nchwc.") for operator in found.operators]
        reported = executed(graphs.write(spec, "onnx", precision, tmp_path / "f.onnx"))
        alike += reported == expected
    assert alike >= 0.85 * len(specs)


def _figures(specs: Sequence[ModelSpec], encoder: Encoder) -> dict[str, set[Features]]:
    """Features of the executed operators, by kind and node."""
    found: dict[str, set[Features]] = {}
    numbers = {i for spec in specs for row in encoder.rows(spec) for i in encoder.operators[row]}
    for one in (encoder.signatures[number] for number in numbers):
        found.setdefault(_kind(one), set()).add(features(one, encoder.target.precision))
    return found


def _kind(one: Signature) -> str:
    return f"{one.op} {one.node}"


@pytest.mark.slow
@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
def test_designed_networks_reach_around_the_zoo(format_name: str, precision: str) -> None:
    """Of the operators of 1,500 networks, the smallest and the largest, with a table's slack."""
    encoder = Encoder(RUNTIMES[format_name], Target.here(precision))
    known = _figures(_many(), encoder)
    drawn = Random(1)
    spaces = [space.Space.load(name) for name in space.names()]
    wanted = [s for s in families.mobile() if s.resolution <= 320]
    wanted += [one.decode(one.sample(drawn)) for one in spaces for _ in range(100)]
    inside = total = 0
    for kind, figures in _figures(wanted, encoder).items():
        seen = np.array(sorted(known[kind]))
        asked = np.array(sorted(figures))
        low, high = seen.min(axis=0) / SPAN_SLACK, seen.max(axis=0) * SPAN_SLACK
        within = ((asked >= low) & (asked <= high)).all(axis=1)
        inside, total = inside + int(within.sum()), total + len(within)
        assert within.mean() > 0.98, kind
    assert inside / total > 0.99
