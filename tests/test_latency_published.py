"""Latency models fitted to published latencies."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgecnn import boards, families
from edgecnn.encoding import Encoder, Signature, features
from edgecnn.errors import DataError, UsageError
from edgecnn.fusion import Target
from edgecnn.latency import published
from edgecnn.latency._published_fit import Problem, prices
from edgecnn.latency._published_terms import EXPECTED, TERMS, terms, total
from edgecnn.latency.published import Fitted, Row, Share

# Multiply-adds in millions as the papers give them; ncnn's MobileNetV2 has an expansion more.
PAPERS = {
    "alexnet": 724, "googlenet": 1580, "mobilenet": 569, "mobilenet_v2": 300 + 13, "mnasnet": 315,
    "efficientnet_b0": 390, "regnety_400m": 400, "resnet18": 1820, "resnet50": 3860,
    "shufflenet_v2": 146, "vgg16": 15470,
}  # fmt: skip
BARS = (
    ("rpi3b+-ncnn", 1), ("rpi3b+-ncnn", 4), ("rpi4b-ncnn", 1), ("rpi4b-ncnn", 4), ("rpi5-ncnn", 4)
)  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return published.fit("rpi4b-ncnn", 4)


def conv(channels: int, filters: int, size: int, kernel: int = 1, groups: int = 1) -> Signature:
    shapes = (channels, size, size), (), (filters, size, size)
    op = "depthwise_conv" if groups == channels else "conv"
    return Signature(op, "", "relu", *shapes, kernel, kernel**2, 1, groups, 1)


@pytest.mark.parametrize(("name", "macs"), PAPERS.items())
def test_networks_have_the_papers_arithmetic(name: str, macs: float) -> None:
    found = sum(features(one).macs for one in published.networks()[name]) / 1e6
    assert found == pytest.approx(macs, rel=0.02)


def test_every_row_has_a_network_and_a_source(fitted: Fitted) -> None:
    assert {row.network for row in fitted.rows} <= set(published.networks())
    assert all(row.source.startswith("Tencent/ncnn") and row.min_ms > 0 for row in fitted.rows)


@pytest.mark.parametrize(("name", "board"), [("rpi4b-ncnn", "rpi4"), ("rpi5-ncnn", "rpi5")])
def test_rows_agree_with_what_the_board_files_know(name: str, board: str) -> None:
    known = {
        (row.source, row.latency_ms)
        for row in boards.get(board).published()
        if "ncnn" in row.runtime
    }
    common = [
        r for t in (1, 4) for r in published.fit(name, t).rows if (r.source, r.mean_ms) in known
    ]
    assert len(common) >= 20


@pytest.mark.parametrize(("name", "threads"), BARS)
def test_networks_that_no_board_showed_are_within_ten_per_cent_in_the_median(
    name: str, threads: int
) -> None:
    found = published.fit(name, threads)
    assert found.unseen.median <= 0.10
    assert found.unseen.networks == len(found.rows) >= 12


def test_raspberry_pi_5_with_one_thread_falls_short_and_says_so() -> None:
    found = published.fit("rpi5-ncnn", 1)
    assert found.precision == "fp16"
    assert 0.10 < found.unseen.median < 0.20
    assert found.here.median <= 0.10


def test_an_outlying_mean_is_replaced_by_the_smallest_sample() -> None:
    rows = {row.network: row for row in published.fit("rpi5-ncnn", 4).rows}
    assert (rows["mobilenet"].mean_ms, rows["mobilenet"].used_ms) == (33.88, 9.00)
    assert rows["resnet18"].used_ms == rows["resnet18"].mean_ms


def test_a_left_out_network_has_no_part_in_its_own_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = next(k for k in published._boards() if k[0].startswith("Raspberry Pi 4") and k[2] == 1)
    before = dict(published._prices("resnet18"))[board]
    false = {
        key: tuple(
            replace(r, mean_ms=9e3, min_ms=9e3) if r.network == "resnet18" else r for r in rows
        )
        for key, rows in published._boards().items()
    }
    monkeypatch.setattr(published, "_boards", lambda: false)
    published._prices.cache_clear()
    try:
        assert np.array_equal(published._prices("resnet18")[board], before)
        assert not np.array_equal(published._prices()[board], before)
    finally:
        published._prices.cache_clear()


def test_a_fit_finds_the_prices_that_made_the_latencies() -> None:
    work = np.array([total(one) for one in published.networks().values()])
    truth = np.array([*EXPECTED.values()]) * np.linspace(0.8, 1.25, len(TERMS)) * 0.1
    speeds = np.array([[1.0], [2.0], [0.5]])
    ms = speeds * (work @ truth)
    ms[1, 3] = np.nan
    found = prices(Problem(work, ms, np.array([0, 0, 1])))
    assert np.allclose(found @ work.T, speeds * (work @ truth), rtol=0.05)


def test_row_ms_adds_up_to_the_network(fitted: Fitted) -> None:
    network = published.networks()["resnet50"]
    whole = sum(fitted.row_ms(one, "fp32") for one in network)
    assert whole == pytest.approx(262.83, rel=0.1)
    assert all(fitted.row_ms(one, "fp32") > 0 for one in network)


@pytest.mark.parametrize(
    ("name", "published_ms"),
    [("mobilenet_v2", 61.88), ("mobilenet_v1", 61.17),
     ("efficientnet_b0", 74.19)],
)  # fmt: skip
def test_a_spec_of_the_zoo_takes_about_what_was_published(
    fitted: Fitted, name: str, published_ms: float
) -> None:
    encoder = Encoder("ncnn", Target("fp32", "aarch64", frozenset()))
    spec = families.get(name)
    ids = [number for row in encoder.rows(spec) for number in encoder.operators[row]]
    operators = [encoder.signatures[number] for number in ids]
    assert all(fitted.knows(one) for one in operators)
    assert sum(fitted.row_ms(one, "fp32") for one in operators) == pytest.approx(
        published_ms, rel=0.25
    )


def test_terms_follow_the_kernels() -> None:
    def named(of: Signature) -> set[str]:
        return {name for name, amount in zip(TERMS, terms(of), strict=True) if amount}

    assert {"pointwise", "weights", "moved"} <= named(conv(64, 64, 14))
    assert "winograd" in named(conv(64, 64, 14, kernel=3))
    assert "unpacked" in named(conv(58, 58, 14)) - named(conv(64, 64, 14))
    assert "depthwise_large" in named(conv(64, 64, 14, kernel=5, groups=64))
    assert "thin_groups" in named(conv(104, 104, 28, kernel=3, groups=13))
    assert "vector_weights" in named(conv(64, 16, 1))
    assert named(Signature("add", "", "none", (8, 4, 4), (8, 4, 4), (8, 4, 4), 1, 1, 1, 1, 1)) == {
        "others_moved", "operator",
    }  # fmt: skip
    assert (terms(conv(64, 128, 28)) >= terms(conv(64, 64, 28))).all()


def test_it_is_a_plain_value(fitted: Fitted) -> None:
    stored = json.loads(json.dumps(fitted.to_dict()))
    assert Fitted.from_dict(stored) == fitted
    for damage in (
        {"prices": {"pointwise": 1.0}},
        {"rows": [{"network": "vgg16"}]},
        {"threads": "x"},
    ):
        with pytest.raises(DataError, match="not a model fitted"):
            Fitted.from_dict(stored | damage)
    with pytest.raises(DataError):
        Fitted.from_dict({})


def test_what_was_not_published_is_refused(fitted: Fitted) -> None:
    assert published.threads_of("rpi4b-ncnn") == (1, 4)
    with pytest.raises(UsageError, match="published: jetsonnano-ncnn"):
        published.fit("rpi9-ncnn")
    with pytest.raises(UsageError, match="published: 1, 4"):
        published.fit("rpi4b-ncnn", 3)
    with pytest.raises(UsageError, match="ask for fp16"):
        published.fit("rpi5-ncnn", 1, "fp32")
    with pytest.raises(UsageError, match="ask for fp32"):
        fitted.row_ms(conv(8, 8, 8), "w8a8")


def test_share() -> None:
    assert Share.of((0.05, -0.15, 0.3)) == Share(
        3, 0.15, pytest.approx(1 / 3), pytest.approx(2 / 3)
    )


def test_a_usual_mean_is_used() -> None:
    assert Row("vgg16", "board", 1, 12.0, 10.0, "ncnn", "2024", "source", 0).used_ms == 12.0
