"""A network along its layers: figures that add up, times on the right layers, a drawing of it."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import report_documents
import spec_onnx
from click.testing import CliRunner, Result

from edgecnn import anatomy, cli, families, fusion, latency, workload
from edgecnn.errors import EXIT_USAGE, UsageError
from edgecnn.fusion import Target
from edgecnn.profile import LayerTime, Profile
from edgecnn.report import along, plots, scales
from edgecnn.workload import Workload

TABLE = "rpi4b-ncnn-t4"


def network(name: str = "mobilenet_v2@w0.35,r96") -> Workload:
    return workload.from_spec(families.get(name))


def edgecnn(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def profile(of: Workload, rows: list[LayerTime]) -> Profile:
    """A made-up profile of onnxruntime on a machine without blocks of channels."""
    document: dict[str, Any] = report_documents.profile()
    known = {field.name: document[field.name] for field in fields(Profile)}
    known |= {"environment": report_documents.environment(), "sustained": None}
    found = Profile(**known)
    return replace(found, runtime="ort", precision="fp32", layers=tuple(rows), name=of.name)


def executed(of: Workload) -> list[str]:
    """The nodes that onnxruntime would run there, as its profiler calls them."""
    fused = fusion.fused(of, "ort", Target("fp32", "aarch64", frozenset({"neon"})))
    return [operator.node for operator in fused.operators]


# ----------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("name", ["mobilenet_v3_small@r96", "efficientnet_b0@r96", "mobilenet_v1"])
def test_layers_lose_no_work_and_take_their_activations(name: str) -> None:
    of = network(name)
    found = anatomy.plain(of)
    assert sum(layer.params for layer in found.layers) == of.folded().params
    assert sum(layer.macs for layer in found.layers) == of.macs
    assert not {layer.op for layer in found.layers} & {"relu", "relu6", "hswish", "swish"}
    assert max(found.live_bytes) <= of.peak_activation_bytes
    assert found.times is None


def test_stages_are_where_maps_shrink() -> None:
    """Of five strides at 96 pixels; the gates' vectors in between are no stage."""
    found = anatomy.plain(network("mobilenet_v3_small@r96"))
    assert [side for side, _ in found.stages] == [48, 24, 12, 6, 3, 1]
    first = [index for _, index in found.stages]
    assert first[0] == 0
    assert [found.layers[i].out_shape[-1] for i in first[1:-1]] == [24, 12, 6, 3]


def test_predicted_times_are_the_tables() -> None:
    of = network()
    table = latency.load(Path(TABLE))
    found, expected = anatomy.predicted(of, table), table.estimate(of)
    assert found.times is not None
    assert found.times.ms == tuple(layer.ms for layer in expected.layers)
    assert [layer.name for layer in found.layers] == [layer.name for layer in expected.layers]
    assert found.times.total_ms == expected.latency_ms
    assert found.times.kind == "fitted to published"
    assert TABLE in found.times.source and "predicted" in found.times.source


def test_measured_times_lie_on_their_layers() -> None:
    """Also where the profiler left a node out, or told of one that is no layer."""
    of = network()
    nodes = executed(of)
    rows = [LayerTime(f"n{i}", node, 1.0 + i) for i, node in enumerate(nodes)]
    absent = nodes.index("ReduceMean")
    del rows[absent]
    rows.insert(10, LayerTime("x", "Memcpy", 50.0))
    found = anatomy.measured(of, profile(of, rows))
    assert found.times is not None and found.times.kind == "measured"
    expected = [None if i == absent else 1.0 + i for i in range(len(nodes))]
    assert found.times.ms == tuple(expected)
    assert found.times.apart_ms == pytest.approx(50.0)
    assert "profiler" in found.times.source


def test_a_profile_of_another_network_is_refused() -> None:
    of = network()
    rows = [LayerTime("a", "Softmax", 5.0), LayerTime("b", "Conv", 1.0)]
    with pytest.raises(UsageError, match=r"is not of mobilenet_v2@w0\.35,r96"):
        anatomy.measured(of, profile(of, rows))
    with pytest.raises(UsageError, match="--per-layer"):
        anatomy.measured(of, profile(of, []))


# ---------------------------------------------------------------------------------------- drawings


def test_every_layer_with_a_figure_has_a_bar() -> None:
    of = network()
    found = anatomy.predicted(of, latency.load(Path(TABLE)))
    drawn = along.along(found).draw(along.width_for(found))
    ElementTree.fromstring(drawn)  # noqa: S314
    assert found.times is not None
    bars = sum(layer.params > 0 for layer in found.layers)
    bars += sum(layer.macs > 0 for layer in found.layers)
    bars += len(found.layers) + sum(1 for ms in found.times.ms if ms)
    assert drawn.count('class="mark ') == bars
    assert drawn.count("predicted strong") + drawn.count("predicted warm") > 0
    assert "latency (ms), predicted" in drawn and "latency (ms), measured" not in drawn


def test_a_run_that_its_nodes_do_not_add_up_to_is_told() -> None:
    found = anatomy.predicted(network(), latency.load(Path(TABLE)))
    assert found.times is not None
    known = sum(ms or 0.0 for ms in found.times.ms)
    for total, told in ((known, "in all"), (8 * known, f"a run, its nodes {scales.label(known)}")):
        times = replace(found.times, kind="measured", total_ms=total, apart_ms=0.0)
        drawn = along.along(replace(found, times=times)).draw(along.NARROWEST)
        assert f"{scales.label(total)} ms {told}" in drawn


@pytest.mark.slow
def test_a_network_is_measured_and_drawn(tmp_path: Path) -> None:
    """From `profile --per-layer` to the plot, on a runtime that tells its nodes."""
    pytest.importorskip("onnxruntime")
    spec = families.get("mobilenet_v3_small@w0.35,r64")
    model, told, plot = (tmp_path / name for name in ("m.onnx", "p.json", "p.svg"))
    spec_onnx.write(spec, model)
    made = edgecnn("profile", model, "--runtime", "ort", "--per-layer", "--output", told)
    assert made.exit_code == 0, made.stderr
    drawn = edgecnn("describe", spec.name, "--plot", plot, "--profile", told)
    assert drawn.exit_code == 0, drawn.stderr
    text = plot.read_text("utf-8")
    ElementTree.fromstring(text)  # noqa: S314
    assert "latency (ms), measured" in text and "measured on local, ort fp32" in text
    measured = Profile.load(told)
    found = anatomy.measured(workload.from_spec(spec), measured)
    assert found.times is not None and None not in found.times.ms
    assert found.times.apart_ms == pytest.approx(0.0, abs=1e-6)
    assert sum(found.times.ms) == pytest.approx(sum(row.ms for row in measured.layers))  # type: ignore[arg-type]


def test_bars_of_many_layers_can_be_told_apart() -> None:
    found = anatomy.plain(network("efficientnet_b4"))
    assert len(found.layers) > 150
    width = along.width_for(found)
    assert (width - along.LEFT - along.RIGHT) / len(found.layers) >= 5
    assert width <= along.WIDEST
    few = anatomy.plain(network("mobilenet_v1"))
    assert along.width_for(few) == along.NARROWEST


def test_describe_draws(tmp_path: Path) -> None:
    path = tmp_path / "p.svg"
    arguments = ("describe", "mobilenet_v2", "--imgsz", "96", "--plot", path, "--table", TABLE)
    result = edgecnn(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["name"] == "mobilenet_v2@r96"
    text = path.read_text("utf-8")
    ElementTree.fromstring(text)  # noqa: S314
    assert f"predicted by table {TABLE}" in text
    assert "accuracy" not in text
    again = edgecnn(*arguments)
    assert again.exit_code == EXIT_USAGE and "--force" in again.stderr


def test_describe_draws_a_png(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("resvg_py", reason="pip install edgecnn[report]")
    path = tmp_path / "p.png"
    found = anatomy.plain(network())
    plots.write(along.along(found), path, along.width_for(found), along.KEY)
    picture = cv2.imread(str(path))
    assert picture.shape[1] == plots.PIXELS * along.NARROWEST
    blue = (abs(picture.astype(int) - [0xB2, 0x63, 0x00]) < 8).all(axis=2)
    assert blue.mean() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--table", TABLE], "pass --plot"),
        (["--plot", "p.svg", "--table", TABLE, "--profile", "x.json"], "not both"),
        (["--plot", "p.pdf"], ".svg or .png"),
    ],
)
def test_what_does_not_go_together_is_refused(options: list[str], message: str) -> None:
    result = edgecnn("describe", "mobilenet_v2", *options)
    assert result.exit_code == EXIT_USAGE
    assert message in result.stderr
