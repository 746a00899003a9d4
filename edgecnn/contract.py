"""The contract that travels inside an artifact, and the values that it is made of.

The contract is JSON. It lies in ``metadata_props["edgecnn"]`` of an ONNX file, in a metadata
buffer named ``edgecnn`` of a TFLite file, and in a member of the other, zip-based formats.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from edgecnn.errors import ArtifactError, UsageError

SCHEMA = 1
CONTRACT_KEY = "edgecnn"
UNKNOWN_PRECISION = "unknown"
INPUT_NAME = "image"
OUTPUT_NAME = "logits"
INTERPOLATIONS = ("bicubic", "bilinear", "area", "nearest")
COLORS = {"RGB": 3, "gray": 1}
"""What a pixel is, and its number of values. Gray is the luma of `preprocess`."""

Layout = Literal["NCHW", "NHWC"]
T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """A tensor at the edge of a model file.

    ``shape`` holds -1 for a dimension that is not fixed. ``dtype`` is a numpy name. ``layout`` is
    None where the tensor is no image. ``scale`` and ``zero_point`` are set where the tensor itself
    is quantized: real = scale * (value - zero_point).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout | None = None
    scale: float | None = None
    zero_point: int | None = None


def image_layout(shape: tuple[int, ...]) -> Layout | None:
    """Return the layout that a 4-d shape with three channels, or one, can only have, else None."""
    if len(shape) != 4:
        return None
    for channels in COLORS.values():
        if (shape[1] == channels) != (shape[3] == channels):
            return "NCHW" if shape[1] == channels else "NHWC"
    return None


def color_of(channels: int) -> str:
    """Return what a pixel of so many values is, one of ``COLORS``.

    Raises:
        UsageError: neither three nor one.
    """
    for color, count in COLORS.items():
        if count == channels:
            return color
    raise UsageError(f"a pixel has {channels} values; allowed: 3 (RGB) or 1 (gray).")


@dataclass(frozen=True)
class Recipe:
    """How the numbers of a model are stored and computed. Its name decodes: ``w8a32``.

    ``w8a8`` is static: per-channel symmetric int8 weights and per-tensor 8-bit activations whose
    ranges come from calibration images. ``w8a32`` keeps activations in float: weights are int8 and
    activations are never calibrated.
    """

    weight_bits: int
    activation_bits: int

    _NAMES: ClassVar[dict[str, tuple[int, int]]] = {
        "fp32": (32, 32),
        "fp16": (16, 16),
        "w8a8": (8, 8),
        "w8a16": (8, 16),
        "w8a32": (8, 32),
    }

    def __post_init__(self) -> None:
        if (self.weight_bits, self.activation_bits) not in self._NAMES.values():
            raise UsageError(
                f"no recipe has {self.weight_bits}-bit weights with {self.activation_bits}-bit "
                f"activations; allowed: {', '.join(self._NAMES)}."
            )

    @classmethod
    def parse(cls, name: str) -> "Recipe":
        """Read ``fp32``, ``fp16``, ``w8a8``, ``w8a16`` or ``w8a32``.

        Raises:
            UsageError: another name.
        """
        if name not in cls._NAMES:
            raise UsageError(f"unknown precision {name!r}; allowed: {', '.join(cls._NAMES)}.")
        return cls(*cls._NAMES[name])

    def __str__(self) -> str:
        pair = (self.weight_bits, self.activation_bits)
        return next(name for name, bits in self._NAMES.items() if bits == pair)

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges have to be measured on images."""
        return self.is_quantized and self.activation_bits < 32

    @property
    def is_quantized(self) -> bool:
        """Whether any number is stored as an integer."""
        return self.weight_bits <= 8


@dataclass(frozen=True)
class InputContract:
    """What the image input expects, and how to make it from a photograph.

    An RGB photograph is resized so that its shorter side is ``imgsz / crop_pct`` pixels, its
    centre square of ``imgsz`` is cut out, made gray where ``color`` says so, and each pixel value x
    (0 to 255) of channel c becomes ``(x - mean[c]) / std[c]``. Where ``dtype`` is ``uint8`` the
    file normalizes by itself and takes the cut-out pixels as they are.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    imgsz: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    color: str = "RGB"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"unknown interpolation {self.interpolation!r}; "
                f"allowed: {', '.join(INTERPOLATIONS)}."
            )
        if not 0.0 < self.crop_pct <= 1.0:
            raise UsageError(f"crop_pct is {self.crop_pct}; it must be above 0 and at most 1.")
        if any(value == 0.0 for value in self.std):
            raise UsageError(f"std is {list(self.std)}; no channel may be 0.")
        if self.color not in COLORS:
            raise UsageError(f"unknown color {self.color!r}; allowed: {', '.join(COLORS)}.")
        channels = COLORS[self.color]
        if not len(self.mean) == len(self.std) == channels:
            raise UsageError(
                f"mean {list(self.mean)} and std {list(self.std)}: a {self.color} pixel has "
                f"{channels} values, and needs as many of each."
            )


@dataclass(frozen=True)
class OutputContract:
    """The classification output; ``labels`` holds one name per class, or nothing."""

    name: str
    classes: int
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != self.classes:
            raise ArtifactError(
                f"{len(self.labels)} labels for {self.classes} classes; pass a file with one label "
                "per line, in the order of the classes."
            )


@dataclass(frozen=True)
class Quantization:
    """How a file was quantized, and on which images: their count and a digest of their bytes.

    ``saturation_free`` says that no kernel which adds pairs of 8-bit products in 16 bits (x86
    without VNNI) can saturate on the file's weights.
    """

    scheme: str
    calibration_images: int = 0
    calibration_sha256: str = ""
    saturation_free: bool = False


@dataclass(frozen=True)
class Golden:
    """An input that any machine can make, and the output that the file gave for it at the desk.

    ``atol`` is how far another machine may be off with the same ``runtime``. Where activations are
    8-bit, ``step`` is the quantization step of the logits, or where they are float32 a 255th of
    their span, and ``atol`` is one step.
    """

    recipe: str
    expected: tuple[float, ...]
    atol: float
    runtime: str
    step: float | None = None


@dataclass(frozen=True)
class Parity:
    """The exported file against the PyTorch original on the same inputs.

    ``max_abs`` and ``mean_abs`` are differences of logits, ``cosine`` is the smallest cosine of
    the logits of an image, ``top1_agreement`` the share of images with the same top-1.
    """

    images: int
    inputs: str
    max_abs: float
    mean_abs: float
    cosine: float
    top1_agreement: float
    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Contract:
    """All that a model file says of itself."""

    name: str
    source: str
    source_sha256: str
    weights: str
    precision: str
    input: InputContract
    output: OutputContract
    quantization: Quantization | None = None
    golden: Golden | None = None
    parity: Parity | None = None
    created_with: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def recipe(self) -> Recipe | None:
        """The precision as a value; None for a foreign file, which does not say."""
        return None if self.precision == UNKNOWN_PRECISION else Recipe.parse(self.precision)

    def to_json(self) -> str:
        """Return the contract as one line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: Path | str = "contract") -> "Contract":
        """Read what :meth:`to_json` wrote.

        Raises:
            ArtifactError: the text is no JSON, of another schema, or lacks a key.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ArtifactError(
                    f"{where}: contract schema {data['schema']!r}; this edgecnn reads {SCHEMA}. "
                    "Export the file again, or use the edgecnn version that made it."
                )
            return cls(
                **{name: data[name] for name in _PLAIN_FIELDS},
                input=_build(InputContract, data["input"]),
                output=_build(OutputContract, data["output"]),
                quantization=_build_optional(Quantization, data["quantization"]),
                golden=_build_optional(Golden, data["golden"]),
                parity=_build_optional(Parity, data["parity"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
            raise ArtifactError(
                f"{where}: the embedded contract is damaged ({error}). Export the file again."
            ) from error


_NESTED_FIELDS = ("input", "output", "quantization", "golden", "parity")
_PLAIN_FIELDS = tuple(f.name for f in fields(Contract) if f.name not in _NESTED_FIELDS)


def _build(kind: type[T], data: dict[str, Any]) -> T:
    """Make a value from JSON, whose arrays become tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def _build_optional(kind: type[T], data: dict[str, Any] | None) -> T | None:
    return None if data is None else _build(kind, data)
