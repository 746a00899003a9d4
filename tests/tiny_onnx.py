"""A tiny network as an ONNX file with a contract: made in milliseconds, without torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgecnn import formats
from edgecnn.artifact import Artifact
from edgecnn.contract import Contract, InputContract, OutputContract, Quantization

IMGSZ = 32
CLASSES = 10

CONTRACT = Contract(
    name="tiny",
    source="tests/tiny_onnx.py",
    source_sha256="",
    weights="random:seed 0",
    precision="fp32",
    input=InputContract(
        name="image",
        shape=(1, 3, IMGSZ, IMGSZ),
        dtype="float32",
        layout="NCHW",
        imgsz=IMGSZ,
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        crop_pct=1.0,
        interpolation="bilinear",
    ),
    output=OutputContract("logits", CLASSES),
)


def write_onnx(path: Path, *, seed: int = 0, channels: int = 8, imgsz: int = IMGSZ) -> Path:
    """Write conv 3x3, ReLU, global average pool, gemm; weights depend on ``seed``."""
    random = np.random.default_rng(seed)
    weights = {
        "conv_w": random.normal(0.0, 0.2, (channels, 3, 3, 3)),
        "fc_w": random.normal(0.0, 1.0, (channels, CLASSES)),
        "fc_b": random.normal(0.0, 0.1, CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["image", "conv_w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc_w", "fc_b"], ["logits"], name="fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, imgsz, imgsz])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


def artifact(
    path: Path,
    *,
    seed: int = 0,
    precision: str = "fp32",
    labels: tuple[str, ...] = (),
    quantization: Quantization | None = None,
    channels: int = 8,
) -> Artifact:
    """Write the network with a contract inside and load it."""
    write_onnx(path, seed=seed, channels=channels)
    contract = replace(
        CONTRACT,
        precision=precision,
        output=OutputContract("logits", CLASSES, labels),
        quantization=quantization,
    )
    formats.get("onnx").embed(path, contract)
    return Artifact.load(path)
