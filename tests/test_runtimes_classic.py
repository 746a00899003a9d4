"""Layer normalization, GELU, dilated and grouped convolutions, and joins, in every runtime."""

from pathlib import Path

import numpy as np
import pytest
from test_workload_graphs import random_source

from edgecnn import export, formats, runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import Recipe
from edgecnn.device import LOCAL
from edgecnn.runtimes import missing_package
from edgecnn.spec import Conventions, ModelSpec, parse_rows

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SPEC = ModelSpec(
    "operators",
    "test",
    32,
    parse_rows(
        "conv_r1_k4_s2_c16_p1_none_bias norm cnext_r2_k7_s1_e2_c16_gelu"
        " conv_r1_k3_s1_c32_g4_d2_relu maxpool_k3_s2_p1"
        " mixed_s1_16x1_8x1.16x1x7.16x7x1_avg3.8x1_relu bottle_r1_k3_s1_e0.5_c48_g4_relu"
        " pool norm linear_c10"
    ),
    Conventions(),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classic")


def _file(name: str, folder: Path) -> Artifact:
    exporter, path = export.get(name), folder / f"operators{formats.get(name).suffix}"
    missing = missing_package(*exporter.requires)
    if missing:
        pytest.skip(f"export to {name}: {missing}")
    if path.is_file():
        return Artifact.load(path)
    return export.export(random_source(SPEC), name, Recipe.parse("fp32"), path)


@pytest.mark.parametrize("name", [n for n in runtimes.names() if n != "null"])
def test_a_runtime_computes_what_pytorch_does(name: str, folder: Path) -> None:
    runtime = runtimes.get(name)
    reason = runtime.unavailable(LOCAL)
    if reason:
        pytest.skip(reason)
    made = _file(runtime.formats[0], folder)
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        expected = random_source(SPEC).module(torch.from_numpy(image)).numpy()
    is_nhwc = made.single_input().layout == "NHWC"
    session = runtimes.open_session(runtime, made, LOCAL, 1)
    try:
        given = np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if is_nhwc else image
        found = session.run(given).reshape(expected.shape)
    finally:
        session.close()
    # ncnn computes in float16 where the processor has it
    share = 2e-2 if name == "ncnn" else 1e-4
    assert np.abs(found - expected).max() <= share * np.ptp(expected)
