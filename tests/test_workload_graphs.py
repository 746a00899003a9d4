"""One network, read from its spec, from ONNX and from TFLite: the same operators."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import spec_onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn import export, families, fusion, onnx_graph, tflite_graph, workload
from edgecnn.contract import Recipe
from edgecnn.errors import SourceError
from edgecnn.runtimes import missing_package
from edgecnn.spec import Conventions, ModelSpec, parse_rows
from edgecnn.workload import Operator, Workload

READERS = {"onnx": onnx_graph.workload, "tflite": tflite_graph.workload}
MOBILE = {spec.family: spec for spec in reversed(families.mobile())}
_SETTLING_PICTURES = 32
FAMILIES = {f: spec for f, spec in small_models.smallest().items() if f in MOBILE}
"""The files of classic ones are read in `test_export_families`, which makes them anyhow."""
SMALL = ModelSpec(
    "small",
    "test",
    32,
    parse_rows(
        "stem_k3_s2_c16_hswish mbconv_r2_k3_s1_e1_c16_hse0.25_relu"
        " mbconv_r1_k5_s2_e4_c24_se0.5_swish"
        " dws_r1_k3_s1_c24_relu6 conv_r1_k1_s1_c24_gelu fused_r2_k3_s1_e1_c24_relu"
        " uib_r1_a3_k5_s2_e2_c32_relu"
        " dws_r1_k3_s1_c32_gelu_tanh mbconv_r1_k3_s1_e2_c32_se0.25_gelu_sigmoid"
        " fused_r1_k3_s2_e4_c32_swish pool head_c40_bias_hswish linear_c10"
    ),
    # TFLite has padding operators under this rule, and none under TensorFlow's own.
    Conventions(padding="symmetric"),
)

CLASSIC = {
    "residual_and_mixed": (
        "stem_k7_s2_c16_relu maxpool_k3_s2_p1 bottle_r2_k3_s1_e0.5_c32_g4_se0.0625_relu"
        " basic_r1_k3_s2_c32_relu"
        " mixed_s1_16x1_8x1.16x1x7.16x7x1_max3.8x1_8x1.16x1x3+16x3x1_avg3.8x1_relu"
        " mixed_s2_8x3sp0_max3sp0_relu dense_c20_relu linear_c10"
    ),
    "convnext": (
        "conv_r1_k4_s4_c16_p0_none_bias norm cnext_r2_k7_s1_e2_c16_gelu cnext_r1_k7_s2_e2_c24_gelu"
        " conv_r1_k3_s1_c24_d2_relu_both maxpool_k3_s2_p0_ceil pool norm linear_c10"
    ),
    "lenet": (
        "conv_r1_k5_s1_c6_p2_tanh_bias subsample_k2_s2_tanh conv_r1_k5_s2_c8_p0_relu_bias"
        " avgpool_k3_s1_p1 classmap_c10_relu"
    ),
    "perceptron": "dense_c30_tanh linear_c10",
}
"""All rows of `lowering/classic.py`."""


def _facts(found: Workload) -> list[tuple[Any, ...]]:
    return [_fact(operator) for operator in _ordered(fusion.canonical(found).operators)]


def _ordered(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Depth first from the end: files order parallel branches each in its own way."""
    order: list[int] = []
    left = [len(operators) - 1]
    while left:
        waiting = [i for i in operators[left[-1]].inputs if i >= 0 and i not in order]
        if waiting:
            left.append(waiting[0])
        elif (done := left.pop()) not in order:
            order.append(done)
    place = {-1: -1} | {old: new for new, old in enumerate(order)}
    found = (operators[index] for index in order)
    return tuple(replace(o, inputs=tuple(place[i] for i in o.inputs)) for o in found)


def _fact(o: Operator) -> tuple[Any, ...]:
    shapes = (o.op, sorted(o.inputs), o.in_shape, o.out_shape)
    window = (o.kernel, o.area, o.stride, o.groups, o.dilation, o.receptive_field, o.jump)
    return (*shapes, *window, o.macs, o.params, o.activation)


def require_same(found: Workload, spec: ModelSpec) -> None:
    assert found.unknown == ()
    assert found.input_shape == spec.input_shape
    for got, expected in zip(_facts(found), _facts(workload.from_spec(spec)), strict=True):
        assert got == expected


def _exported(spec: ModelSpec, format_name: str, path: Path) -> Path:
    exporter = export.get(format_name)
    missing = missing_package(*exporter.requires)
    if missing:
        pytest.skip(f"export to {format_name}: {missing}")
    exporter.convert(
        random_source(spec), Recipe.parse("fp32"), path, calibration=None, uint8_input=False
    )
    return path


def _randomize(layer: Any) -> None:
    from torch import nn

    from edgecnn.network import LayerScale

    vectors = {
        nn.BatchNorm2d: ("weight", "bias", "running_mean", "running_var"),
        nn.LayerNorm: ("weight", "bias"),
        LayerScale: ("gamma",),
        nn.Conv2d: ("bias",),
        nn.Linear: ("bias",),
    }
    for kind, names in vectors.items():
        for name in names if isinstance(layer, kind) else ():
            if getattr(layer, name) is not None:
                nn.init.uniform_(getattr(layer, name), 0.5, 1.5)


def _settle(module: Any, spec: ModelSpec) -> None:
    """Give normalizations the statistics of random pictures, as if they had been trained.

    Without, values grow from layer to layer until all pictures look alike.
    """
    import torch
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean
            layer.train()
    with torch.no_grad():
        module(torch.randn(_SETTLING_PICTURES, *spec.input_shape))
    module.eval()


def random_source(spec: ModelSpec) -> Any:
    """The network with seeded weights, none of them equal: converters store equal ones once."""
    import torch

    from edgecnn import network
    from edgecnn.export._fold import folded
    from edgecnn.sources import Source
    from edgecnn.weights import Provenance

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = network.build(spec).eval()
        for layer in module.modules():
            _randomize(layer)
        _settle(module, spec)
    image = spec.conventions
    return Source(
        name=spec.name,
        text=spec.name,
        provenance=Provenance("random", "", ""),
        num_classes=spec.num_classes,
        imgsz=spec.resolution,
        mean=image.mean,
        std=image.std,
        crop_pct=image.crop_pct,
        interpolation=image.interpolation,
        module=folded(module),
    )


@pytest.mark.parametrize("spec", MOBILE.values(), ids=MOBILE)
def test_a_familys_graph_reads_as_its_spec(spec: ModelSpec, tmp_path: Path) -> None:
    small = spec.scaled(resolution=64)
    require_same(onnx_graph.workload(spec_onnx.write(small, tmp_path / "f.onnx")), small)


@pytest.fixture(scope="session")
def small_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _exported(SMALL, "tflite", tmp_path_factory.mktemp("tflite") / "small.tflite")


def test_an_exported_onnx_reads_as_its_spec(tmp_path: Path) -> None:
    require_same(onnx_graph.workload(_exported(SMALL, "onnx", tmp_path / "small.onnx")), SMALL)


def test_an_exported_tflite_reads_as_its_spec(small_tflite: Path) -> None:
    found = tflite_graph.workload(small_tflite)
    assert {o.node for o in found.operators} >= {"PAD", "CONV_2D", "LOGISTIC", "HARD_SWISH", "MEAN"}
    assert found.precision == "fp32"
    require_same(found, SMALL)


@pytest.mark.parametrize("format_name", READERS)
@pytest.mark.parametrize("name", CLASSIC)
def test_classic_rows_exported_read_as_their_spec(
    name: str, format_name: str, tmp_path: Path
) -> None:
    is_gray = name in ("lenet", "perceptron")
    values = (1.0,) if is_gray else (1.0, 1.0, 1.0)
    spec = ModelSpec(
        name,
        "test",
        64,
        parse_rows(CLASSIC[name]),
        Conventions(mean=values, std=values),
        input_channels=len(values),
    )
    path = _exported(spec, format_name, tmp_path / f"f.{format_name}")
    require_same(READERS[format_name](path), spec)


def test_a_tflite_file_can_be_described(small_tflite: Path) -> None:
    from edgecnn.describe import describe

    found = describe(str(small_tflite))
    assert found.workload.macs == workload.from_spec(SMALL).macs
    assert found.params == found.workload.params


@pytest.mark.slow
@pytest.mark.parametrize("format_name", READERS)
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_every_mobile_family_exported_reads_as_its_spec(
    spec: ModelSpec, format_name: str, tmp_path: Path
) -> None:
    path = _exported(spec, format_name, tmp_path / f"f.{format_name}")
    require_same(READERS[format_name](path), spec)


# ------------------------------------------------------------------------------- other people's


def _graph(path: Path, nodes: list[Any], *constants: Any, channels: int = 3) -> Path:
    """From `x`, 3 x 8 x 8, to `y`, channels x 8 x 8."""
    import onnx

    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    edges = [value("x", kind, [1, 3, 8, 8])], [value("y", kind, [1, channels, 8, 8])]
    graph = onnx.helper.make_graph(nodes, "g", *edges, list(constants))
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.mark.parametrize(("op", "share"), [("Erf", 0.5), ("Relu", 0.0)])
def test_an_unknown_operator_is_listed_with_its_share(
    op: str, share: float, tmp_path: Path
) -> None:
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node(op, ["r"], ["y"])]
    found = onnx_graph.workload(_graph(tmp_path / "g.onnx", nodes))
    assert found.unknown == (("Erf",) if share else ())
    assert found.unknown_share == pytest.approx(share)


def test_what_constants_make_is_a_constant(tmp_path: Path) -> None:
    """A weight that the graph dequantizes is read as a weight, and counted once."""
    import numpy as np
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.int8), "w8")
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    nodes = [
        helper.make_node("Cast", ["w8"], ["cast"], to=1),
        helper.make_node("Mul", ["cast", "scale"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1]),
    ]
    path = _graph(tmp_path / "w8a32.onnx", nodes, weight, scale, channels=4)
    found = onnx_graph.workload(path)
    assert [(o.op, o.params) for o in found.operators] == [("conv", 12)]
    assert found.precision == "w8a32"


@pytest.mark.parametrize(("limits", "op"), [((0.0, 6.0), "relu6"), ((0.0, 1.0), "clip")])
def test_a_clip_is_relu6_by_its_bounds(
    limits: tuple[float, float], op: str, tmp_path: Path
) -> None:
    import numpy as np
    from onnx import helper, numpy_helper

    bounds = [
        numpy_helper.from_array(np.array(v, np.float32), n)
        for v, n in zip(limits, "ab", strict=True)
    ]
    node = helper.make_node("Clip", ["x", "a", "b"], ["y"])
    found = onnx_graph.workload(_graph(tmp_path / "c.onnx", [node], *bounds))
    assert [o.op for o in found.operators] == [op]


def test_a_gate_that_others_read_stays_apart() -> None:
    """x * sigmoid(x) is one operator only where nothing else reads sigmoid(x)."""
    shape = (8, 4, 4)
    operators = [
        Operator("gate", "sigmoid", (-1,), shape, shape),
        Operator("product", "mul", (-1, 0), shape, shape),
        Operator("sum", "add", (0, 1), shape, shape),
    ]
    assert [o.op for o in fusion.canonical_operators(operators)] == ["sigmoid", "mul", "add"]
    assert [o.op for o in fusion.canonical_operators(operators[:2])] == ["swish"]


def test_a_scaled_gate_that_others_read_stays_apart() -> None:
    """x * sigmoid(1.702 x) is one operator only where nothing else reads a part of it."""
    shape = (8, 4, 4)
    operators = [
        Operator("scale", "gelu_scale", (-1,), shape, shape),
        Operator("gate", "sigmoid", (0,), shape, shape),
        Operator("product", "mul", (-1, 1), shape, shape),
    ]
    assert [o.op for o in fusion.canonical_operators(operators)] == ["gelu_sigmoid"]
    for read in (0, 1):
        also = [*operators, Operator("sum", "add", (read, 2), shape, shape)]
        found = [o.op for o in fusion.canonical_operators(also)]
        assert found == ["mul", "sigmoid", "mul", "add"]


def test_normalization_without_a_convolution_before_it_stays() -> None:
    shape = (8, 4, 4)
    operators = [
        Operator("first", "batch_norm", (-1,), shape, shape, params=16),
        Operator("conv", "conv", (0,), shape, shape, params=64),
        Operator("second", "batch_norm", (1,), shape, shape, params=16),
    ]
    found = fusion.canonical_operators(operators)
    assert [(o.op, o.params) for o in found] == [("batch_norm", 16), ("conv", 72)]


# ------------------------------------------------------------------------------------- bad files


def test_constants_in_half_precision_are_read(tmp_path: Path) -> None:
    """As TensorFlow's converter stores them: float16, with a DEQUANTIZE behind."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    from edgecnn.formats import _tflite_tree
    from edgecnn.latency import graphs

    rows = "stem_k3_s2_c8_gelu_sigmoid mbconv_r1_k3_s1_e2_c8_hse0.5_relu pool linear_c4"
    spec = ModelSpec("half", "test", 16, parse_rows(rows))
    model = _tflite_tree.unpack(graphs.content(spec, "tflite", "fp32"))
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(code)
    scalars = 0
    for index, tensor in enumerate(list(graph.tensors)):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.type != schema.TensorType.FLOAT32:
            continue
        stored = copy.copy(tensor)
        stored.type, stored.buffer = schema.TensorType.FLOAT16, len(model.buffers)
        half = np.frombuffer(bytes(data), np.float32).astype(np.float16)
        buffer = schema.BufferT()
        buffer.data = half.view(np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = 0
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.inputs, operator.outputs = [len(graph.tensors)], [index]
        graph.tensors.append(stored)
        graph.operators.insert(0, operator)
        scalars += half.size == 1
    assert scalars == 2  # 1.702 and a sixth
    path = tmp_path / "half.tflite"
    path.write_bytes(_tflite_tree.pack(model))
    read = tflite_graph.workload(path)
    found, expected = (fusion.canonical(w).operators for w in (read, workload.from_spec(spec)))
    assert [o.op for o in found] == [o.op for o in expected]
    assert read.precision == "fp16" and read.params == workload.from_spec(spec).folded().params


def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.tflite"
    with pytest.raises(SourceError, match="no such file"):
        tflite_graph.workload(path)
    path.write_bytes(b"not a model at all, but long enough")
    with pytest.raises(SourceError, match="TFL3"):
        tflite_graph.workload(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_tflite_is_refused_or_read(
    data: st.DataObject, small_tflite: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut anywhere, or with any bytes overwritten: a SourceError that names it, or a workload."""
    content = bytearray(small_tflite.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Tables stand in front of and behind the weights.
        place = data.draw(st.integers(8, min(len(content), 1 << 14) - 1))
        content[place if data.draw(st.booleans()) else -place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.tflite"
    path.write_bytes(content[: data.draw(st.integers(8, len(content)))])
    try:
        assert tflite_graph.workload(path).operators
    except SourceError as error:
        assert path.name in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "unknown"),
    [("resnet18", ()), ("ghostnet_100", ()), ("convnext_atto", ("Gather",))],
)
def test_other_networks_give_what_they_have(
    name: str, unknown: tuple[str, ...], tmp_path: Path
) -> None:
    """Every executed operator has its figures, none of the multiply-adds is lost."""
    pytest.importorskip("timm")
    from edgecnn import sources
    from edgecnn.encoding import Encoder, features

    exporter = export.get("onnx")
    missing = missing_package(*exporter.requires)
    if missing:
        pytest.skip(missing)
    source, path = sources.resolve(f"timm:{name}", weights="random", imgsz=64), tmp_path / "f.onnx"
    exporter.convert(source, Recipe.parse("fp32"), path, calibration=None, uint8_input=False)
    found = onnx_graph.workload(path)
    assert found.unknown == unknown
    encoder = Encoder("ort", fusion.Target.here())
    figures = [features(encoder.signatures[i]) for i in encoder.workload(found)]
    assert sum(one.macs for one in figures) == found.macs
