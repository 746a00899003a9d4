"""The neocognitron (Fukushima 1980, Biological Cybernetics 36), as far as it is a feed-forward net.

Three stages, each an S-layer that finds features and a C-layer that tolerates their shifts, on maps
of 16, 10, 8, 6, 2 and 1 pixels with 24 planes each, as in the paper's simulation.

An S-cell there computes, with weights a and b that it learns and fixed weights c,

    u_S = r phi((1 + sum(a u_C)) / (1 + r / (1 + r) b v) - 1),   v = sqrt(sum(c u_C^2)),

phi(x) = max(x, 0): excitation over inhibition. A C-cell computes psi(sum(d u_S) - inhibition),
psi(x) = max(x, 0) / (1 + max(x, 0)), over a neighbourhood of one plane, with fixed weights d that
fall off from its centre.

Here an S-layer is a convolution with a trained bias and phi, that is, inhibition is subtracted and
not divided by; a C-layer is the plain mean of the neighbourhood. The learning without a teacher is
not part of it: weights come from backpropagation, and a linear layer behind the last C-layer reads
the ten digits. Where the paper makes 16 pixels 10 by leaving out cells, our window is 7 pixels.
"""

from __future__ import annotations

from edgecnn.families._sources import DIGITS
from edgecnn.spec import ModelSpec, Published, parse_rows

FUKUSHIMA = "Fukushima 1980, Biological Cybernetics 36, 193-202"

MODELS = (
    ModelSpec(
        "neocognitron",
        "neocognitron",
        16,
        parse_rows("""
            conv_r1_k5_s1_c24_relu_p2_bias
            avgpool_k7_s1_p0
            conv_r1_k5_s1_c24_relu_p1_bias
            avgpool_k3_s1_p0
            conv_r1_k5_s1_c24_relu_p0_bias
            pool
            linear_c10
        """),
        DIGITS,
        dropout=0.0,
        input_channels=1,
        published=Published(
            29722,
            None,
            FUKUSHIMA,
            note="the paper counts cells, not multiply-adds; parameters are by algebra",
        ),
    ),
)
MOBILE: tuple[ModelSpec, ...] = ()
