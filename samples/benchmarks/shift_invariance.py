"""Stride against blur-then-stride, trained: accuracy and agreement under shifts on CIFAR-10.

    python samples/benchmarks/shift_invariance.py [--cifar CIFAR10.zip] [--json FILE]

MobileNetV2 of width 0.35 for 32 pixels is trained twice by one recipe with the same pictures and
seeds: as it is, and with the stride of each convolution behind a binomial blur (Zhang, "Making
Convolutional Networks Shift-Invariant Again", ICML 2019, arXiv 1904.11486). Then pictures that were
not trained on are moved by 0 to 4 pixels, down and to the right, zeros coming in, as they were
in training. `edgecnn shifts` does the same to a network that was trained without the blur.

Short: differences count, and no accuracy here is one to quote.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import machine, photographs
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgecnn import families, network, shifts, strides, train_data
from edgecnn.spec import ModelSpec

SMALL, OUTPUT_STRIDE = "mobilenet_v2@w0.35,r32", 16
RATE, DECAY, BATCH, SHIFT = 0.1, 5e-4, 64, 4
TEST_BATCH = 250


def main() -> None:
    """Train, move, count."""
    options = arguments()
    torch.set_num_threads(options.threads)
    pictures = train_data.load(options.cifar or photographs().parent / "cifar10.zip")
    base = strides.with_output_stride(families.get(SMALL), OUTPUT_STRIDE)
    spec = pictures.adapted(base)
    kept, moved = train_data.split(pictures.labels, options.held_out, options.train_limit, 0)
    pixels = torch.from_numpy(pictures.squares(spec)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(pictures.labels)
    print(machine("torch"))
    print(f"{spec.name}, {len(kept)} pictures, {options.epochs} epochs, {len(moved)} to be moved")
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for taps in (1, *options.taps):
            trained = fit(spec, taps, pixels[kept], labels[kept], options.epochs, seed)
            best = classes(trained, spec, pixels[moved])
            found = shifts.Answers(f"taps {taps}", best, pictures.labels[moved])
            rows.append(row(found, taps, seed))
            print(f"seed {seed}, {say(taps)}: {describe(rows[-1])}", flush=True)
    for taps in (1, *options.taps):
        print(f"all seeds, {say(taps)}: {describe(mean([r for r in rows if r['taps'] == taps]))}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine("torch"), "rows": rows}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="By default cifar10.zip beside the photographs.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--taps", type=int, nargs="*", default=[3], help="Of the blurs.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-limit", type=int, default=10_000, help="Pictures of an epoch.")
    parser.add_argument("--held-out", type=int, default=5000, help="Pictures that are moved.")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def say(taps: int) -> str:
    return "stride" if taps == 1 else f"blur of {taps} taps, stride"


def describe(row: dict[str, Any]) -> str:
    top1 = row["top1"]
    return (
        f"{top1[0]:.2f} % right unmoved, {statistics.mean(top1):.2f} % over all shifts; pairs of "
        f"shifts with one class {row['consistency']:.2f} %"
    )


def row(found: shifts.Answers, taps: int, seed: int) -> dict[str, Any]:
    return {"taps": taps, "seed": seed, "consistency": found.consistency,
            "agreement": list(found.agreement), "top1": list(found.top1 or ())}  # fmt: skip


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "top1": np.mean([one["top1"] for one in rows], axis=0).tolist(),
        "consistency": statistics.mean(one["consistency"] for one in rows),
    }


def fit(
    spec: ModelSpec, taps: int, pixels: Tensor, labels: Tensor, epochs: int, seed: int
) -> nn.Module:
    """SGD with momentum, the rate falling along a cosine; pictures mirrored and moved."""
    torch.manual_seed(seed)
    built = network.build(spec)
    module = shifts.blurred(built, taps) if taps > 1 else built
    module = module.to(memory_format=torch.channels_last).train()
    steps = epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.SGD(
        module.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(pixels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            logits = module(normalized(varied(pixels[chosen]), spec))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return module.eval()


def varied(pixels: Tensor) -> Tensor:
    """Half of the pictures mirrored, each moved by up to SHIFT pixels, zeros coming in."""
    mirrored = torch.rand(len(pixels)) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    padded = functional.pad(pixels, (SHIFT,) * 4)
    size = pixels.shape[-1]
    ends = torch.randint(0, 2 * SHIFT + 1, (len(pixels), 2)).tolist()
    return torch.stack(
        [one[:, y : y + size, x : x + size] for one, (y, x) in zip(padded, ends, strict=True)]
    )


def normalized(pixels: Tensor, spec: ModelSpec) -> Tensor:
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (spec.conventions.mean, spec.conventions.std)
    )
    return (pixels.float() - mean) / std


def classes(module: nn.Module, spec: ModelSpec, pixels: Tensor) -> NDArray[np.int64]:
    """(pictures, shifts): the class of each picture, moved by 0 to SHIFT pixels."""
    size = pixels.shape[-1]
    padded = functional.pad(pixels, (SHIFT, 0, SHIFT, 0))
    found = []
    with torch.inference_mode():
        for step in range(SHIFT + 1):
            first = SHIFT - step
            moved = padded[:, :, first : first + size, first : first + size]
            parts = [module(normalized(part, spec)).argmax(1) for part in moved.split(TEST_BATCH)]
            found.append(torch.cat(parts))
    return torch.stack(found, dim=1).numpy()


if __name__ == "__main__":
    main()
