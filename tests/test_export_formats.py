"""Every format that can be exported to, in every precision, on a small random network."""

import numpy as np
import pytest
import tiny
from export_cases import LABELS, exported, pictures

from edgecnn import export, formats, images, preprocess, runtimes
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL
from edgecnn.export.parity import LIMITS

CASES = [(name, precision) for name in export.names() for precision in export.get(name).precisions]
UINT8_CASES = [
    (name, precision)
    for name, precision in CASES
    if export.get(name).takes_uint8 and precision in ("fp32", "w8a8")
]


def run_on_pixels(made: Artifact, pixels: preprocess.Image) -> np.ndarray:
    """Run a file on the runtime that proves it."""
    contract = made.required_contract()
    runtime = runtimes.get(export.get(made.format).runtime)
    session = runtimes.open_session(runtime, made, LOCAL, 1)
    try:
        array = preprocess.from_pixels(pixels, contract.input, session.inputs[0])
        return preprocess.dequantize(session.run(array), session.outputs[0]).reshape(-1).copy()
    finally:
        session.close()


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_file_says_what_it_is(name: str, precision: str) -> None:
    made = exported(name, precision)
    contract = made.required_contract()
    assert made.format == name
    assert [spec.name for spec in (*made.inputs, *made.outputs)] == ["image", "logits"]
    assert contract.input.shape == made.single_input().shape
    assert contract.input.layout == export.get(name).layout
    assert contract.precision == precision
    assert contract.output.labels == LABELS
    assert contract.weights == "random:seed 0"
    assert contract.created_with.keys() >= {"edgecnn", "python", "torch"}


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_file_equals_the_original(name: str, precision: str) -> None:
    parity = exported(name, precision).required_contract().parity
    assert parity is not None
    assert parity.passed, parity.reason
    assert parity.images == min(20, LIMITS[precision].images)
    assert "calibration folder" in parity.inputs


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_golden_sample_is_reproduced_from_the_file(name: str, precision: str) -> None:
    made = exported(name, precision)
    golden = made.required_contract().golden
    assert golden is not None
    pixels = preprocess.golden_image(golden.recipe, tiny.IMGSZ)
    np.testing.assert_allclose(
        run_on_pixels(made, pixels), golden.expected, rtol=0.0, atol=golden.atol
    )
    assert np.ptp(golden.expected) > 50 * golden.atol


@pytest.mark.parametrize(("name", "precision"), UINT8_CASES)
def test_uint8_input_gives_what_float_input_gives(name: str, precision: str) -> None:
    folded, plain = exported(name, precision, uint8_input=True), exported(name, precision)
    spec = folded.single_input()
    assert (spec.dtype, spec.shape) == ("uint8", (1, tiny.IMGSZ, tiny.IMGSZ, 3))
    parity = folded.required_contract().parity
    assert parity is not None and parity.passed, parity
    pixels = preprocess.golden_image(preprocess.GOLDEN_RECIPE, tiny.IMGSZ)
    np.testing.assert_allclose(
        run_on_pixels(folded, pixels), run_on_pixels(plain, pixels), rtol=0.0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_quantized_file_names_its_calibration_images(name: str) -> None:
    quantization = exported(name, "w8a8").required_contract().quantization
    assert quantization is not None
    chosen = images.calibration_subset(
        images.list_images(pictures()), quantization.calibration_images
    )
    assert len(chosen) == 20
    assert quantization.calibration_sha256 == images.images_sha256(chosen)
    assert "biases corrected" in quantization.scheme


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_int8_files_hold_int8_weights(name: str) -> None:
    # Weights of the tiny network outweigh metadata only in part: int8 saves at least a quarter.
    sizes = {p: _weight_bytes(exported(name, p)) for p in ("fp32", "fp16", "w8a8", "w8a32")}
    assert sizes["fp16"] < 0.65 * sizes["fp32"]
    assert sizes["w8a8"] < 0.5 * sizes["fp32"]
    assert sizes["w8a32"] < 0.5 * sizes["fp32"]


def _weight_bytes(made: Artifact) -> int:
    """Return the bytes of the tensors stored in a file."""
    if made.format == "onnx":
        import onnx

        graph = onnx.load(made.path).graph
        return sum(onnx.numpy_helper.to_array(t).nbytes for t in graph.initializer)
    from edgecnn.formats import _tflite_tree

    model = _tflite_tree.unpack(made.path.read_bytes())
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    return sum(len(model.buffers[i].data) for i in used if model.buffers[i].data is not None)


def test_onnx_file_holds_nothing_of_the_machine_that_made_it() -> None:
    import onnx

    model = onnx.load(exported("onnx", "fp32").path)
    assert [entry.key for entry in model.metadata_props] == ["edgecnn"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


def test_contract_can_be_replaced() -> None:
    made = exported("tflite", "fp32")
    copy = made.path.with_name("copy.tflite")
    copy.write_bytes(made.path.read_bytes())
    formats.get("tflite").embed(copy, made.required_contract())
    assert copy.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("uint8_input", [False, True])
def test_int8_tflite_file_computes_in_int8_between_float_edges(uint8_input: bool) -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

    from edgecnn.formats import _tflite_tree

    model = _tflite_tree.unpack(exported("tflite", "w8a8", uint8_input).path.read_bytes())
    graph = model.subgraphs[0]
    names = {code: text for text, code in vars(BuiltinOperator).items() if isinstance(code, int)}
    found = [
        (names[model.operatorCodes[op.opcodeIndex].builtinCode], graph.tensors[op.outputs[0]].type)
        for op in graph.operators
    ]
    floats = [name for name, kind in found if kind == TensorType.FLOAT32]
    assert floats == (["CAST", "MUL", "ADD"] if uint8_input else []) + [
        "DEQUANTIZE",
        "FULLY_CONNECTED",
    ]
    assert all(kind in (TensorType.INT8, TensorType.FLOAT32) for _, kind in found)
