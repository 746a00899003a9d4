"""Training under 8-bit rounding: where it rounds, what passes it, and what it is good for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pictures
import torch
import training_cases
from conftest import _data_folder
from export_cases import pictures
from test_activations import sources_of
from torch import nn
from training_cases import RECIPE, trained

from edgecnn import export, families, formats, network, sources
from edgecnn.contract import Recipe as Precision
from edgecnn.evaluate import evaluate
from edgecnn.export._fold import folded
from edgecnn.export.weight_levels import int8_without_saturation, steps
from edgecnn.images import list_images
from edgecnn.network import Branches, LayerScale
from edgecnn.picture_sets import written
from edgecnn.spec import ModelSpec, parse_rows
from edgecnn.train_data import load
from edgecnn.training import checkpoint, quantize_aware
from edgecnn.training.augment import Augment
from edgecnn.training.checkpoint import BEST, LAST
from edgecnn.training.quantize_aware import Rounded, RoundedLayer
from edgecnn.training.run import Callbacks
from edgecnn.weights import Origin


def _network(spec: ModelSpec = tiny_pictures.SPEC) -> nn.Module:
    """With statistics as if it had learnt."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = network.build(spec)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5, generator=generator)
            layer.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(layer.bias, -0.5, 0.5, generator=generator)
        elif isinstance(layer, LayerScale):
            nn.init.uniform_(layer.gamma, -1.5, 1.5, generator=generator)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.uniform_(layer.bias, -0.5, 0.5, generator=generator)
    return module.eval()


CONCATENATED = ModelSpec("mixed", "test", 32, parse_rows(
    "stem_k3_s2_c8_relu mixed_s1_8x1_4x1.8x3_4x1.12x3_max3.8x1_relu pool linear_c3"
))  # fmt: skip
SCALED = ModelSpec("scaled", "test", 32, parse_rows(
    "conv_r1_k4_s4_c8_p0_none_bias norm cnext_r2_k7_s1_e2_c8_gelu cnext_r1_k7_s1_e2_c8_relu"
    " pool norm linear_c3"
))  # fmt: skip
SPECS = {
    "tiny": tiny_pictures.SPEC,
    "concatenated": CONCATENATED,
    "scaled": SCALED,
    "mobilenet_v3": families.get("mobilenet_v3_small@w0.35,r32"),
    "mobilenet_v2": families.get("mobilenet_v2@w0.35,r32"),
}


def _image(count: int = 4, size: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def _set(view: nn.Module, watching: bool) -> None:
    for module in view.modules():
        if isinstance(module, Rounded):
            module.is_watching = watching


@pytest.mark.parametrize("name", SPECS)
def test_without_rounding_it_is_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS[name]
    module = _network(spec)
    view = quantize_aware.view(module).eval()
    _set(view, watching=True)
    monkeypatch.setattr(quantize_aware, "_rounded_weight", lambda weight: weight)
    image = _image(size=spec.resolution)
    with torch.no_grad():
        expected, found = module(image), view(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert {id(p) for p in view.parameters()} == {id(p) for p in module.parameters()}
    assert not [m for m in view.modules() if type(m) is nn.BatchNorm2d and m not in _norms(view)]


def _norms(view: nn.Module) -> set[nn.Module]:
    layers = [m for m in view.modules() if isinstance(m, RoundedLayer)]
    return {m.folded for m in layers if m.folded is not None}


@pytest.mark.parametrize("name", SPECS)
def test_the_weights_that_are_rounded_are_the_exporters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normalization and layer scales are in them: a step of each channel follows from that."""
    module = _network(SPECS[name])
    found: list[torch.Tensor] = []

    def rounded(weight: torch.Tensor) -> torch.Tensor:
        found.append(weight)
        return weight

    monkeypatch.setattr(quantize_aware, "_rounded_weight", rounded)
    view = quantize_aware.view(module).eval()
    _set(view, watching=True)
    with torch.no_grad():
        view(_image(size=SPECS[name].resolution))
    layers = [m for m in folded(module).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(found) == len(layers)
    for weight, layer in zip(found, layers, strict=True):
        torch.testing.assert_close(weight, layer.weight, rtol=1e-5, atol=1e-6)


def test_it_rounds_where_the_exporters_do() -> None:
    """By hand for the tiny network: the input; behind the ReLU of stem, expansion and depthwise
    convolution; in squeeze-and-excitation the mean, the ReLU, the second convolution, the sigmoid;
    the product; the projection; the mean. Not the logits."""
    view = quantize_aware.view(_network())
    assert sum(isinstance(m, Rounded) for m in view.modules()) == 1 + 3 + 4 + 1 + 1 + 1
    layers = [m for m in view.modules() if isinstance(m, RoundedLayer)]
    assert len(layers) == 1 + 3 + 2 + 1
    assert sum(m.folded is not None for m in layers) == 4


def test_a_sum_is_rounded() -> None:
    spec = ModelSpec.parse(str(tiny_pictures.SPEC).replace("mbconv_r1_k3_s2", "mbconv_r2_k3_s2"))
    one = sum(isinstance(m, Rounded) for m in quantize_aware.view(_network()).modules())
    two = sum(isinstance(m, Rounded) for m in quantize_aware.view(_network(spec)).modules())
    assert two == one + 8 + 1  # the second unit's, and its shortcut's


def test_a_concatenation_and_its_parts_are_rounded() -> None:
    """The input; the stem; one, two, two and one convolution of the parts, each behind its ReLU and
    the maximum not at all; the whole; the mean. The whole has the range of all parts together."""
    view = quantize_aware.view(_network(CONCATENATED))
    assert sum(isinstance(m, Rounded) for m in view.modules()) == 1 + 1 + 6 + 1 + 1
    (whole,) = [
        m for m in view.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], Branches)
    ]
    ends = [[m for m in part.modules() if isinstance(m, Rounded)][-1] for part in whole[0].values()]
    quantize_aware.calibrate(view, [_image(size=32)])
    assert isinstance(whole[1], Rounded) and len(ends) == 4
    assert len({float(one.high) for one in ends}) == 4  # ranges of their own
    assert float(whole[1].high) == max(float(one.high) for one in ends)
    assert float(whole[1].low) == min(float(one.low) for one in ends) == 0.0


def test_a_scaled_branch_is_rounded_with_its_scale() -> None:
    """The input; the stem and its normalization; in each branch the depthwise convolution, the
    normalization, the first pointwise convolution where no ReLU takes its result, the function, the
    second convolution with its scale, the sum; the mean; the normalization."""
    view = quantize_aware.view(_network(SCALED))
    assert sum(isinstance(m, Rounded) for m in view.modules()) == 1 + 2 + 2 * 6 + 5 + 2
    scales = [m for m in view.modules() if isinstance(m, LayerScale)]
    layers = [m for m in view.modules() if isinstance(m, RoundedLayer)]
    assert len(scales) == 3 and [m.folded for m in layers if m.folded is not None] == scales
    quantize_aware.calibrate(view, [_image(size=32)])
    view.train()(_image(size=32)).square().sum().backward()
    assert all(m.gamma.grad is not None and bool(m.gamma.grad.any()) for m in scales)


_SAME_VALUES = ("MaxPool", "Reshape", "Transpose", "QuantizeLinear", "DequantizeLinear")


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_it_rounds_what_the_onnx_file_rounds(name: str, tmp_path: Path) -> None:
    """As many activations as the file quantizes, those counted once that have the same values."""
    onnx = pytest.importorskip("onnx")
    source = replace(sources_of(SPECS[name]), module=_network(SPECS[name]))
    path = tmp_path / "w8a8.onnx"
    export.export(
        source, "onnx", Precision.parse("w8a8"), path, calibration_folder=pictures(),
        force_calibration=True,
    )  # fmt: skip
    graph = onnx.load(path).graph
    moved = {n.output[0]: n.input[0] for n in graph.node if n.op_type in _SAME_VALUES}
    quantized = {n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    while quantized & moved.keys():
        quantized = {moved.get(one, one) for one in quantized}
    view = quantize_aware.view(_network(SPECS[name]))
    rounded = sum(isinstance(m, Rounded) for m in view.modules())
    assert rounded == len(quantized - {item.name for item in graph.initializer})


def test_weights_have_the_exporters_steps() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    rounded = quantize_aware._rounded_weight(weight)
    step = torch.from_numpy(steps(weight.numpy(), int8_without_saturation)).view(-1, 1, 1, 1)
    torch.testing.assert_close(rounded, (weight / step).round() * step)
    assert (weight - rounded).abs().max() <= step.max() / 2 + 1e-6


def test_gradients_pass_the_rounding_inside_its_range_alone() -> None:
    rounded = Rounded().eval()
    rounded.low.fill_(-1.0)
    rounded.high.fill_(2.0)
    value = torch.tensor([-3.0, -0.5, 0.0, 1.5, 5.0], requires_grad=True)
    result = rounded(value)
    result.sum().backward()
    assert value.grad is not None and value.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    step = 3.0 / 255
    assert result.tolist()[2] == 0.0  # zero stays zero
    assert result.tolist()[0] == pytest.approx(-1.0, abs=step)
    assert result.tolist()[4] == pytest.approx(2.0, abs=step)
    assert (result[1:4] - value[1:4]).abs().max() <= step / 2 + 1e-6


def test_ranges_follow_what_they_see() -> None:
    rounded = Rounded().train()
    rounded.is_watching = True
    for high in (1.0, 3.0):
        rounded(torch.tensor([-high, high]))
    assert (float(rounded.low), float(rounded.high)) == pytest.approx((-2.0, 2.0))  # the mean
    rounded.is_watching = False
    rounded(torch.tensor([0.5, 12.0]))
    assert float(rounded.high) == pytest.approx(2.0 + quantize_aware.MOMENTUM * 10.0)
    assert float(rounded.low) == pytest.approx(
        -2.0 + quantize_aware.MOMENTUM * 2.0
    )  # zero is in it
    rounded.eval()(torch.tensor([100.0]))
    assert float(rounded.high) < 3.0


def test_normalization_keeps_its_statistics() -> None:
    module = _network()
    view = quantize_aware.view(module)
    quantize_aware.calibrate(view, [_image()])
    before = {n: b.clone() for n, b in module.named_buffers()}
    view.train()
    loss = view(_image()).square().mean()
    loss.backward()
    assert all(torch.equal(before[n], b) for n, b in module.named_buffers())
    learning = ("stem0.conv.weight", "stem0.conv_bn.weight", "stem0.conv_bn.bias")
    grads = [dict(module.named_parameters())[name].grad for name in learning]
    assert all(grad is not None and float(grad.abs().sum()) > 0 for grad in grads)


def test_ranges_survive() -> None:
    view, other = (quantize_aware.view(_network()) for _ in range(2))
    quantize_aware.calibrate(view, [_image()])
    quantize_aware.restore_ranges(other, quantize_aware.ranges(view))
    with torch.no_grad():
        assert torch.equal(view.eval()(_image()), other.eval()(_image()))


def test_tuning_goes_on_bit_by_bit(tmp_path: Path) -> None:
    data = training_cases.write(tmp_path / "data")
    trained(data, tmp_path / "float", epochs=2)
    tuning = {"weights": str(tmp_path / "float" / BEST), "quantize": "w8a8", "learning_rate": 0.01}

    class StoppedError(Exception):
        pass

    def stop(epoch: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        trained(data, tmp_path / "a", Callbacks(epoch=stop), **tuning)
    first = trained(data, tmp_path / "a", **tuning)
    second = trained(data, tmp_path / "b", **tuning)
    left, right = (torch.load(tmp_path / n / LAST, weights_only=True) for n in "ab")
    assert all(torch.equal(v, right["state_dict"][k]) for k, v in left["state_dict"].items())
    ranges = [one["ranges"] for one in (left, right)]
    assert all(torch.equal(v, ranges[1][k]) for k, v in ranges[0].items())
    assert first.top1_w8a8 == second.top1_w8a8 and first.top1_w8a8 is not None


SMALL = ModelSpec.parse(
    """
    model small
    family small
    resolution 28
    dropout 0.0
    block stem_k3_s2_c8_relu
    block mbconv_r1_k3_s2_e3_c12_relu
    block mbconv_r2_k3_s2_e3_c16_relu
    block pool
    block linear_c10
    """
)
SPREAD = 200.0
TRAINED_ON, TESTED = 6000, 1000


def _with_unequal_channels(module: nn.Module) -> nn.Module:
    """The same function in floating point: the stem's channels have ranges up to SPREAD times as
    large as one another's, and the next layer's weights make up for it (ReLU lets factors through).
    Ranges that differ between channels are what rounding per tensor suffers from, as MobileNets
    show (Nagel et al., ICCV 2019, section 3.1)."""
    names = dict(module.named_modules())
    norm, following = names["stem0.conv_bn"], names["mbconv1.0.expand"]
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(following, nn.Conv2d)
    factors = torch.logspace(0, float(np.log10(SPREAD)), norm.num_features)
    with torch.no_grad():
        norm.weight *= factors
        norm.bias *= factors
        following.weight /= factors.view(1, -1, 1, 1)
    return module


def _top1(weights: Path, precision: str, format_name: str, calibration: Path, test: Path) -> float:
    source = sources.from_training(weights)
    assert source is not None
    path = weights.parent / f"{weights.stem}-{precision}{formats.get(format_name).suffix}"
    artifact = export.export(
        source, format_name, Precision.parse(precision), path, calibration_folder=calibration,
        labels=source.labels, force_calibration=True, force=True,
    )  # fmt: skip
    parity = artifact.required_contract().parity
    assert parity is not None and (precision == "fp32" or not source.tuned_for or parity.passed)
    found = evaluate(artifact, test).top1
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_tuning_wins_back_what_quantization_loses(tmp_path: Path) -> None:
    """MNIST, 6000 pictures: the figures are printed; the tolerances are those of 1000 pictures."""
    mnist = _data_folder() / "mnist"
    if not mnist.exists():
        pytest.skip(f"no {mnist}; set EDGECNN_DATA to the folder that holds it")
    recipe = replace(
        RECIPE, epochs=4, batch=64, learning_rate=0.2, limit=TRAINED_ON, held_out=1000,
        augment=Augment(shift=2),
    )  # fmt: skip
    given = {"base": SMALL, **{k: getattr(recipe, k) for k in recipe.to_dict()}}
    trained(mnist, tmp_path / "float", **given)
    source = sources.from_training(tmp_path / "float" / BEST)
    assert source is not None and source.module is not None and source.spec is not None
    unequal = tmp_path / "unequal" / "unequal.pt"
    unequal.parent.mkdir()
    origin = Origin(source.spec, source.labels)
    checkpoint.save_weights(unequal, _with_unequal_channels(source.module), origin)
    tuning = {
        "weights": str(unequal), "quantize": "w8a8", "epochs": 2, "optimizer": "adamw",
        "learning_rate": 3e-4, "weight_decay": 0.0, "label_smoothing": 0.0,
    }  # fmt: skip
    tuned = trained(mnist, tmp_path / "tuned", **given | tuning)

    train, test = load(mnist), load(mnist, "test")
    tested = written(tmp_path, test, range(0, len(test.labels), len(test.labels) // TESTED), "test")
    calibration = written(tmp_path, train, range(0, 60_000, 600), "calibration")
    assert len(list_images(tested)) == TESTED
    lossless = _top1(unequal, "fp32", "onnx", calibration, tested)
    for name in ("onnx", "tflite"):
        lost = _top1(unequal, "w8a8", name, calibration, tested)
        won = _top1(tmp_path / "tuned" / BEST, "w8a8", name, calibration, tested)
        assert won > lost
        print(f"{name}: fp32 {lossless}, quantized {lost}, tuned and quantized {won}")
        assert lost < lossless - 2
        assert won > lossless - 1
        assert tuned.top1_w8a8 == pytest.approx(won, abs=2.0)  # simulated, on all 10,000
