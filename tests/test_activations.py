"""One activation for another: its name, its formula, and the same result on every runtime."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from export_cases import pictures

from edgecnn import cli, export, families, onnx_graph, runtimes, sources, tflite_graph, workload
from edgecnn.block import ACTIVATIONS, Block
from edgecnn.contract import Recipe
from edgecnn.device import LOCAL
from edgecnn.errors import SpecError, UsageError, WeightsError
from edgecnn.runtimes import missing_package
from edgecnn.spec import ModelSpec, parse_name, parse_rows, scaled_name

FUNCTIONS = [name for name in ACTIVATIONS if name != "none"]
GELUS = ["gelu", "gelu_tanh", "gelu_sigmoid"]
COMPUTING = [name for name in runtimes.names() if name != "null"]
PAIRS = [(format_, name) for name in COMPUTING for format_ in runtimes.get(name).formats]
SMALL = (
    "stem_k3_s2_c16_relu dws_r1_k3_s1_c16_relu mbconv_r1_k3_s1_e2_c16_se0.25_relu pool linear_c10"
)


def spec(function: str) -> ModelSpec:
    """A network of rows that all have one activation."""
    return ModelSpec("small", "test", tiny.IMGSZ, parse_rows(SMALL)).with_activation(function)


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_row_and_a_name_survive_their_text(function: str) -> None:
    row = f"conv_r1_k3_s1_c8_{function}"
    assert Block.parse(row).activation == function
    assert str(Block.parse(row)) == row
    name = scaled_name("base", 0.5, 1.0, 160, function)
    assert name == f"base@w0.5,r160,{function}"
    assert parse_name(name) == ("base", 0.5, 1.0, 160, function)


def test_every_row_with_an_activation_gets_the_other() -> None:
    found = families.get("mobilenet_v3_small@r160,gelu_tanh")
    base = families.get("mobilenet_v3_small@r160")
    assert found == base.with_activation("gelu_tanh")
    assert found.name == "mobilenet_v3_small@r160,gelu_tanh"
    assert {b.activation for b in base.blocks} == {"none", "relu", "hswish"}
    for before, after in zip(base.blocks, found.blocks, strict=True):
        assert after.activation == ("none" if before.activation == "none" else "gelu_tanh")
    of_base, of_found = (workload.from_spec(s) for s in (base, found))
    assert (of_found.macs, of_found.params) == (of_base.macs, of_base.params)


def test_a_swap_can_be_scaled_and_read_again() -> None:
    found = families.get("mobilenet_v2").with_activation("gelu").scaled(0.5, resolution=96)
    assert found.name == "mobilenet_v2@w0.5,r96,gelu"
    assert families.get(found.name) == found
    assert ModelSpec.parse(str(found)) == found


def test_the_same_activation_changes_nothing() -> None:
    lite0 = families.get("efficientnet_lite0")
    assert lite0.with_activation("relu6") is lite0


def test_neither_figures_nor_accuracies_survive_a_swap() -> None:
    lite0 = families.get("efficientnet_lite0")
    swapped = lite0.with_activation("gelu")
    assert (swapped.published, swapped.checkpoints, swapped.accuracy) == (None, (), None)
    kept = lite0.with_activation("gelu", keep_weights=True)
    assert [c.source for c in kept.checkpoints] == [c.source for c in lite0.checkpoints]
    assert kept.accuracy is None


@pytest.mark.parametrize("function", ["none", "gelu2", ""])
def test_what_is_no_activation_is_refused(function: str) -> None:
    with pytest.raises(SpecError, match="allowed: relu, relu6"):
        families.get("mobilenet_v2").with_activation(function)


def test_a_second_swap_is_refused() -> None:
    with pytest.raises(SpecError, match="replace that of mobilenet_v2"):
        families.get("mobilenet_v2@gelu").with_activation("relu")
    with pytest.raises(SpecError, match="not understood"):
        families.get("mobilenet_v2@gelu,relu")


# ----------------------------------------------------------------------------------------- values


def _function(name: str, x: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    from edgecnn import network

    return np.asarray(network.ACTIVATIONS[name]()(torch.from_numpy(x)).numpy())


def test_gelus_by_their_formulas() -> None:
    """Hendrycks and Gimpel, arXiv 1606.08415, section 2."""
    x = np.linspace(-8, 8, 4001)
    exact = x * np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x])
    by_tanh = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    by_sigmoid = x / (1 + np.exp(-1.702 * x))
    for name, expected in zip(GELUS, (exact, by_tanh, by_sigmoid), strict=True):
        assert np.allclose(_function(name, x), expected, rtol=0, atol=1e-12), name
    assert 4e-4 < np.abs(by_tanh - exact).max() < 5e-4
    assert 0.02 < np.abs(by_sigmoid - exact).max() < 0.0204


# -------------------------------------------------------------------------------- files, runtimes


@cache
def _source(function: str) -> Any:
    return sources_of(spec(function))


def sources_of(of: ModelSpec) -> Any:
    """A spec as a source; weights and statistics that keep numbers about 1."""
    torch = pytest.importorskip("torch")
    from torch import nn

    from edgecnn import network
    from edgecnn.sources import Source
    from edgecnn.weights import Provenance

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = network.build(of).eval()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, 0.0, 0.1)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.5)
    c = of.conventions
    return Source(
        name=of.name,
        text=of.name,
        provenance=Provenance("random", "seed 0", ""),
        num_classes=of.num_classes,
        imgsz=of.resolution,
        mean=c.mean,
        std=c.std,
        crop_pct=c.crop_pct,
        interpolation=c.interpolation,
        module=module,
    )


@cache
def _folder() -> Any:
    import tempfile

    return tempfile.TemporaryDirectory(prefix="edgecnn-activations-")


@cache
def _exported(function: str, format_name: str, precision: str) -> Any:
    missing = missing_package(*export.get(format_name).requires)
    if missing:
        pytest.skip(f"export to {format_name}: {missing}")
    from edgecnn import formats

    path = Path(_folder().name) / f"{function}-{precision}{formats.get(format_name).suffix}"
    return export.export(
        _source(function),
        format_name,
        Recipe.parse(precision),
        path,
        calibration_folder=pictures(),
        force_calibration=True,
    )


@pytest.mark.parametrize(("format_name", "name"), PAIRS)
@pytest.mark.parametrize("function", ["gelu_tanh", "gelu_sigmoid"])
def test_every_runtime_computes_what_pytorch_computes(
    function: str, format_name: str, name: str
) -> None:
    torch = pytest.importorskip("torch")
    made = _exported(function, format_name, "fp32")
    image = tiny.image()
    with torch.inference_mode():
        expected = _source(function).module(torch.from_numpy(image)).numpy()
    found = tiny.logits(name, made, tiny.arranged(image, made))
    assert np.ptp(expected) > 0.5
    assert np.allclose(found, expected, rtol=0, atol=tiny.FLOAT_ATOL)


@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
@pytest.mark.parametrize("function", GELUS)
def test_quantized_it_is_equal_as_far_as_int8_can_be(function: str, format_name: str) -> None:
    parity = _exported(function, format_name, "w8a8").required_contract().parity
    assert parity is not None and parity.passed, parity


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
@pytest.mark.parametrize("format_name", ["onnx", "tflite"])
@pytest.mark.parametrize("function", GELUS)
def test_a_file_is_read_with_the_activation_it_was_made_of(
    function: str, format_name: str, precision: str
) -> None:
    from edgecnn import fusion

    reader = {"onnx": onnx_graph, "tflite": tflite_graph}[format_name]
    read = reader.workload(_exported(function, format_name, precision).path)
    found, expected = (
        [o.op for o in fusion.canonical(w).operators]
        for w in (read, workload.from_spec(spec(function)))
    )
    assert found == expected
    assert expected.count(function) == 6


def test_onnxruntime_fuses_the_sigmoid_form_into_one_node() -> None:
    made = _exported("gelu_sigmoid", "onnx", "fp32")
    ort = runtimes.get("ort")
    if ort.unavailable(LOCAL):
        pytest.skip("onnxruntime")
    session = runtimes.open_session(ort, made, LOCAL, 1)
    nodes = [row.op for row in session.layers(tiny.image(), 1)]
    session.close()
    assert nodes.count("QuickGelu") == 6
    assert "Sigmoid" not in nodes[:4]


# -------------------------------------------------------------------------------- the command line


def test_a_swap_is_asked_for_and_so_are_old_weights(lite0_weights: None) -> None:
    with pytest.raises(WeightsError, match="--keep-weights"):
        sources.resolve("efficientnet_lite0", activation="gelu")
    kept = sources.resolve("efficientnet_lite0", activation="gelu", keep_weights=True)
    own = sources.resolve("efficientnet_lite0")
    assert kept.name == "efficientnet_lite0@gelu"
    assert kept.provenance == own.provenance
    assert kept.module is not None and own.module is not None
    before, after = own.module.state_dict(), kept.module.state_dict()
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)


def test_only_the_zoo_has_rows_to_change() -> None:
    from edgecnn.describe import describe

    for model in ("timm:resnet18", "some.onnx", "some.tflite"):
        with pytest.raises(UsageError, match="models of the zoo"):
            describe(model, activation="gelu")
    with pytest.raises(UsageError, match="pass --activation"):
        sources.resolve("mobilenet_v2", keep_weights=True)


def test_describe_and_predict_take_an_activation() -> None:
    import json

    from click.testing import CliRunner

    run = CliRunner().invoke
    shown = run(cli.main, ["describe", "mobilenet_v2", "--activation", "gelu_tanh", "--json"])
    assert shown.exit_code == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["name"] == "mobilenet_v2@gelu_tanh"
    ops = {layer["op"] for layer in document["layers"]}
    assert "gelu_tanh" in ops and "relu6" not in ops
    refused = run(cli.main, ["describe", "mobilenet_v2", "--activation", "softplus"])
    assert refused.exit_code == SpecError.exit_code
    assert "allowed: relu, relu6" in refused.stderr
