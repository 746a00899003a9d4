"""The processors of a machine as /proc/cpuinfo tells them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecnn.machine._files import SYSTEM, text

ISA_FLAGS = frozenset({
    "sse4_1", "ssse3", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl",
    "avx512_vnni", "avx_vnni", "avx_vnni_int8", "avx512_fp16", "avx512_bf16", "amx_int8",
    "amx_bf16", "neon", "asimd", "asimdhp", "fphp", "asimddp", "i8mm", "bf16", "sve", "sve2",
    "svei8mm",
})  # fmt: skip
"""Vector instructions that neural network kernels look for, as /proc/cpuinfo names them."""

VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})

_FEATURES: dict[str, frozenset[str]] = {
    "dotprod": frozenset({"asimddp"}),
    "i8mm": frozenset({"i8mm"}),
    "fp16": frozenset({"fphp", "asimdhp", "avx512_fp16"}),
    "bf16": frozenset({"bf16", "avx512_bf16", "amx_bf16"}),
    "sve": frozenset({"sve"}),
    "vnni": VNNI_FLAGS,
}
"""What people call these instructions: any of the flags will do."""

FEATURES = tuple(_FEATURES)

_ARM, _BROADCOM, _NVIDIA, _QUALCOMM = 0x41, 0x42, 0x4E, 0x51

# Source: Linux, arch/arm64/include/asm/cputype.h (ARM_CPU_PART_*, QCOM_CPU_PART_*, ...).
_NAMES = {
    (_ARM, 0xD03): "Cortex-A53", (_ARM, 0xD04): "Cortex-A35", (_ARM, 0xD05): "Cortex-A55",
    (_ARM, 0xD07): "Cortex-A57", (_ARM, 0xD08): "Cortex-A72", (_ARM, 0xD09): "Cortex-A73",
    (_ARM, 0xD0A): "Cortex-A75", (_ARM, 0xD0B): "Cortex-A76", (_ARM, 0xD0C): "Neoverse-N1",
    (_ARM, 0xD0D): "Cortex-A77", (_ARM, 0xD0E): "Cortex-A76AE", (_ARM, 0xD40): "Neoverse-V1",
    (_ARM, 0xD41): "Cortex-A78", (_ARM, 0xD42): "Cortex-A78AE", (_ARM, 0xD44): "Cortex-X1",
    (_ARM, 0xD46): "Cortex-A510", (_ARM, 0xD47): "Cortex-A710", (_ARM, 0xD48): "Cortex-X2",
    (_ARM, 0xD49): "Neoverse-N2", (_ARM, 0xD4B): "Cortex-A78C", (_ARM, 0xD4C): "Cortex-X1C",
    (_ARM, 0xD4D): "Cortex-A715", (_ARM, 0xD4E): "Cortex-X3", (_ARM, 0xD4F): "Neoverse-V2",
    (_ARM, 0xD80): "Cortex-A520", (_ARM, 0xD81): "Cortex-A720", (_ARM, 0xD82): "Cortex-X4",
    (_ARM, 0xD83): "Neoverse-V3AE", (_ARM, 0xD84): "Neoverse-V3", (_ARM, 0xD85): "Cortex-X925",
    (_ARM, 0xD87): "Cortex-A725", (_ARM, 0xD89): "Cortex-A720AE", (_ARM, 0xD8E): "Neoverse-N3",
    (_BROADCOM, 0x100): "Brahma-B53",
    (_NVIDIA, 0x003): "Denver", (_NVIDIA, 0x004): "Carmel",
    (_QUALCOMM, 0x001): "Oryon X1", (_QUALCOMM, 0x200): "Kryo",
    (_QUALCOMM, 0x800): "Kryo 2xx Gold", (_QUALCOMM, 0x801): "Kryo 2xx Silver",
    (_QUALCOMM, 0x802): "Kryo 3xx Gold", (_QUALCOMM, 0x803): "Kryo 3xx Silver",
    (_QUALCOMM, 0x804): "Kryo 4xx Gold", (_QUALCOMM, 0x805): "Kryo 4xx Silver",
}  # fmt: skip


@dataclass(frozen=True)
class Core:
    """One processor. ``name`` is its design (``Cortex-A76``), or what x86 calls the model."""

    index: int
    name: str
    flags: frozenset[str]
    mhz: float | None
    """The clock at the moment of reading; only x86 tells it here."""


def core_name(implementer: int, part: int) -> str:
    """Return the name of an ARM core; ``0x41 0xd99`` where it is not in the kernel's list."""
    return _NAMES.get((implementer, part), f"{implementer:#x} {part:#x}")


def read(root: Path = SYSTEM) -> tuple[Core, ...]:
    """Return the processors that are online; none where the machine does not tell them."""
    return parse(text(root, "proc/cpuinfo"))


def parse(cpuinfo: str) -> tuple[Core, ...]:
    """Return the processors in the text of /proc/cpuinfo."""
    blocks = list(_blocks(cpuinfo))
    # ARM kernels before 3.19 list the processors first and tell once what they all are.
    last = blocks[-1] if blocks else {}
    return tuple(
        Core(
            index=int(block["processor"]),
            name=_name(last | block),
            flags=frozenset((last | block).get("flags", "").split()),
            mhz=_mhz(block),
        )
        for block in blocks
        if block["processor"].isascii() and block["processor"].isdecimal()
    )


def isa_flags(cores: Iterable[Core]) -> tuple[str, ...]:
    """Return the vector instruction flags that all ``cores`` share, sorted."""
    flags = [core.flags for core in cores]
    return tuple(sorted(frozenset.intersection(ISA_FLAGS, *flags))) if flags else ()


def has(feature: str, isa: Iterable[str]) -> bool:
    """Say whether ``feature`` (one of ``FEATURES``) is among the flags ``isa``."""
    return not _FEATURES[feature].isdisjoint(isa)


def model(cores: Iterable[Core]) -> str | None:
    """Return the names of the cores, each once: ``Cortex-A55 + Cortex-A76``."""
    return " + ".join(dict.fromkeys(core.name for core in cores)) or None


def _blocks(cpuinfo: str) -> Iterator[dict[str, str]]:
    block: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and colon:
            if block:
                yield block
            block = {"processor": value}
        elif block and colon:
            # The same list has another name on x86.
            block["flags" if key == "Features" else key] = value
    if block:
        yield block


def _name(block: Mapping[str, str]) -> str:
    try:
        return core_name(int(block["CPU implementer"], 0), int(block["CPU part"], 0))
    except (KeyError, ValueError):
        return block.get("model name", "unknown")


def _mhz(block: Mapping[str, str]) -> float | None:
    try:
        return float(block["cpu MHz"])
    except (KeyError, ValueError):
        return None
