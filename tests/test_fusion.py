"""What runtimes execute, as modelled, against the nodes that they report."""

import random
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import pytest
import run_graphs
import spec_onnx

from edgecnn import families, fusion, onnx_graph, runtimes, workload
from edgecnn.encoding import Encoder, Signature, features, signatures
from edgecnn.errors import UsageError
from edgecnn.fusion import Target
from edgecnn.spec import ModelSpec, parse_rows
from edgecnn.workload import Workload

FAMILIES = {spec.family: spec for spec in reversed(families.mobile())}
CLASSIC = {s.family: s for s in reversed(families.all().values()) if s.family not in FAMILIES}
TINY = 1 << 14
"""Elements that a fast processor goes through in less than a microsecond, and some more."""
AARCH64 = Target(machine="aarch64", isa=frozenset({"asimd"}))
AVX512 = Target(isa=frozenset({"avx2", "avx512f"}))
PRECISIONS = {"ort": ("fp32", "w8a8"), "litert": ("fp32", "w8a8"), "ncnn": ("fp32",),
              "openvino": ("fp32",)}  # fmt: skip
ODD = (
    # channels that are no multiple of 4 or of a block, alone, in shortcuts and in gates
    "stem_k1_s1_c10_relu mbconv_r2_k3_s1_e1_c10_relu pool linear_c10",
    "stem_k1_s1_c10_hswish mbconv_r2_k3_s1_e4_c10_hswish pool linear_c10",
    "stem_k1_s1_c5_swish mbconv_r2_k3_s1_e4_c5_swish pool linear_c10",
    "stem_k1_s1_c16_none conv_r1_k1_s1_c10_none fused_r2_k3_s1_e1_c10_relu pool linear_c10",
    "stem_k1_s1_c12_gelu mbconv_r2_k3_s1_e4_c12_se0.5_gelu pool linear_c10",
    "stem_k1_s1_c16_gelu_tanh mbconv_r2_k3_s1_e4_c16_se0.5_gelu_tanh pool linear_c10",
    "stem_k1_s1_c12_gelu_sigmoid mbconv_r2_k3_s1_e4_c12_se0.5_gelu_sigmoid pool linear_c10",
    # an activation in front of a shortcut's addition; none at all
    "stem_k1_s1_c16_none fused_r2_k3_s1_e1_c16_relu fused_r2_k3_s1_e1_c16_swish pool linear_c10",
    "stem_k1_s1_c16_none fused_r2_k3_s1_e1_c16_none pool linear_c10",
    # maps of one pixel, where a gate's factors have the shape of what they scale
    "stem_k1_s8_c16_relu conv_r1_k1_s4_c32_relu mbconv_r2_k3_s1_e4_c32_hse0.25_hswish"
    " pool linear_c10",
    "conv_r2_k3_s1_c16_relu pool head_c14_bias_hswish linear_c10",
    "stem_k3_s2_c16_gelu_sigmoid pool head_c14_bias_gelu_sigmoid head_c12_bias_relu linear_c10",
    "stem_k3_s2_c16_tanh uib_r1_a3_k3_s1_e4_c16_sigmoid dws_r1_k3_s1_c16_relu6 linear_c10",
)


def _odd(rows: str) -> ModelSpec:
    return ModelSpec("odd", "test", 32, parse_rows(rows))


def _nodes(found: Workload) -> list[str]:
    return [operator.node for operator in found.operators]


def _require_executed(found: Workload, reported: Sequence[tuple[str, str]]) -> None:
    """Same names in the same order; onnxruntime calls a node of its NCHWc domain so by its name."""
    assert [node.removeprefix("nchwc.") for node in _nodes(found)] == [op for _, op in reported]
    blocked = [op.startswith("Reorder") or name.endswith("_nchwc") for name, op in reported]
    moved = [node.startswith("nchwc.") for node in _nodes(found) if not node.endswith("Concat")]
    assert moved == blocked


# ------------------------------------------------------------------------------------ onnxruntime


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_ort_executes_what_is_modelled(spec: ModelSpec, tmp_path: Path) -> None:
    small = spec.scaled(resolution=64)
    reported = run_graphs.reported(spec_onnx.write(small, tmp_path / "f.onnx"))
    _require_executed(fusion.fused(workload.from_spec(small), "ort", Target.here()), reported)


@pytest.mark.parametrize("rows", ODD)
def test_ort_executes_what_is_modelled_of_odd_rows(rows: str, tmp_path: Path) -> None:
    path = spec_onnx.write(_odd(rows), tmp_path / "f.onnx")
    found = fusion.fused(workload.from_spec(_odd(rows)), "ort", Target.here())
    _require_executed(found, run_graphs.reported(path))


@pytest.mark.slow
def test_ort_executes_what_is_modelled_of_any_rows(tmp_path: Path) -> None:
    drawn = random.Random(4)
    for _ in range(60):
        rows = _any_rows(drawn)
        path = spec_onnx.write(_odd(rows), tmp_path / "f.onnx")
        found = fusion.fused(workload.from_spec(_odd(rows)), "ort", Target.here())
        _require_executed(found, run_graphs.reported(path))


def _any_rows(drawn: random.Random) -> str:
    rows = [f"stem_k3_s{drawn.choice((1, 2))}_c{drawn.randint(1, 24)}_relu"]
    for _ in range(drawn.randint(1, 4)):
        act = drawn.choice(
            ("relu", "relu6", "swish", "hswish", "gelu", "gelu_tanh", "gelu_sigmoid", "sigmoid",
             "tanh", "none")
        )  # fmt: skip
        kernel, stride = drawn.choice((1, 3, 5)), drawn.choice((1, 1, 2))
        repeats, channels = drawn.randint(1, 2), drawn.randint(1, 40)
        expand, gate = drawn.choice((1, 2, 3, 6)), drawn.choice(("", "_se0.25", "_hse0.5"))
        size = f"r{repeats}_k{kernel}_s{stride}"
        rows.append(
            drawn.choice(
                (
                    f"conv_{size}_c{channels}_{act}",
                    f"dws_{size}_c{channels}_{act}",
                    f"mbconv_{size}_e{expand}_c{channels}{gate}_{act}",
                    f"fused_{size}_e{expand}_c{channels}{gate if expand > 1 else ''}_{act}",
                )
            )
        )
    return " ".join([*rows, "pool", "linear_c10"])


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_without_nchwc_kernels_the_layout_stays(spec: ModelSpec, tmp_path: Path) -> None:
    """As on aarch64, whose package has none: switched off here."""
    rt = pytest.importorskip("onnxruntime")
    path, optimized = tmp_path / "f.onnx", tmp_path / "optimized.onnx"
    small = spec.scaled(resolution=64)
    options = rt.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(optimized), 3
    providers = ["CPUExecutionProvider"]
    rt.InferenceSession(
        str(spec_onnx.write(small, path)),
        options,
        providers=providers,
        disabled_optimizers=["NchwcTransformer"],
    )
    import onnx

    expected = [node.op_type for node in onnx.load(optimized).graph.node]
    assert _nodes(fusion.fused(workload.from_spec(small), "ort", AARCH64)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2@w0.35,r32",
        "mobilenet_v3_small@r64",
        *(
            pytest.param(f"{name}@r64", marks=pytest.mark.slow)
            for name in (
                "mobilenet_v1",
                "mobilenet_v4_conv_small",
                "mnasnet_a1",
                "efficientnet_lite0",
                "efficientnet_b0",
                "efficientnet_v2_b0",
            )
        ),
    ],
)
def test_ort_executes_what_is_modelled_of_int8(name: str, tmp_path: Path) -> None:
    spec = families.get(name)
    path = _quantized(spec, tmp_path)
    reported = run_graphs.reported(path)
    target = Target.here("w8a8")
    _require_executed(fusion.fused(workload.from_spec(spec), "ort", target), reported)
    read = onnx_graph.workload(path)
    assert read.precision == "w8a8"
    _require_executed(fusion.fused(read, "ort", target), reported)


@pytest.mark.parametrize(
    "rows",
    [
        # shortcuts behind the last convolution
        "stem_k3_s2_c16_relu mbconv_r1_k3_s1_e2_c16_relu pool linear_c10",
        "stem_k3_s2_c16_gelu_sigmoid mbconv_r1_k3_s1_e2_c16_se0.25_gelu_sigmoid pool linear_c10",
        # the constant of gelu_sigmoid in front of the last convolution, behind it, on both sides
        "stem_k3_s2_c16_relu mbconv_r1_k3_s1_e2_c24_se0.25_gelu_sigmoid pool linear_c10",
        "stem_k3_s2_c16_relu conv_r1_k1_s1_c24_gelu_sigmoid pool linear_c10",
        "stem_k3_s2_c16_relu dws_r1_k3_s1_c16_gelu_sigmoid pool linear_c10",
        "stem_k3_s2_c16_gelu_sigmoid pool head_c14_bias_gelu_sigmoid linear_c10",
    ],
)
def test_ort_executes_what_is_modelled_of_odd_int8_rows(rows: str, tmp_path: Path) -> None:
    reported = run_graphs.reported(_quantized(_odd(rows), tmp_path))
    found = fusion.fused(workload.from_spec(_odd(rows)), "ort", Target.here("w8a8"))
    _require_executed(found, reported)


CLASSIC_INT8 = {
    "stem_k3_s2_c16_relu basic_r2_k3_s1_c16_relu pool linear_c10":
        "QuantizeLinear Transpose QLinearConv QLinearConv QLinearConv QLinearAdd QLinearConv"
        " QLinearConv QLinearAdd QLinearGlobalAveragePool Transpose Reshape QGemm",
    "stem_k3_s2_c16_relu basic_r1_k3_s2_c24_relu pool linear_c10":
        "QuantizeLinear Transpose QLinearConv QLinearConv QLinearConv QLinearConv QLinearAdd"
        " QLinearGlobalAveragePool Transpose Reshape QGemm",
    "stem_k3_s2_c16_relu mixed_s1_16x1_8x1.16x3_8x1.16x3_max3.16x1_relu pool linear_c10":
        "QuantizeLinear Transpose QLinearConv NhwcMaxPool QLinearConv QLinearConv QLinearConv"
        " QLinearConv QLinearConv QLinearConv QLinearConcat QLinearGlobalAveragePool Transpose"
        " Reshape QGemm",
    "stem_k3_s2_c16_gelu_sigmoid conv_r1_k3_s2_c8_gelu_sigmoid dense_c20_gelu_sigmoid"
    " dense_c20_gelu_sigmoid linear_c10":
        "Squeeze QuantizeLinear Transpose QLinearConv QLinearMul QLinearSigmoid QLinearMul"
        " QLinearConv Transpose QLinearMul QLinearSigmoid QLinearMul Reshape QGemm QLinearMul"
        " QLinearSigmoid QLinearMul QGemm QLinearMul QLinearSigmoid QLinearMul QGemm",
}  # fmt: skip
"""What onnxruntime 1.32 reports of exported files."""


@pytest.mark.parametrize("rows", CLASSIC_INT8)
def test_classic_rows_in_int8_are_executed_asreported(rows: str) -> None:
    """The same operators; their order between branches is onnxruntime's own."""
    found = fusion.fused(workload.from_spec(_odd(rows)), "ort", Target("w8a8"))
    assert sorted(_nodes(found)) == sorted(CLASSIC_INT8[rows].split())


def _quantized(spec: ModelSpec, folder: Path) -> Path:
    pytest.importorskip("onnxruntime.quantization")
    import export_cases
    import onnx

    from edgecnn.contract import InputContract
    from edgecnn.export import _onnx_static as static
    from edgecnn.export import calibration

    size, image = spec.resolution, spec.conventions
    contract = InputContract(
        name="image",
        shape=(1, 3, size, size),
        dtype="float32",
        layout="NCHW",
        imgsz=size,
        mean=image.mean,
        std=image.std,
        crop_pct=image.crop_pct,
        interpolation=image.interpolation,
    )
    images = calibration.load(export_cases.pictures(), 2, contract, force=True)
    path = folder / "w8a8.onnx"
    onnx.save(static.quantize(spec_onnx.model(spec), images, contract), path)
    return path


def test_a_graph_and_its_spec_are_executed_alike(tmp_path: Path) -> None:
    spec = families.get("mobilenet_v3_small@r64")
    read = onnx_graph.workload(spec_onnx.write(spec, tmp_path / "f.onnx"))
    for target in (Target.here(), AARCH64, AVX512):
        of_graph, of_spec = (
            signatures(fusion.fused(found, "ort", target).operators)
            for found in (read, workload.from_spec(spec))
        )
        assert of_graph == of_spec


def test_blocks_of_16_leave_few_channels_as_they_lie() -> None:
    """With AVX-512 a block has 16 channels: 12 are fewer than a block, 20 are not."""
    rows = "stem_k1_s1_c12_relu conv_r1_k1_s1_c20_relu conv_r1_k1_s1_c16_relu pool linear_c10"
    found = workload.from_spec(_odd(rows))
    by_8, by_16 = (_nodes(fusion.fused(found, "ort", t)) for t in (Target(), AVX512))
    assert by_8[:3] == ["nchwc.Conv"] * 3
    assert by_16[:4] == ["nchwc.Conv", "nchwc.ReorderOutput", "nchwc.Conv", "nchwc.Conv"]


# ------------------------------------------------------------------------------- other runtimes


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_openvino_executes_what_is_modelled(spec: ModelSpec, tmp_path: Path) -> None:
    small = spec.scaled(resolution=64)
    reported = [
        op for _, op in run_graphs.reported(spec_onnx.write(small, tmp_path / "f.onnx"), "openvino")
    ]
    found = fusion.fused(workload.from_spec(small), "openvino", Target.here())
    executed = []
    for operator in found.operators:
        if operator.node == (reported[len(executed)] if len(executed) < len(reported) else ""):
            executed.append(operator.node)
        else:
            # Its counters leave out what took less than a microsecond.
            assert operator.macs == 0 and prod(operator.out_shape) <= TINY, operator
    assert executed == reported


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small@r64", "mobilenet_v2@r64", "mnasnet_a1@r64"])
def test_ncnn_has_the_layers_that_are_modelled(name: str, tmp_path: Path) -> None:
    from edgecnn import export, sources
    from edgecnn.contract import Recipe
    from edgecnn.formats import ncnn

    exporter = export.get("ncnn")
    missing = runtimes.missing_package(*exporter.requires)
    if missing:
        pytest.skip(missing)
    source, path = sources.resolve(name, weights="random", imgsz=None), tmp_path / "f.ncnn"
    exporter.convert(source, Recipe.parse("fp32"), path, calibration=None, uint8_input=False)
    text, _ = ncnn.read(path)
    kinds = [line.split()[0] for line in text.splitlines()[2:]]
    expected = [kind for kind in kinds if kind not in ("Input", "Split")]
    found = fusion.fused(workload.from_spec(families.get(name)), "ncnn", Target.here())
    assert _nodes(found) == expected


@pytest.mark.parametrize(
    ("rows", "layers"),
    [
        (
            "stem_k3_s2_c16_gelu_sigmoid mbconv_r1_k3_s1_e2_c16_se0.25_gelu_sigmoid pool"
            " linear_c10",
            "Convolution BinaryOp Sigmoid BinaryOp Convolution BinaryOp Sigmoid BinaryOp"
            " ConvolutionDepthWise BinaryOp Sigmoid BinaryOp Pooling InnerProduct Reshape BinaryOp"
            " Sigmoid BinaryOp Convolution BinaryOp Convolution BinaryOp Pooling InnerProduct",
        ),
        (
            "stem_k3_s2_c16_gelu_sigmoid conv_r1_k1_s1_c16_none pool head_c14_bias_gelu_sigmoid"
            " linear_c10",
            "Convolution BinaryOp Sigmoid BinaryOp Convolution Pooling InnerProduct Reshape"
            " BinaryOp Sigmoid BinaryOp Flatten InnerProduct",
        ),
    ],
)
def test_ncnn_gets_a_vector_as_a_map_for_gelu_by_a_sigmoid(rows: str, layers: str) -> None:
    """As pnnx writes them; its gate of another function has two InnerProducts."""
    found = fusion.fused(workload.from_spec(_odd(rows)), "ncnn", Target())
    assert _nodes(found) == layers.split()
    swish = workload.from_spec(_odd(rows.replace("gelu_sigmoid", "swish")))
    assert "Reshape" not in _nodes(fusion.fused(swish, "ncnn", Target()))


def test_litert_executes_what_xnnpack_fuses() -> None:
    """Clamps go into convolutions, swish is two operators; of int8, one look-up."""
    rows = "stem_k3_s2_c16_relu6 mbconv_r1_k3_s1_e1_c16_hse0.5_swish pool linear_c10"
    found = workload.from_spec(_odd(rows))
    gate = ["MEAN", "CONV_2D", "CONV_2D", "MUL", "MUL"]
    start, end = ["CONV_2D", "DEPTHWISE_CONV_2D"], ["CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]
    in_float = fusion.fused(found, "litert", Target("fp32"))
    assert _nodes(in_float) == [*start, "LOGISTIC", "MUL", *gate, *end]
    assert in_float.operators[0].activation == "relu6"
    in_int8 = fusion.fused(found, "litert", Target("w8a8"))
    gate[3] = "LUT"
    assert _nodes(in_int8) == ["QUANTIZE", *start, "LUT", *gate, *end, "DEQUANTIZE"]


@pytest.mark.parametrize(("runtime", "precision"), [("ort", "fp16"), ("openvino", "w8a8")])
def test_what_is_not_modelled_is_refused(runtime: str, precision: str) -> None:
    found = workload.from_spec(families.get("mobilenet_v2"))
    with pytest.raises(UsageError, match=f"{runtime} fuses in {precision}; allowed: fp32"):
        fusion.fused(found, runtime, Target(precision))
    with pytest.raises(UsageError, match="allowed: litert, ncnn, openvino, ort"):
        fusion.fused(found, "reference", Target("fp32"))


# ------------------------------------------------------------------------------------- in general


def _encoded(encoder: Encoder, spec: ModelSpec) -> list[Signature]:
    return [encoder.signatures[i] for row in encoder.rows(spec) for i in encoder.operators[row]]


@pytest.mark.parametrize("runtime", fusion.modeled())
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_rows_one_by_one_are_executed_as_the_whole(spec: ModelSpec, runtime: str) -> None:
    for precision in PRECISIONS[runtime]:
        for target in (Target(precision), Target(precision, "aarch64")):
            encoder = Encoder(runtime, target)
            whole = fusion.fused(workload.from_spec(spec), runtime, target)
            assert _encoded(encoder, spec) == list(signatures(whole.operators))


@pytest.mark.parametrize("runtime", fusion.modeled())
@pytest.mark.parametrize("rows", ODD)
def test_odd_rows_one_by_one_are_executed_as_the_whole(rows: str, runtime: str) -> None:
    for precision in PRECISIONS[runtime]:
        target = Target(precision)
        found = _encoded(Encoder(runtime, target), _odd(rows))
        whole = fusion.fused(workload.from_spec(_odd(rows)), runtime, target)
        assert found == list(signatures(whole.operators))


@pytest.mark.parametrize("runtime", fusion.modeled())
@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
def test_fusing_loses_no_work(spec: ModelSpec, runtime: str) -> None:
    found = workload.from_spec(spec)
    executed = fusion.fused(found, runtime, Target())
    assert executed.macs == found.macs
    assert executed.params == found.folded().params
    encoded = signatures(executed.operators)
    assert sum(features(one).macs for one in encoded) == found.macs
    assert len(executed.operators) < len(found.operators)
    for index, operator in enumerate(executed.operators):
        assert all(-1 <= i < index for i in operator.inputs), operator.name


@pytest.mark.parametrize("runtime", fusion.modeled())
@pytest.mark.parametrize("spec", CLASSIC.values(), ids=CLASSIC)
def test_classic_networks_lose_no_work(spec: ModelSpec, runtime: str) -> None:
    """Operators that a runtime's model does not know stay under a name of their own."""
    found = workload.from_spec(spec)
    for precision in PRECISIONS[runtime]:
        executed = fusion.fused(found, runtime, Target(precision))
        assert executed.macs == found.macs
        assert executed.params == found.folded().params
        assert all(operator.node for operator in executed.operators)
        encoder = Encoder(runtime, Target(precision))
        assert sum(features(one).macs for one in _encoded(encoder, spec)) == found.macs


def test_features_by_algebra() -> None:
    rows = "stem_k3_s2_c16_relu pool linear_c10"
    whole = _encoded(Encoder("ort", Target()), _odd(rows))
    conv = features(whole[0])
    assert whole[0].node == "nchwc.Conv" and whole[0].activation == "relu"
    assert conv.macs == 16 * 16 * 16 * 3 * 9
    assert conv.weight_bytes == 4 * 16 * (3 * 9 + 1)
    assert (conv.input_bytes, conv.output_bytes) == (4 * 3 * 32 * 32, 4 * 16 * 16 * 16)
    assert features(whole[0], "w8a8").weight_bytes == 16 * (3 * 9 + 4)
    assert features(whole[-1]).macs == 160


def test_a_gate_and_a_product_of_equals_differ() -> None:
    """QLinearMul broadcasts in a gate and does not in a swish; their time differs."""
    rows = "stem_k3_s2_c16_swish mbconv_r1_k3_s1_e1_c16_se0.5_swish pool linear_c10"
    found = fusion.fused(workload.from_spec(_odd(rows)), "ort", Target("w8a8"))
    seconds = {s.second_shape for s in signatures(found.operators) if s.node == "QLinearMul"}
    assert seconds == {(16, 16, 16), (16, 1, 1), (8, 1, 1)}


def test_known_rows_keep_their_numbers() -> None:
    encoder = Encoder("ort", Target.here())
    first = encoder.rows(families.get("mobilenet_v2"))
    encoder.rows(families.get("mobilenet_v2@r192"))
    assert encoder.rows(families.get("mobilenet_v2")) == first
    assert max(first) == len(set(first)) - 1


def test_a_graph_is_numbered_as_its_spec(tmp_path: Path) -> None:
    spec = families.get("efficientnet_lite0@r64")
    read = onnx_graph.workload(spec_onnx.write(spec, tmp_path / "f.onnx"))
    encoder = Encoder("ort", Target.here())
    of_rows: list[Any] = [i for row in encoder.rows(spec) for i in encoder.operators[row]]
    assert encoder.workload(read) == of_rows
