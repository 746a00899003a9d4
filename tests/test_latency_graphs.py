"""Written graphs against exported ones: the same operators, for every family and every block."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from run_graphs import COMBINATIONS, executed, logits

from edgecnn import (
    export,
    families,
    fusion,
    layers,
    onnx_graph,
    tflite_graph,
    workload,
)
from edgecnn.contract import INPUT_NAME, InputContract, Recipe
from edgecnn.errors import UsageError
from edgecnn.fusion import Target
from edgecnn.latency import graphs
from edgecnn.runtimes import missing_package
from edgecnn.spec import Conventions, ModelSpec, parse_rows
from edgecnn.workload import Operator, Workload

READERS = {"onnx": onnx_graph.workload, "tflite": tflite_graph.workload}
SMALLEST = {
    family: small_models.shallow(
        min(
            (s for s in families.mobile() if s.family == family),
            key=lambda s: workload.from_spec(s).macs,
        ).scaled(resolution=64)
    )
    for family in sorted({s.family for s in families.mobile()})
}


def _spec(name: str, rows: str, padding: str = "symmetric") -> ModelSpec:
    return ModelSpec(name, "test", 32, parse_rows(rows), Conventions(padding=padding))


BLOCKS = _spec(
    "blocks",
    "stem_k3_s2_c16_hswish mbconv_r2_k3_s1_e1_c16_hse0.25_relu mbconv_r1_k5_s2_e4_c24_se0.5_swish"
    " dws_r1_k3_s1_c24_relu6 fused_r2_k3_s1_e1_c24_relu uib_r1_a3_k5_s2_e2_c32_relu"
    " uib_r2_a5_k0_s1_e2_c32_hse0.5_hswish conv_r1_k1_s1_c20_none fused_r1_k3_s2_e4_c32_swish"
    " pool head_c40_bias_hswish linear_c10",
)
FUNCTIONS = _spec(
    "functions",
    "stem_k3_s2_c16_none conv_r1_k3_s1_c16_gelu conv_r1_k1_s1_c16_sigmoid dws_r1_k3_s1_c16_tanh"
    " conv_r1_k3_s2_c24_hsigmoid conv_r1_k3_s1_c24_relu conv_r1_k1_s1_c24_relu6"
    " mbconv_r1_k3_s1_e2_c24_se0.25_gelu_tanh mbconv_r1_k3_s1_e2_c24_se0.25_gelu_sigmoid"
    " mbconv_r2_k3_s1_e2_c24_se0.25_gelu fused_r2_k3_s1_e1_c24_tanh fused_r2_k3_s1_e1_c24_hswish"
    " conv_r1_k1_s1_c16_swish head_c24_relu pool linear_c10",
    "same",
)


# ---------------------------------------------------------------------------------- as exported


def _pictures(spec: ModelSpec, layout: str) -> tuple[Any, InputContract]:
    import export_cases

    from edgecnn.export import calibration

    size, image = spec.resolution, spec.conventions
    contract = InputContract(
        name=INPUT_NAME,
        shape=(1, 3, size, size) if layout == "NCHW" else (1, size, size, 3),
        dtype="float32",
        layout=layout,  # type: ignore[arg-type]
        imgsz=size,
        mean=image.mean,
        std=image.std,
        crop_pct=image.crop_pct,
        interpolation=image.interpolation,
    )
    return calibration.load(export_cases.pictures(), 2, contract, force=True), contract


def _onnx_nodes(content: bytes) -> list[tuple[Any, ...]]:
    """Every node with what it reads; stored weights are constants, quantized or not."""
    import onnx

    graph = onnx.load_model_from_string(content).graph
    made: dict[str, Any] = {i.name: (i.data_type, tuple(i.dims)) for i in graph.initializer}
    stored = set(made)
    nodes = []
    for node in graph.node:
        inputs = tuple(made.get(name, name) for name in node.input)
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            made[node.output[0]] = ("stored", inputs)
            continue
        made[node.output[0]] = len(nodes)
        values = {a.name: list(a.ints) or a.i for a in node.attribute}
        kept = [values.get(n) for n in ("strides", "kernel_shape", "pads", "group", "transB")]
        nodes.append((node.op_type, inputs, kept))
    return nodes


def _tflite_operators(content: bytes) -> list[tuple[Any, ...]]:
    """Every operator with its options, the tensors it reads, and the one that it makes."""
    from edgecnn.formats import _tflite_tree

    model = _tflite_tree.unpack(content)
    graph = model.subgraphs[0]
    made = {graph.inputs[0]: INPUT_NAME}

    def tensor(index: int) -> tuple[Any, ...]:
        found = graph.tensors[index]
        grid = found.quantization
        scales = 0 if grid is None or grid.scale is None else len(grid.scale)
        axis = grid.quantizedDimension if scales > 1 else 0
        return found.type, tuple(found.shape), scales, axis, made.get(index, "constant")

    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        options = vars(operator.builtinOptions) if operator.builtinOptions else {}
        kept = {name: value for name, value in options.items() if name != "keepNumDims"}
        inputs = [tensor(index) for index in operator.inputs]
        made[operator.outputs[0]] = len(operators)
        operators.append((number, kept, inputs, tensor(operator.outputs[0])))
    return operators


STRUCTURES = {"onnx": _onnx_nodes, "tflite": _tflite_operators}


def _exported(spec: ModelSpec, format_name: str, precision: str, folder: Path) -> Path:
    from test_workload_graphs import random_source

    exporter = export.get(format_name)
    missing = missing_package(*exporter.requires)
    if missing:
        pytest.skip(f"export to {format_name}: {missing}")
    path, recipe = folder / f"exported.{format_name}", Recipe.parse(precision)
    images = _pictures(spec, exporter.layout)[0] if recipe.needs_calibration else None
    exporter.convert(random_source(spec), recipe, path, calibration=images, uint8_input=False)
    return path


def _facts(found: Workload) -> list[tuple[Any, ...]]:
    return [_fact(operator) for operator in fusion.canonical(found).operators]


def _fact(o: Operator) -> tuple[Any, ...]:
    shapes = (o.op, sorted(o.inputs), o.in_shape, o.out_shape)
    window = (o.kernel, o.area, o.stride, o.groups, o.dilation, o.receptive_field, o.jump)
    return (*shapes, *window, o.macs, o.params, o.activation)


EXPORTED = [
    *((spec, *combination) for spec in (BLOCKS, FUNCTIONS) for combination in COMBINATIONS),
    # An export takes seconds: each family in one combination, each combination with some families.
    *((spec, *COMBINATIONS[at % len(COMBINATIONS)]) for at, spec in enumerate(SMALLEST.values())),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "format_name", "precision"),
    EXPORTED,
    ids=[f"{spec.name}-{name}-{precision}" for spec, name, precision in EXPORTED],
)
def test_a_written_file_is_an_exported_one(
    spec: ModelSpec, format_name: str, precision: str, tmp_path: Path
) -> None:
    exported = _exported(spec, format_name, precision, tmp_path)
    path = graphs.write(spec, format_name, precision, tmp_path / f"written.{format_name}")
    structure, read = STRUCTURES[format_name], READERS[format_name]
    assert structure(path.read_bytes()) == structure(exported.read_bytes())
    assert read(path).precision == read(exported).precision == precision
    assert _facts(read(path)) == _facts(read(exported))
    if format_name == "onnx":
        assert executed(path) == executed(exported)


@pytest.mark.parametrize("spec", [BLOCKS, FUNCTIONS], ids=lambda spec: spec.name)
def test_pairs_stand_where_the_quantizer_puts_them(spec: ModelSpec) -> None:
    """Our export's quantization of the float32 graph that is written, without torch."""
    pytest.importorskip("onnxruntime.quantization")
    import spec_onnx

    from edgecnn.export import _onnx_static as static

    quantized = static.quantize(spec_onnx.model(spec), *_pictures(spec, "NCHW"))
    expected = _onnx_nodes(quantized.SerializeToString())
    assert _onnx_nodes(graphs.content(spec, "onnx", "w8a8")) == expected


# -------------------------------------------------------------------------------- what it is like


@pytest.mark.parametrize("format_name", graphs.PRECISIONS)
@pytest.mark.parametrize("spec", [BLOCKS, *SMALLEST.values()], ids=["blocks", *SMALLEST])
def test_a_written_file_reads_as_its_spec(
    spec: ModelSpec, format_name: str, tmp_path: Path
) -> None:
    path = graphs.write(spec, format_name, "fp32", tmp_path / f"f.{format_name}")
    assert _facts(READERS[format_name](path)) == _facts(workload.from_spec(spec))


@pytest.mark.parametrize("precision", graphs.PRECISIONS["onnx"])
@pytest.mark.parametrize("spec", [BLOCKS, *SMALLEST.values()], ids=["blocks", *SMALLEST])
def test_ort_executes_what_is_modelled(spec: ModelSpec, precision: str, tmp_path: Path) -> None:
    found = fusion.fused(workload.from_spec(spec), "ort", Target.here(precision))
    expected = [operator.node.removeprefix("nchwc.") for operator in found.operators]
    assert executed(graphs.write(spec, "onnx", precision, tmp_path / "f.onnx")) == expected


@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
@pytest.mark.parametrize(
    "spec", [BLOCKS, FUNCTIONS, *SMALLEST.values()], ids=["blocks", "functions", *SMALLEST]
)
def test_numbers_stay_near_one(
    spec: ModelSpec, format_name: str, precision: str, tmp_path: Path
) -> None:
    made = logits(
        graphs.write(spec, format_name, precision, tmp_path / f"f.{format_name}"), format_name
    )
    assert made.shape == (1, spec.num_classes)
    assert np.isfinite(made).all()
    assert 0.05 < made.std() < 5


def test_no_pair_of_weights_saturates() -> None:
    """vpmaddubsw adds two products of uint8 and int8 in 16 bits signed."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(graphs.content(BLOCKS, "onnx", "w8a8")).graph
    weights = [numpy_helper.to_array(i) for i in graph.initializer if i.name.endswith("quantized")]
    integers = [w for w in weights if w.dtype == np.int8]
    assert integers
    assert max(2 * 255 * int(np.abs(w.astype(int)).max()) for w in integers) < 2**15
    assert all(w.astype(float).std() > 10 for w in integers if w.size > 1000)


def test_scales_of_additions_have_odd_ratios() -> None:
    """Input to output as i / 127: no sum lies on half a step (see `export/_onnx_static.py`)."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(graphs.content(BLOCKS, "onnx", "w8a8")).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    readers = {name: node for node in graph.node for name in node.input}
    additions = [node for node in graph.node if node.op_type == "Add"]
    assert additions
    for node in additions:
        result = float(constants[readers[node.output[0]].input[1]])
        for name in node.input:
            parts = 127 * float(constants[makers[name].input[1]]) / result
            assert parts == pytest.approx(round(parts), abs=1e-3)


@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
def test_a_seed_gives_one_file(format_name: str, precision: str) -> None:
    first, again, other = (
        graphs.content(BLOCKS, format_name, precision, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other and len(first) == len(other)


# -------------------------------------------------------------------------------- layers, refusals


def _conv(channels: int = 24, groups: int = 1, kernel: int = 3) -> layers.Conv:
    before = (kernel - 1) // 2
    return layers.Conv("conv", channels, channels, kernel, 1, groups, True, (before, before))


@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
@pytest.mark.parametrize(
    "body",
    [
        (_conv(),),
        (_conv(groups=24), layers.Activation("act", "hswish")),
        (layers.Residual("r", (layers.Activation("a", "relu"), _conv())), layers.GlobalPool("p")),
        (layers.Residual("r", (_conv(),)), layers.Activation("a", "relu6")),
        (layers.Activation("a", "relu"), layers.Activation("b", "relu6")),
    ],
    ids=["conv", "depthwise", "relu-first", "relu-last", "relus"],
)
def test_plain_layers(
    body: Sequence[layers.Layer], format_name: str, precision: str, tmp_path: Path
) -> None:
    shape = (24, 8, 8)
    path = graphs.write(
        body, format_name, precision, tmp_path / f"f.{format_name}", input_shape=shape
    )
    made = logits(path, format_name)
    assert np.isfinite(made).all() and made.std() > 0.05
    assert READERS[format_name](path).input_shape == shape


@pytest.mark.parametrize(
    ("network", "format_name", "precision", "shape", "message"),
    [
        (BLOCKS, "onnx", "fp16", None, "onnx fp16 can be written; allowed: onnx fp32, onnx w8a8"),
        (BLOCKS, "ncnn", "fp32", None, "ncnn fp32"),
        ([_conv()], "onnx", "fp32", None, "input_shape="),
        ([_conv()], "onnx", "fp32", (24, 8, 9), "input_shape="),
        ([layers.Dropout("d", 0.2)], "onnx", "fp32", (24, 8, 8), "no layer in it computes"),
        ([layers.Linear("l", 24, 24), layers.Activation("a", "tanh")], "onnx", "fp32", (24, 1, 1),
         "can only be the last"),
        (_spec("map", "stem_k3_s2_c8_relu linear_c10"), "tflite", "fp32", None, "put a pool row"),
        ([layers.Activation("a", "hsigmoid")], "tflite", "fp32", (24, 8, 8), "hsigmoid"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(
    network: Any, format_name: str, precision: str, shape: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    with pytest.raises(UsageError, match=message):
        graphs.write(network, format_name, precision, path, input_shape=shape)
    assert not path.exists()
