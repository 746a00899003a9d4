"""Max pools that pad with minus infinity, in 8 bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import export_cases
import numpy as np
import pytest
import tiny

pytest.importorskip("ai_edge_quantizer", reason="pip install ai-edge-quantizer")

from edgecnn import export
from edgecnn.contract import Recipe
from edgecnn.export import _tflite_padding, to_tflite
from edgecnn.formats import _tflite_tree


def pooling() -> Any:
    """A network whose pooled values are all negative: no padding of zeros would do."""
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution = nn.Conv2d(3, 8, 3, 2, 1)
        nn.init.uniform_(convolution.weight, -0.1, 0.1)
        nn.init.uniform_(convolution.bias, -12.0, -10.0)
        head = nn.Linear(8 * 8 * 8, tiny.CLASSES)
    module = nn.Sequential(convolution, nn.MaxPool2d(3, 2, 1), nn.Flatten(), head)
    return replace(tiny.source(), module=module.eval())


def test_the_padding_is_the_smallest_value(tmp_path: Path) -> None:
    path = tmp_path / "pooling.tflite"
    made = export.export(
        pooling(), "tflite", Recipe.parse("w8a8"), path, calibration_folder=export_cases.pictures()
    )
    parity = made.required_contract().parity
    assert parity is not None and parity.passed, parity
    assert parity.cosine > 0.999
    graph = _tflite_tree.unpack(path.read_bytes()).subgraphs[0]
    named = {tensor.name.decode(): tensor for tensor in graph.tensors}
    ((padded, inner),) = _tflite_padding.around_max_pools(
        to_tflite.float_model(pooling(), uint8_input=False)
    ).items()
    ranges = [named[name].quantization for name in (padded, inner)]
    assert ranges[0].scale == pytest.approx(ranges[1].scale)
    assert np.array_equal(ranges[0].zeroPoint, ranges[1].zeroPoint)


def test_a_network_without_pools_has_none() -> None:
    content = tiny.bare_file("tflite").read_bytes()
    assert _tflite_padding.around_max_pools(content) == {}
