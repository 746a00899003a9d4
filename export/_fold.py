"""What follows on a convolution folded into its weights: normalization, and a layer's scale.

Every runtime would do it with normalization anyway. Converters take half the time over a graph
without it, and bias correction sees the very weights that are rounded later.
"""

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgecnn.network import LayerScale, Residual, Scale, ScaledResidual

_IN_ORDER = (nn.Sequential, Residual, Scale)
"""Containers that run their children one after another; a subclass may do something else."""


def folded(module: nn.Module) -> nn.Module:
    """Return a copy of ``module``, in eval mode, that computes the same with fewer operators.

    Only a convolution directly in front of a normalization in a plain sequence is touched, or one
    whose result a layer scale takes; a module without plain sequences is returned as it is.
    """
    if not any(type(container) in _IN_ORDER for container in module.modules()):
        return module
    result = copy.deepcopy(module)
    for container in list(result.modules()):
        if type(container) in _IN_ORDER:
            _fold_pairs(container)
        elif isinstance(container, ScaledResidual):
            _fold_scale(container)
    return result


def _fold_scale(container: ScaledResidual) -> None:
    """The scale is the first part and runs last, on the result of the last."""
    (first, scale), *_, (_, convolution) = container.named_children()
    if not isinstance(scale, LayerScale) or not isinstance(convolution, nn.Conv2d):
        return
    with torch.no_grad():
        convolution.weight *= scale.gamma.unsqueeze(1)
        if convolution.bias is not None:
            convolution.bias *= scale.gamma.flatten()
    container.add_module(first, nn.Identity())


def _fold_pairs(container: nn.Module) -> None:
    for (first, convolution), (second, norm) in pairwise(list(container.named_children())):
        if not isinstance(convolution, nn.Conv2d) or type(norm) is not nn.BatchNorm2d:
            continue
        if not norm.training and norm.running_mean is not None:
            container.add_module(first, fuse_conv_bn_eval(convolution, norm))
            container.add_module(second, nn.Identity())
