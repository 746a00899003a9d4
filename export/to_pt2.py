"""PyTorch: an exported program with fixed sizes, for the runtimes ``torch`` and ``torch_compiled``.

In ``fp16``, weights and activations are float16 between a float32 input and float32 logits. That is
for GPUs: PyTorch's convolutions in float16 on a CPU without such instructions are many times slower
than in float32.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.contract import OUTPUT_NAME, Layout, Recipe
from edgecnn.export import Conversion
from edgecnn.export._inputs import input_contract, torch_module
from edgecnn.export._quiet import converting
from edgecnn.export.calibration import ImageSet
from edgecnn.sources import Source

if TYPE_CHECKING:
    from torch.export import ExportedProgram

name = "pt2"
runtime = "torch"
precisions: tuple[str, ...] = ("fp32", "fp16")
requires: tuple[str, ...] = ("torch>=2.9",)
layout: Layout = "NCHW"
takes_uint8 = True


def convert(
    source: Source,
    recipe: Recipe,
    path: Path,
    *,
    calibration: ImageSet | None,
    uint8_input: bool,
) -> Conversion:
    """See :class:`edgecnn.export.Exporter`."""
    import torch

    from edgecnn.export._torch_modules import Program

    module = torch_module(source, name)
    dtype = torch.float16 if str(recipe) == "fp16" else torch.float32
    shape = input_contract(source, "NHWC" if uint8_input else layout).shape
    example = torch.zeros(shape, dtype=torch.uint8 if uint8_input else torch.float32)
    with converting(f"torch.export of {source.name}"):
        wrapped = Program(module, input_contract(source, layout), dtype, uint8_input).eval()
        with torch.no_grad():
            program = torch.export.export(wrapped, (example,))
        _strip(program)
        torch.export.save(program, path)
    return Conversion()


def _strip(program: "ExportedProgram") -> None:
    """Name the output, and drop the traces of the source files that each node carries."""
    signature = program.graph_signature
    (old,) = signature.user_outputs
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
        if node.name == old:
            node._rename(OUTPUT_NAME)
            signature.replace_all_uses(old, node.name)
