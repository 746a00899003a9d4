"""Costs against algebra; the spec's workload against the exported graph's."""

from pathlib import Path

import pytest

from edgecnn import families, onnx_graph, workload
from edgecnn.errors import SourceError
from edgecnn.spec import ModelSpec, parse_rows
from edgecnn.workload import Operator, Workload


def _spec(rows: str, resolution: int = 32) -> ModelSpec:
    return ModelSpec("test", "test", resolution, parse_rows(rows))


def _named(found: Workload) -> dict[str, Operator]:
    return {o.name: o for o in found.operators}


def test_convolution_costs_by_algebra() -> None:
    """O = (I - F + Pstart + Pend) / S + 1; weights F F Cin Cout; a MAC per weight and position."""
    found = _named(workload.from_spec(_spec("stem_k3_s2_c16_relu pool linear_c10")))
    side = (32 - 3 + 1 + 1) // 2 + 1
    conv = found["stem0.conv"]
    assert conv.out_shape == (16, side, side)
    assert conv.params == 3 * 3 * 3 * 16
    assert conv.macs == side * side * 16 * 3 * 3 * 3
    assert found["stem0.conv_bn"].params == 2 * 16
    assert found["stem0.conv_bn"].macs == 0
    assert found["linear2.linear"].macs == 16 * 10
    assert found["linear2.linear"].params == 16 * 10 + 10


def test_an_inverted_bottleneck_costs_by_algebra() -> None:
    rows = "stem_k1_s1_c8_none mbconv_r1_k5_s1_e6_c8_se0.25_swish pool linear_c10"
    found = _named(workload.from_spec(_spec(rows, 16)))
    at = 16 * 16
    assert found["mbconv1.0.expand"].macs == at * 8 * 48
    assert found["mbconv1.0.depthwise"].macs == at * 48 * 25
    assert found["mbconv1.0.depthwise"].op == "depthwise_conv"
    assert found["mbconv1.0.depthwise"].params == 48 * 25
    assert found["mbconv1.0.se.reduce"].params == 48 * 2 + 2  # 0.25 of the 8 input channels
    assert found["mbconv1.0.se.expand"].macs == 2 * 48
    assert found["mbconv1.0.se"].op == "mul"
    assert found["mbconv1.0.project"].macs == at * 48 * 8
    assert found["mbconv1.0"].op == "add"


def test_mobilenet_v3_squeezes_the_expanded_channels() -> None:
    rows = "stem_k1_s1_c16_none mbconv_r1_k3_s1_e4_c16_hse0.25_relu pool linear_c10"
    found = _named(workload.from_spec(_spec(rows, 16)))
    assert found["mbconv1.0.se.reduce"].out_shape == (16, 1, 1)  # 0.25 of the 64 expanded
    assert found["mbconv1.0.se.gate"].op == "hsigmoid"


def test_a_separable_convolution_saves_what_the_paper_says() -> None:
    """1 / Cout + 1 / K^2 of the cost (MobileNetV1, section 3.1)."""
    separable = workload.from_spec(_spec("dws_r1_k3_s1_c64_relu pool linear_c10"))
    full = workload.from_spec(_spec("conv_r1_k3_s1_c64_relu pool linear_c10"))
    head = 64 * 10
    assert (separable.macs - head) / (full.macs - head) == pytest.approx(1 / 64 + 1 / 9)


def test_receptive_fields() -> None:
    """3x3 convolutions add 2 at stride 1 and 4 after a stride of 2."""
    rows = "conv_r1_k3_s1_c8_relu conv_r1_k3_s2_c8_relu conv_r2_k3_s1_c8_relu pool linear_c10"
    found = _named(workload.from_spec(_spec(rows)))
    fields = [
        found[f"conv{i}.{j}.conv"].receptive_field for i, j in ((0, 0), (1, 0), (2, 0), (2, 1))
    ]
    assert fields == [3, 5, 9, 13]


def test_a_gate_does_not_widen_the_receptive_field() -> None:
    plain = "stem_k3_s1_c8_relu mbconv_r1_k3_s1_e1_c8_relu pool linear_c10"
    gated = plain.replace("c8_relu pool", "c8_se0.25_relu pool")
    fields = [
        _named(workload.from_spec(_spec(rows)))["mbconv1.0"].receptive_field
        for rows in (plain, gated)
    ]
    assert fields == [5, 5]


def test_peak_memory_counts_what_is_alive() -> None:
    """Two convolutions in a row: at the widest, the input and the result of one of them."""
    rows = "conv_r1_k1_s1_c4_none conv_r1_k1_s1_c8_none pool linear_c10"
    found = workload.from_spec(_spec(rows, 16))
    plane = 16 * 16 * 4
    assert found.peak_activation_bytes == (4 + 8) * plane


def test_a_shortcut_is_alive_until_its_addition() -> None:
    rows = "stem_k1_s1_c8_none mbconv_r1_k3_s1_e4_c8_relu pool linear_c10"
    found = workload.from_spec(_spec(rows, 16))
    plane = 16 * 16 * 4
    # in and out of the depthwise convolution, 32 channels each, and the 8 of the shortcut
    assert found.peak_activation_bytes == (32 + 32 + 8) * plane
    last = [live for o, live in found.liveness() if o.op == "add"]
    assert last == [3 * 8 * plane]


def test_in_place_operators_need_no_second_buffer() -> None:
    with_activation = workload.from_spec(_spec("conv_r1_k1_s1_c4_relu pool linear_c10", 16))
    without = workload.from_spec(_spec("conv_r1_k1_s1_c4_none pool linear_c10", 16))
    assert with_activation.peak_activation_bytes == without.peak_activation_bytes


def test_folding_moves_normalization_into_a_bias() -> None:
    found = workload.from_spec(_spec("stem_k3_s2_c16_relu pool linear_c10"))
    folded = found.folded()
    assert not [o for o in folded.operators if o.op == "batch_norm"]
    assert folded.macs == found.macs
    assert folded.params == found.params - 16  # scale and shift become one bias
    assert folded.peak_activation_bytes == found.peak_activation_bytes


def test_normalization_without_a_convolution_before_it_is_not_folded() -> None:
    shape = (8, 4, 4)
    first = Operator("first", "batch_norm", (-1,), shape, shape, params=16)
    found = Workload("w", shape, (first, Operator("conv", "conv", (0,), shape, shape, params=64)))
    assert found.folded() == found


@pytest.mark.parametrize("spec", families.all().values(), ids=lambda spec: spec.name)
def test_inputs_point_backwards_and_shapes_match(spec: ModelSpec) -> None:
    found = workload.from_spec(spec)
    for index, operator in enumerate(found.operators):
        source = operator.inputs[0]
        assert all(-1 <= i < index for i in operator.inputs)
        before = found.operators[source].out_shape if source >= 0 else found.input_shape
        assert before == operator.in_shape, operator.name
    assert found.operators[-1].out_shape == (spec.num_classes,)


# ---------------------------------------------------------------------------------------- ONNX


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    import noise

    from edgecnn import network

    spec = families.get("mobilenet_v3_small@r64")
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    module = network.build(spec).eval()
    for tensor in module.state_dict().values():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)  # the exporter stores equal constants once
    torch.onnx.export(module, (noise.image(spec),), path, verbose=False)
    return spec, path


def test_the_exported_graph_costs_the_same(exported: tuple[ModelSpec, Path]) -> None:
    spec, path = exported
    found, expected = onnx_graph.workload(path), workload.from_spec(spec).folded()
    assert found.unknown == ()
    assert found.input_shape == (3, 64, 64)
    assert found.macs == expected.macs
    assert found.params == expected.params
    convolutions = [
        [(o.op, o.out_shape, o.macs, o.params, o.receptive_field) for o in w.operators if o.macs]
        for w in (found, expected)
    ]
    assert convolutions[0] == convolutions[1]


def test_a_quantized_graph_costs_the_same(exported: tuple[ModelSpec, Path], tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    import numpy as np

    spec, path = exported

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [np.ones((1, 3, 64, 64), np.float32)]

        def get_next(self) -> dict[str, object] | None:
            import onnx

            name = onnx.load(path).graph.input[0].name
            return {name: self.left.pop()} if self.left else None

    target = tmp_path / "int8.onnx"
    quantization.quantize_static(path, target, Reader(), per_channel=True)
    found = onnx_graph.workload(target)
    assert found.macs == workload.from_spec(spec).macs
    assert found.params == workload.from_spec(spec).folded().params
    assert {o.op for o in found.operators} >= {"quantize", "dequantize", "depthwise_conv"}


def _save(tmp_path: Path, nodes: list, inputs: list, outputs: list, constants: tuple = ()) -> Path:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("my.domain", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path = tmp_path / "made.onnx"
    onnx.save(model, path)
    return path


def _value(name: str, *shape: int | str) -> object:
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def test_unknown_operators_are_listed(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    nodes = [
        onnx.helper.make_node("Erf", ["x"], ["y"]),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
    ]
    path = _save(tmp_path, nodes, [_value("x", "n", 3, 8, 8)], [_value("z", "n", 3, 8, 8)])
    found = onnx_graph.workload(path)
    assert found.unknown == ("Erf",)
    assert [o.op for o in found.operators] == ["Erf", "relu"]


def test_an_oblong_kernel_counts_its_taps(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    import numpy as np

    weight = onnx.numpy_helper.from_array(np.zeros((4, 3, 1, 7), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 7], pads=[0, 3, 0, 3])
    path = _save(tmp_path, [node], [_value("x", 1, 3, 8, 8)], [_value("y", 1, 4, 8, 8)], (weight,))
    found = onnx_graph.workload(path)
    assert found.macs == 8 * 8 * 4 * 3 * 7
    assert found.params == 4 * 3 * 7
    assert found.operators[0].receptive_field == 7


def test_a_graph_with_free_sizes_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    path = _save(tmp_path, [node], [_value("x", 1, 3, "h", "w")], [_value("y", 1, 3, "h", "w")])
    with pytest.raises(SourceError, match="fixed image size"):
        onnx_graph.workload(path)


def test_damaged_files_are_refused(exported: tuple[ModelSpec, Path], tmp_path: Path) -> None:
    _, path = exported
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:5000])
    for bad in (cut, tmp_path / "absent.onnx"):
        with pytest.raises(SourceError, match=bad.name):
            onnx_graph.workload(bad)
