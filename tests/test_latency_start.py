"""A table that starts from another: of other threads, or of another device."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import latency_law
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgecnn import cli, latency
from edgecnn.encoding import Encoder, Signature
from edgecnn.errors import UsageError
from edgecnn.fusion import Target
from edgecnn.latency import design
from edgecnn.latency.calibrate import Request, calibrate_with
from edgecnn.latency.fit import fit
from edgecnn.latency.model import Model
from edgecnn.latency.table import Table

pytest.importorskip("lightgbm", reason="needs edgecnn[calibrate]")

NETWORKS, FEW = 240, 60


def _few_networks() -> tuple[Encoder, list[list[int]]]:
    encoder, random = Encoder("litert", Target("fp32")), Random(3)
    ranges = design.Ranges(rows=(1, 3), resolution=(16, 96))
    specs = [design.random_spec(random, ranges) for _ in range(NETWORKS)]
    return encoder, [
        [number for row in encoder.rows(spec) for number in encoder.operators[row]]
        for spec in specs
    ]


def _two_threads_ms(of: Signature) -> float:
    """Convolutions take 0.6 of the time, all else the same."""
    return latency_law.operator_ms(of) * (0.6 if "conv" in of.op else 1.0)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecnn.latency.fit.ROUNDS", 20)  # how good does not matter
        return latency_law.table(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def started(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Table:
    request = Request("litert", threads=2, target_error=0.5, start=table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgecnn.latency.fit.ROUNDS", 20)
        samples = tmp_path_factory.mktemp("started") / "samples"
        return calibrate_with(request, latency_law.Paper(), samples)


def test_a_model_with_another_to_start_from_needs_fewer_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgecnn.latency.fit.ROUNDS", 100)
    encoder, networks = _few_networks()

    def latencies(law: Callable[[Signature], float]) -> list[float]:
        return [0.05 + sum(law(encoder.signatures[n]) for n in one) for one in networks]

    prior = fit(networks, latencies(latency_law.operator_ms), encoder.signatures, "fp32").model
    other = latencies(_two_threads_ms)[:FEW]

    def error(prior: Model | None) -> float:
        found = fit(networks[:FEW], other, encoder.signatures, "fp32", prior=prior)
        return float(np.median(np.abs(found.held_out_ms / other - 1)))

    assert error(prior) < 0.5 * error(None)


def test_a_table_says_what_it_started_from(table: Table, started: Table, tmp_path: Path) -> None:
    assert started.notes[0] == f"started from the table of {table}, made {table.created}"
    path = tmp_path / "table.json"
    started.save(path)
    again = latency.load(path)
    assert again.table.to_dict() == started.to_dict()
    (measured,) = [one for one in started.samples if one.network.name == "efficientnet_lite1"]
    assert again.predict(measured.network) == pytest.approx(measured.latency_ms, rel=0.3)


def test_a_table_does_not_start_from_one_that_started_from_another(started: Table) -> None:
    with pytest.raises(UsageError, match="started from another table"):
        Request("litert", start=started)
    model = started.model
    assert isinstance(model, Model)
    nested = replace(model, prior=model).to_dict()
    with pytest.raises(ValueError, match="starts from another itself"):
        Model.from_dict(nested)


@pytest.mark.parametrize(("runtime", "precision"), [("ort", "fp32"), ("litert", "w8a8")])
def test_a_table_of_another_runtime_or_precision_is_nothing_to_start_from(
    table: Table, runtime: str, precision: str
) -> None:
    with pytest.raises(UsageError, match=r"litert fp32.*same runtime and precision"):
        Request(runtime, precision, start=table)


def _calibrate(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["calibrate", *map(str, arguments)])


def test_what_cannot_be_started_from_ends_with_2(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "alone.json"
    table.save(path)
    output = tmp_path / "new.json"
    common = ("--start-from", path, "--output", output)
    for arguments, told in (
        (("--runtime", "ort", *common), "same runtime and precision"),
        (("--from-published", "rpi4b-ncnn", *common), "leave out"),
        (("--runtime", "ncnn", "--start-from", "rpi4b-ncnn-t4", "--output", output), "ncnn"),
    ):
        result = _calibrate(*arguments)
        assert result.exit_code == 2, result.output
        assert told in result.output
    assert not output.exists()


def test_a_published_table_is_nothing_to_start_from() -> None:
    published = latency.load(Path("rpi4b-ncnn-t4")).table
    with pytest.raises(UsageError, match="published"):
        Request("ort", start=published)
