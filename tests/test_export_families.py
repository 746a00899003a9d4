"""Classic families exported to ONNX and TFLite, in float and in 8 bits, against the original.

Those of mobile networks are what other tests of exports take.
"""

from pathlib import Path

import pytest
import small_models
from export_cases import pictures
from test_workload_graphs import READERS, random_source, require_same

from edgecnn import export, families
from edgecnn.contract import Recipe
from edgecnn.runtimes import missing_package
from edgecnn.spec import ModelSpec

pytestmark = pytest.mark.slow

MOBILE = {spec.family for spec in families.mobile()}
FAMILIES = {f: spec for f, spec in small_models.smallest().items() if f not in MOBILE}
CASES = [
    pytest.param(spec, name, precision, id=f"{family}-{name}-{precision}")
    for family, spec in FAMILIES.items()
    for name in ("onnx", "tflite")
    for precision in ("fp32", "w8a8")
]


@pytest.mark.parametrize(("spec", "name", "precision"), CASES)
def test_parity(spec: ModelSpec, name: str, precision: str, tmp_path: Path) -> None:
    missing = missing_package(*export.get(name).requires)
    if missing:
        pytest.skip(f"export to {name}: {missing}")
    made = export.export(
        random_source(spec),
        name,
        Recipe.parse(precision),
        tmp_path / f"{spec.family}.{name}",
        calibration_folder=pictures(),
    )
    parity = made.required_contract().parity
    assert parity is not None and parity.passed, parity
    if precision == "fp32":
        require_same(READERS[name](made.path), spec)
