"""Written graphs against exported ones: the same operators, for every family and every block."""

from collections.abc import Sequence
from functools import cache
from math import gcd
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import pytest
import small_models

from edgecnn import (
    export,
    families,
    fusion,
    layers,
    onnx_graph,
    runtimes,
    space,
    tflite_graph,
    workload,
)
from edgecnn.artifact import Artifact
from edgecnn.contract import INPUT_NAME, OUTPUT_NAME, InputContract, Recipe
from edgecnn.device import LOCAL
from edgecnn.encoding import Encoder, Features, Signature, features
from edgecnn.errors import UsageError
from edgecnn.fusion import Target
from edgecnn.latency import design, graphs
from edgecnn.latency.model import SPAN_SLACK
from edgecnn.runtimes import missing_package
from edgecnn.spec import Conventions, ModelSpec, parse_rows
from edgecnn.workload import Operator, Workload

RUNTIMES = {"onnx": "ort", "tflite": "litert"}
READERS = {"onnx": onnx_graph.workload, "tflite": tflite_graph.workload}
COMBINATIONS = [(name, p) for name, precisions in graphs.PRECISIONS.items() for p in precisions]
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


def _executed(path: Path) -> list[str]:
    """The nodes that onnxruntime's profiler reports, in order."""
    module = runtimes.get("ort")
    reason = module.unavailable(LOCAL)
    if reason:
        pytest.skip(reason)
    artifact = Artifact.load(path)
    session = runtimes.open_session(module, artifact, LOCAL, 1)
    image = artifact.single_input()
    rows = session.layers(np.zeros(image.shape, image.dtype), 1)
    session.close()
    return [row.op for row in rows]


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
        assert _executed(path) == _executed(exported)


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
    assert _executed(graphs.write(spec, "onnx", precision, tmp_path / "f.onnx")) == expected


def _logits(path: Path, format_name: str) -> Any:
    module = runtimes.get(RUNTIMES[format_name])
    reason = module.unavailable(LOCAL)
    if reason:
        pytest.skip(reason)
    artifact = Artifact.load(path)
    session = runtimes.open_session(module, artifact, LOCAL, 1)
    image = artifact.single_input()
    shape = image.shape if image.layout == "NHWC" else [image.shape[i] for i in (0, 2, 3, 1)]
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    made = session.run(pixels if image.layout == "NHWC" else pixels.transpose(0, 3, 1, 2))
    session.close()
    assert (image.name, artifact.outputs[0].name) == (INPUT_NAME, OUTPUT_NAME)
    return made


@pytest.mark.parametrize(("format_name", "precision"), COMBINATIONS)
@pytest.mark.parametrize(
    "spec", [BLOCKS, FUNCTIONS, *SMALLEST.values()], ids=["blocks", "functions", *SMALLEST]
)
def test_numbers_stay_near_one(
    spec: ModelSpec, format_name: str, precision: str, tmp_path: Path
) -> None:
    made = _logits(
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
    made = _logits(path, format_name)
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


# ------------------------------------------------------------------------------- designed networks


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
        made = _logits(
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
        reported = _executed(graphs.write(spec, "onnx", precision, tmp_path / "f.onnx"))
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
