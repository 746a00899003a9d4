"""Writes edgecnn/data/published_networks.json: what ncnn executes for its benchmark's networks.

ncnn publishes latencies of networks that it names; what these names mean stands in the repository
Tencent/ncnn, benchmark/NAME.param, text files of layers. This script says the same in our terms:
executed operators with their shapes, made by the functions below from the sizes that those files
state. Checked against the files: layers, channels, strides, fused activations and shapes of
alexnet, blazeface, efficientnet_b0, efficientnetv2_b0, mnasnet, mobilenet_ssd, mobilenet_v2,
mobilenet_v3, mobilenet_yolo, mobilenetv2_yolov3, proxylessnasnet, regnety_400m, resnet18, resnet50,
shufflenet, shufflenet_v2, squeezenet and squeezenet_ssd (commits in `CHECKED`). googlenet,
mobilenet and vgg16 follow their papers' Caffe definitions, which those files are converted from.

    python samples/published_networks.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import ceil, prod
from pathlib import Path

from edgecnn.encoding import Signature

OUTPUT = Path(__file__).parents[1] / "edgecnn" / "data" / "published_networks.json"
CHECKED = {
    "alexnet": "34077b506", "blazeface": "da09e5e7f", "efficientnet_b0": "efcf582f0",
    "efficientnetv2_b0": "f867e2158", "mnasnet": "34077b506", "mobilenet_ssd": "0f64aa14e",
    "mobilenet_v2": "0ead26532", "mobilenet_v3": "9d4255a4a", "mobilenet_yolo": "0bbdbf4ff",
    "mobilenetv2_yolov3": "99fa6b2d3", "proxylessnasnet": "39a14a7b2", "regnety_400m": "6c0dea6a6",
    "resnet18": "2fe769f31", "resnet50": "34077b506", "shufflenet": "39a14a7b2",
    "shufflenet_v2": "ee9abe72d", "squeezenet": "60e826181", "squeezenet_ssd": "0220ffb9d",
}  # fmt: skip
NONE, RELU, SWISH, HSWISH = "none", "relu", "swish", "hswish"
Dims = tuple[int, ...]


class Net:
    """Operators in the making; `shape` is what the next one reads."""

    def __init__(self, size: int) -> None:
        self.shape: Dims = (3, size, size)
        self.operators: list[Signature] = []

    def add(
        self, op: str, out: Dims, act: str = NONE, kernel: int = 1, stride: int = 1,
        groups: int = 1, second: Dims = (),
    ) -> Dims:  # fmt: skip
        """One operator that reads `shape`, which becomes `out`."""
        one = Signature(op, "", act, self.shape, second, out, kernel, kernel**2, stride, groups, 1)
        self.operators.append(one)
        self.shape = out
        return out

    def conv(
        self, filters: int, kernel: int = 1, stride: int = 1, act: str = RELU, groups: int = 1,
        pad: int | None = None,
    ) -> Dims:  # fmt: skip
        """A convolution; ReLU is part of it, other activations are operators of their own."""
        channels, size, _ = self.shape
        pad = kernel // 2 if pad is None else pad
        side = (size + 2 * pad - kernel) // stride + 1
        op = "depthwise_conv" if groups == channels and groups > 1 else "conv"
        own = act if act in (RELU, "sigmoid") else NONE
        self.add(op, (filters, side, side), own, kernel, stride, groups)
        if act not in (NONE, own):
            self.add(act, self.shape)
        return self.shape

    def depthwise(self, kernel: int, stride: int = 1, act: str = RELU) -> Dims:
        return self.conv(self.shape[0], kernel, stride, act, self.shape[0])

    def pool(self, kernel: int, stride: int, op: str = "max_pool", pad: int = 0) -> Dims:
        """Caffe's: the last window may hang over the edge."""
        channels, size, _ = self.shape
        side = ceil((size + 2 * pad - kernel) / stride) + 1
        return self.add(op, (channels, side, side), kernel=kernel, stride=stride)

    def mean(self) -> Dims:
        return self.add("global_pool", (self.shape[0], 1, 1), kernel=self.shape[1])

    def linear(self, features: int, act: str = NONE) -> Dims:
        self.shape = (prod(self.shape),)
        return self.add("linear", (features,), act)

    def classify(self) -> None:
        self.mean()
        self.linear(1000)
        self.add("softmax", self.shape)

    def join(self, shortcut: Dims, act: str = NONE) -> None:
        """Addition of a shortcut, then perhaps an activation of its own."""
        assert shortcut == self.shape, (shortcut, self.shape)
        self.add("add", self.shape, second=shortcut)
        if act != NONE:
            self.add(act, self.shape)

    def concat(self, *parts: Dims) -> Dims:
        self.shape = parts[0]
        rest = (sum(one[0] for one in parts[1:]), *parts[0][1:])
        return self.add("concat", (parts[0][0] + rest[0], *parts[0][1:]), second=rest)

    def squeeze_excite(self, reduced: int, inner: str, gate: str) -> None:
        body = self.mean() and self.operators[-1].in_shape
        self.conv(reduced, act=inner)
        self.conv(body[0], act=gate)
        factors, self.shape = self.shape, body
        self.add("mul", body, second=factors)


def alexnet() -> Net:
    net = Net(227)
    net.conv(96, 11, 4, pad=0)
    net.add("lrn", net.shape)
    net.pool(3, 2)
    net.conv(256, 5, groups=2)
    net.add("lrn", net.shape)
    net.pool(3, 2)
    net.conv(384, 3)
    net.conv(384, 3, groups=2)
    net.conv(256, 3, groups=2)
    net.pool(3, 2)
    net.linear(4096, RELU)
    net.linear(4096, RELU)
    net.linear(1000)
    net.add("softmax", net.shape)
    return net


def vgg16() -> Net:
    net = Net(224)
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            net.conv(filters, 3)
        net.pool(2, 2)
    net.linear(4096, RELU)
    net.linear(4096, RELU)
    net.linear(1000)
    net.add("softmax", net.shape)
    return net


def googlenet() -> Net:
    net = Net(224)
    net.conv(64, 7, 2)
    net.pool(3, 2)
    net.add("lrn", net.shape)
    net.conv(64)
    net.conv(192, 3)
    net.add("lrn", net.shape)
    net.pool(3, 2)
    for a, b, c, d, e, f in ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)):
        _inception(net, a, b, c, d, e, f)
    net.pool(3, 2)
    for a, b, c, d, e, f in (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ):  # fmt: skip
        _inception(net, a, b, c, d, e, f)
    net.pool(3, 2)
    for a, b, c, d, e, f in ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)):
        _inception(net, a, b, c, d, e, f)
    net.classify()
    return net


def _inception(net: Net, one: int, r3: int, three: int, r5: int, five: int, pooled: int) -> None:
    start, parts = net.shape, [net.conv(one)]
    for reduced, filters, kernel in ((r3, three, 3), (r5, five, 5)):
        net.shape = start
        net.conv(reduced)
        parts.append(net.conv(filters, kernel))
    net.shape = start
    net.pool(3, 1, pad=1)
    parts.append(net.conv(pooled))
    net.concat(*parts)


def _fire(net: Net, squeeze: int, expand: int) -> Dims:
    start = net.conv(squeeze)
    left = net.conv(expand)
    net.shape = start
    return net.concat(left, net.conv(expand, 3))


def _squeezenet_body(net: Net) -> tuple[Dims, Dims]:
    net.conv(64, 3, 2, pad=0)
    net.pool(3, 2)
    _fire(net, 16, 64)
    _fire(net, 16, 64)
    net.pool(3, 2)
    _fire(net, 32, 128)
    early = _fire(net, 32, 128)
    net.pool(3, 2)
    for squeeze, expand in ((48, 192), (48, 192), (64, 256), (64, 256)):
        _fire(net, squeeze, expand)
    return early, net.shape


def squeezenet() -> Net:
    net = Net(227)
    _squeezenet_body(net)
    net.conv(1000, pad=1)
    net.mean()
    net.add("softmax", net.shape)
    return net


def squeezenet_ssd() -> Net:
    net = Net(300)
    early, late = _squeezenet_body(net)
    heads = [(early, 4), (late, 6)]
    for _ in range(2):
        net.pool(3, 2)
        heads.append((_fire(net, 96, 384), 6))
    for reduced, filters, boxes in ((128, 256, 6), (64, 128, 4)):
        net.conv(reduced)
        heads.append((net.conv(filters, 3, 2), boxes))
    net.shape = early
    net.add("batch_norm", early)
    _boxes(net, heads, 3)
    return net


def _boxes(net: Net, heads: Sequence[tuple[Dims, int]], kernel: int) -> None:
    """SSD's outputs: places and 21 classes of `boxes` boxes at every pixel of some maps."""
    total = 0
    for shape, boxes in heads:
        for values in (4, 21):
            net.shape = shape
            net.conv(values * boxes, kernel, act=NONE)
            net.add("transpose", net.shape)
        total += boxes * shape[1] * shape[2]
    net.shape = (total, 21)
    net.add("softmax", net.shape)


def _mobilenet_body(net: Net) -> tuple[Dims, Dims]:
    net.conv(32, 3, 2)
    late: Dims = ()
    for filters, stride in (
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
        (512, 1), (512, 1), (1024, 2), (1024, 1),
    ):  # fmt: skip
        net.depthwise(3, stride)
        net.conv(filters)
        late = net.shape if filters == 512 else late
    return late, net.shape


def mobilenet() -> Net:
    net = Net(224)
    _mobilenet_body(net)
    net.classify()
    return net


def mobilenet_ssd() -> Net:
    net = Net(300)
    late, last = _mobilenet_body(net)
    heads = [(late, 3), (last, 6)]
    for reduced, filters in ((256, 512), (128, 256), (128, 256), (64, 128)):
        net.conv(reduced)
        heads.append((net.conv(filters, 3, 2), 6))
    _boxes(net, heads, 1)
    return net


def mobilenet_yolo() -> Net:
    net = Net(416)
    _mobilenet_body(net)
    net.conv(256)
    coarse = net.conv(1024, 3)
    net.add("deconv", (256, 26, 26), kernel=4, stride=2, groups=256)
    net.conv(1024, 3)
    net.conv(256)
    net.conv(1024, 3)
    net.conv(125, act=NONE)
    net.shape = coarse
    net.conv(125, act=NONE)
    return net


def _inverted(net: Net, expanded: int, kernel: int, stride: int, filters: int) -> None:
    start = net.shape
    if expanded:
        net.conv(expanded)
    net.depthwise(kernel, stride)
    net.conv(filters, act=NONE)
    if start == net.shape:
        net.join(start)


_MOBILENET_V2 = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def mobilenet_v2() -> Net:
    net = Net(224)
    net.conv(32, 3, 2)
    _inverted(net, 32, 3, 1, 16)
    for filters, count, stride in _MOBILENET_V2:
        for index in range(count):
            _inverted(net, 6 * net.shape[0], 3, 1 if index else stride, filters)
    net.conv(1280)
    net.classify()
    return net


def mobilenetv2_yolov3() -> Net:
    net = Net(352)
    net.conv(32, 3, 2)
    _inverted(net, 0, 3, 1, 16)
    fine: Dims = ()
    for filters, count, stride in _MOBILENET_V2:
        for index in range(count):
            _inverted(net, 6 * net.shape[0], 3, 1 if index else stride, filters)
        if filters == 96:
            fine = (576, *net.shape[1:])
    net.conv(1280)
    net.depthwise(3)
    coarse = net.conv(576)
    net.add("deconv", (576, 21, 21), stride=2, groups=576)
    net.pool(2, 1, pad=1)
    upper, net.shape = fine, fine
    net.depthwise(3)
    net.conv(576)
    net.join(upper)
    net.depthwise(3)
    net.conv(576)
    net.conv(75, act=NONE)
    net.shape = coarse
    net.conv(75, act=NONE)
    return net


def mobilenet_v3() -> Net:
    net = Net(224)
    net.conv(16, 3, 2, NONE)
    net.add("hsigmoid", net.shape)
    net.add("mul", net.shape, second=net.shape)
    for expanded, kernel, stride, filters, reduced, act in (
        (0, 3, 1, 16, 0, RELU), (64, 3, 2, 24, 0, RELU), (72, 3, 1, 24, 0, RELU),
        (72, 5, 2, 40, 18, RELU), (120, 5, 1, 40, 30, RELU), (120, 5, 1, 40, 30, RELU),
        (240, 3, 2, 80, 0, HSWISH), (200, 3, 1, 80, 0, HSWISH), (184, 3, 1, 80, 0, HSWISH),
        (184, 3, 1, 80, 0, HSWISH), (480, 3, 1, 112, 120, HSWISH), (672, 3, 1, 112, 168, HSWISH),
        (672, 5, 1, 160, 168, HSWISH), (672, 5, 2, 160, 168, HSWISH), (960, 5, 1, 160, 240, HSWISH),
    ):  # fmt: skip
        start = net.shape
        if expanded:
            net.conv(expanded, act=act)
        if reduced:
            net.depthwise(kernel, stride, NONE)
            net.squeeze_excite(reduced, RELU, "hsigmoid")
            net.add(act, net.shape)
        else:
            net.depthwise(kernel, stride, act)
        net.conv(filters, act=NONE)
        if start == net.shape:
            net.join(start)
    net.conv(960, act=HSWISH)
    net.mean()
    net.add(HSWISH, net.shape)
    net.linear(1280)
    net.add(HSWISH, net.shape)
    net.linear(1000)
    net.add("softmax", net.shape)
    return net


def mnasnet() -> Net:
    net = Net(224)
    net.conv(32, 3, 2)
    _inverted(net, 0, 3, 1, 16)
    for expand, kernel, stride, filters, count in (
        (3, 3, 2, 24, 3), (3, 5, 2, 40, 3), (6, 5, 2, 80, 3), (6, 3, 1, 96, 2), (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ):  # fmt: skip
        for index in range(count):
            _inverted(net, expand * net.shape[0], kernel, 1 if index else stride, filters)
    net.conv(1280)
    net.classify()
    return net


def proxylessnasnet() -> Net:
    net = Net(224)
    net.conv(32, 3, 2)
    _inverted(net, 0, 3, 1, 32)
    net.operators.pop()  # the first block has no shortcut
    for expanded, kernel, stride, filters in (
        (48, 5, 2, 32), (96, 3, 1, 32), (96, 7, 2, 40), (120, 3, 1, 40), (120, 5, 1, 40),
        (120, 5, 1, 40), (240, 7, 2, 80), (240, 5, 1, 80), (240, 5, 1, 80), (240, 5, 1, 80),
        (480, 5, 1, 96), (288, 5, 1, 96), (288, 5, 1, 96), (288, 5, 1, 96), (576, 7, 2, 192),
        (1152, 7, 1, 192), (576, 7, 1, 192), (576, 7, 1, 192), (1152, 7, 1, 320),
    ):  # fmt: skip
        _inverted(net, expanded, kernel, stride, filters)
    net.conv(1280)
    net.classify()
    return net


def efficientnet_b0() -> Net:
    net = Net(224)
    net.conv(32, 3, 2, SWISH)
    for expand, kernel, stride, filters, count in (
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
    ):  # fmt: skip
        for index in range(count):
            _swish_block(net, expand, kernel, 1 if index else stride, filters)
    net.conv(1280, act=SWISH)
    net.classify()
    return net


def _swish_block(
    net: Net, expand: int, kernel: int, stride: int, filters: int, extra: bool = False
) -> None:
    """With squeeze-excite; `extra`: the last convolution's bias is an operator of its own."""
    start = net.shape
    if expand != 1:
        net.conv(expand * start[0], act=SWISH)
    net.depthwise(kernel, stride, SWISH)
    net.squeeze_excite(start[0] // 4, SWISH, "sigmoid")
    net.conv(filters, act=NONE)
    if start == net.shape:
        net.join(start)
        if extra:
            net.add("add", net.shape, second=(filters, 1, 1))


def efficientnetv2_b0() -> Net:
    net = Net(224)
    net.conv(32, 3, 2, SWISH)
    net.conv(16, 3, act=SWISH)
    for filters in (32, 48):
        for stride in (2, 1):
            start = net.shape
            net.conv(4 * start[0], 3, stride, SWISH)
            net.conv(filters, act=NONE)
            if start == net.shape:
                net.join(start)
                net.add("add", net.shape, second=(filters, 1, 1))
    for expand, stride, filters, count in ((4, 2, 96, 3), (6, 1, 112, 5), (6, 2, 192, 8)):
        for index in range(count):
            _swish_block(net, expand, 3, 1 if index else stride, filters, extra=True)
    net.conv(1280, act=SWISH)
    net.mean()
    net.linear(1000)
    return net


def regnety_400m() -> Net:
    net = Net(224)
    net.conv(32, 3, 2)
    for filters, count in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for index in range(count):
            start = net.shape
            shortcut = start if index else net.conv(filters, 1, 2, NONE)
            net.shape = start
            net.conv(filters)
            net.conv(filters, 3, 1 if index else 2, groups=filters // 8)
            net.squeeze_excite(start[0] // 4, RELU, "sigmoid")
            net.conv(filters, act=NONE)
            net.join(shortcut, RELU)
    net.classify()
    return net


def resnet18() -> Net:
    net = _resnet_stem()
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for index in range(2):
            start = net.shape
            shortcut = start if index else net.conv(filters, 1, stride, NONE)
            net.shape = start
            net.conv(filters, 3, 1 if index else stride)
            net.conv(filters, 3, act=NONE)
            net.join(shortcut, RELU)
    net.classify()
    return net


def resnet50() -> Net:
    """Caffe's: the first convolution of a block has the stride."""
    net = _resnet_stem()
    for filters, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(count):
            start = net.shape
            shortcut = start if index else net.conv(4 * filters, 1, stride, NONE)
            net.shape = start
            net.conv(filters, 1, 1 if index else stride)
            net.conv(filters, 3)
            net.conv(4 * filters, act=NONE)
            net.join(shortcut, RELU)
    net.classify()
    return net


def _resnet_stem() -> Net:
    net = Net(224)
    net.conv(64, 7, 2)
    net.pool(3, 2)
    return net


def shufflenet() -> Net:
    """Version 1, 3 groups."""
    net = Net(224)
    net.conv(24, 3, 2)
    net.pool(3, 2)
    for stage, (filters, count) in enumerate(((240, 4), (480, 8), (960, 4))):
        for index in range(count):
            start = net.shape
            shortcut = start if index else net.pool(3, 2, "avg_pool")
            net.shape = start
            # The middle of a stage's first block has a quarter of what leaves the convolutions.
            inner = (filters if index else (216, 240, 480)[stage]) // 4
            net.conv(inner, groups=3 if stage or index else 1)
            if stage or index:
                net.add("transpose", net.shape)
            net.depthwise(3, 1 if index else 2, NONE)
            net.conv(filters if index else filters - start[0], act=NONE, groups=3)
            if index:
                net.join(shortcut, RELU)
            else:
                net.concat(shortcut, net.shape)
                net.add(RELU, net.shape)
    net.mean()
    net.conv(1000, act=NONE)
    return net


def shufflenet_v2() -> Net:
    net = Net(224)
    net.conv(24, 3, 2)
    net.pool(3, 2)
    for half, count in ((58, 4), (116, 8), (232, 4)):
        for index in range(count):
            start = net.shape
            if index:
                net.add("slice", (half, *start[1:]))
                left = net.shape
            else:
                net.depthwise(3, 2, NONE)
                left = net.conv(half)
                net.shape = start
            net.conv(half)
            net.depthwise(3, 1 if index else 2, NONE)
            net.concat(left, net.conv(half))
            net.add("transpose", net.shape)
    net.conv(1024)
    net.classify()
    return net


def blazeface() -> Net:
    net = Net(128)
    net.add("pad", (3, 131, 131))
    net.conv(24, 5, 2, NONE, pad=0)
    net.add(RELU, net.shape)
    for filters, stride in (
        (24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1),
        (88, 1), (96, 2), (96, 1), (96, 1), (96, 1), (96, 1),
    ):  # fmt: skip
        start = net.shape
        if stride == 2:
            net.pool(2, 2)
        shortcut = net.shape
        if filters != start[0]:
            shortcut = net.add("pad", (filters, *shortcut[1:]))
        net.shape = start
        if stride == 2:
            net.add("pad", (start[0], start[1] + 2, start[2] + 2))
            net.conv(start[0], 3, 2, NONE, start[0], pad=0)
        else:
            net.depthwise(3, 1, NONE)
        net.conv(filters, act=NONE)
        net.join(shortcut, RELU)
    return net


NETWORKS: tuple[Callable[[], Net], ...] = (
    alexnet, blazeface, efficientnet_b0, efficientnetv2_b0, googlenet, mnasnet, mobilenet,
    mobilenet_ssd, mobilenet_v2, mobilenet_v3, mobilenet_yolo, mobilenetv2_yolov3, proxylessnasnet,
    regnety_400m, resnet18, resnet50, shufflenet, shufflenet_v2, squeezenet, squeezenet_ssd, vgg16,
)  # fmt: skip


def _fields(of: Signature) -> list[object]:
    """Without the runtime's name and the dilation, which is 1; `area` is the kernel's square."""
    return [of.op, of.activation, of.in_shape, of.second_shape, of.out_shape, of.kernel, of.stride,
            of.groups]  # fmt: skip


def main() -> None:
    lines = []
    for make in NETWORKS:
        name = make.__name__
        rows = ",\n  ".join(
            json.dumps(_fields(one), separators=(",", ":")) for one in make().operators
        )
        lines.append(f" {json.dumps(name)}: [\n  {rows}]")
    source = {name: f"Tencent/ncnn benchmark/{name}.param@{at}" for name, at in CHECKED.items()}
    head = json.dumps({"schema": 1, "checked_against": source})[:-1]
    OUTPUT.write_text(head + ',\n"networks": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
