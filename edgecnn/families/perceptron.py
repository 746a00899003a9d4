"""A perceptron of one layer, and multi-layer perceptrons for 28 x 28 digits (LeCun et al. 1998).

A neuron's sum of all pixels, each times a weight, plus a bias. Hidden neurons have a hyperbolic
tangent; the paper's is scaled, 1.7159 tanh(2 a / 3), which scaled weights make up for. The paper
learns by squared error; what it says of accuracy holds for deslanted digits (perceptron), with
artificially distorted ones added (one hidden layer), or for the digits as they are (two). Of 1000
and 150 units the paper's section III-C speaks; the authors' table on the web has the same 2.95 % at
500 and 150.
"""

from __future__ import annotations

from edgecnn.families._sources import DIGITS, LECUN, LECUN_TABLE, MNIST
from edgecnn.spec import ModelSpec, Published, parse_rows


def _model(name: str, hidden: tuple[int, ...], params: int, error: float) -> ModelSpec:
    """`error` in percent."""
    rows = parse_rows(" ".join([*(f"dense_c{width}_tanh" for width in hidden), "linear_c10"]))
    published = Published(
        params,
        None,
        LECUN,
        round(100 - error, 2),
        LECUN_TABLE,
        MNIST,
        note="multiply-adds are not published: one for each weight",
    )
    return ModelSpec(
        name,
        "perceptron",
        28,
        rows,
        DIGITS,
        dropout=0.0,
        input_channels=1,
        published=published,
    )


MODELS = (
    _model("perceptron", (), 7850, 8.4),
    _model("mlp_300", (300,), 238510, 3.6),
    _model("mlp_1000", (1000,), 795010, 3.8),
    _model("mlp_300_100", (300, 100), 266610, 3.05),
    _model("mlp_1000_150", (1000, 150), 936660, 2.95),
)
MOBILE: tuple[ModelSpec, ...] = ()
