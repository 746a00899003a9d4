"""Standard TFLite Metadata, read back by other people's code."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from export_cases import LABELS, export_tiny, exported

from edgecnn import preprocess, runtimes
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL
from edgecnn.formats import _tflite_tree


def read_metadata(made: Artifact) -> Any:
    """Parse the metadata with the classes that MediaPipe generated from the published schema."""
    pytest.importorskip("mediapipe", reason="pip install mediapipe")
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    model = _tflite_tree.unpack(made.path.read_bytes())
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    return schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))


@pytest.mark.parametrize("uint8_input", [False, True])
def test_fields(uint8_input: bool) -> None:
    metadata = read_metadata(exported("tflite", "fp32", uint8_input))
    (graph,) = metadata.subgraphMetadata
    (image,), (logits,) = graph.inputTensorMetadata, graph.outputTensorMetadata
    options = image.processUnits[0].options
    assert metadata.name == b"tiny"
    assert metadata.minParserVersion == b"1.0.0"
    assert (image.name, logits.name) == (b"image", b"logits")
    assert image.content.contentProperties.colorSpace == 1
    assert image.content.contentProperties.defaultSize.width == tiny.IMGSZ
    assert list(options.mean) == ([0.0] if uint8_input else [127.0] * 3)
    assert list(options.std) == ([1.0] if uint8_input else [64.0] * 3)
    assert list(image.stats.max) == ([255.0] if uint8_input else [2.0] * 3)
    assert logits.associatedFiles[0].name == b"labels.txt"
    assert logits.associatedFiles[0].type == 2


def test_label_file_is_stored_behind_the_model() -> None:
    with zipfile.ZipFile(exported("tflite", "fp32").path) as archive:
        (info,) = archive.infolist()
        assert (info.filename, info.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(info).decode().splitlines() == list(LABELS)


def test_file_without_labels_has_no_archive(tmp_path: Path) -> None:
    made = export_tiny(tmp_path / "a.tflite", "tflite", "fp32", labels=())
    assert not zipfile.is_zipfile(made.path)
    assert not read_metadata(made).subgraphMetadata[0].outputTensorMetadata[0].associatedFiles


def media_pipe_top1(made: Artifact, pixels: list[preprocess.Image]) -> list[str]:
    """Classify pictures of the input's size with MediaPipe, which knows nothing of edgecnn."""
    mediapipe = pytest.importorskip("mediapipe", reason="pip install mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(made.path)), max_results=1
    )
    with vision.ImageClassifier.create_from_options(options) as classifier:
        found = []
        for picture in pixels:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
            (best,) = classifier.classify(image).classifications[0].categories
            found.append(best.category_name)
    return found


def our_top1(made: Artifact, pixels: list[preprocess.Image]) -> list[str]:
    """Classify the same pictures with our preprocessing and LiteRT."""
    contract = made.required_contract()
    session = runtimes.open_session(runtimes.get("litert"), made, LOCAL, 1)
    found = []
    for picture in pixels:
        array = preprocess.from_pixels(picture, contract.input, session.inputs[0])
        logits = preprocess.dequantize(session.run(array), session.outputs[0])
        found.append(preprocess.top_k(logits, contract.output.labels, 1)[0][0])
    session.close()
    return found


@pytest.mark.parametrize(
    ("precision", "uint8_input"),
    [("fp32", False), ("fp32", True), ("w8a8", False), ("w8a8", True)],
)
def test_media_pipe_runs_the_file_and_agrees(precision: str, uint8_input: bool) -> None:
    made = exported("tflite", precision, uint8_input)
    random = np.random.default_rng(0)
    shape = (tiny.IMGSZ, tiny.IMGSZ, 3)
    pixels = [
        np.full(shape, random.integers(0, 256, 3), np.uint8)
        + random.integers(0, 2, shape, dtype=np.uint8)
        for _ in range(12)
    ]
    ours = our_top1(made, pixels)
    assert len(set(ours)) > 1
    assert media_pipe_top1(made, pixels) == ours
