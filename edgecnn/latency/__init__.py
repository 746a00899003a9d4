"""Latency tables: measure a device once, then predict any network on it without the device.

`calibrate` makes a `Table`, `load` opens one as a `Predictor`.
"""

from edgecnn.latency.predictor import (
    Estimate,
    LayerEstimate,
    OutsideTableError,
    Predictor,
    load,
    shipped,
)
from edgecnn.latency.table import Errors, Table

__all__ = [
    "Errors",
    "Estimate",
    "LayerEstimate",
    "OutsideTableError",
    "Predictor",
    "Table",
    "load",
    "shipped",
]
