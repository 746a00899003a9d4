"""A model file and what it says of itself."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn import formats
from edgecnn.contract import (
    UNKNOWN_PRECISION,
    Contract,
    InputContract,
    OutputContract,
    Recipe,
    TensorSpec,
    color_of,
)
from edgecnn.errors import ArtifactError, UsageError


@dataclass(frozen=True)
class Artifact:
    """One exported model file. A step makes a new artifact and never changes one.

    A batch size that the file leaves open is 1 in ``inputs`` and ``outputs``.

    ``contract`` is None for a foreign file that carries none; see :meth:`with_contract`.
    """

    path: Path
    format: str
    bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    contract: Contract | None

    @classmethod
    def load(cls, path: Path | str) -> "Artifact":
        """Read a model file of any known format; only its header and metadata are parsed.

        Raises:
            ArtifactError: the file is missing, truncated, or of no known format, or its contract
                cannot be understood.
        """
        path = Path(path)
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file. Make one with `edgecnn export`.")
        format_ = formats.detect(path)
        header = format_.inspect(path)
        contract = None if header.contract is None else Contract.from_json(header.contract, path)
        return cls(
            path=path,
            format=format_.name,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            inputs=tuple(map(_batch_of_one, header.inputs)),
            outputs=tuple(map(_batch_of_one, header.outputs)),
            contract=contract,
        )

    @property
    def recipe(self) -> Recipe | None:
        """The precision that the contract states; None for a foreign file."""
        return None if self.contract is None else self.contract.recipe

    @property
    def name(self) -> str:
        """The model's name, or the file's stem where the file does not say."""
        return self.path.stem if self.contract is None else self.contract.name

    def with_contract(self, contract: Contract) -> "Artifact":
        """Return the same file seen through ``contract`` (for files that carry none)."""
        return replace(self, contract=contract)

    def required_contract(self) -> Contract:
        """Return the contract.

        Raises:
            ArtifactError: the file carries none and none was given by flags.
        """
        if self.contract is None:
            raise ArtifactError(
                f"{self.path}: the file carries no edgecnn contract, so its preprocessing is "
                "unknown. Pass --mean, --std, --crop-pct, --interpolation and --labels."
            )
        return self.contract

    def single_input(self) -> TensorSpec:
        """Return the only input.

        Raises:
            ArtifactError: the file has none or several, or a dimension is not fixed.
        """
        if len(self.inputs) != 1:
            found = ", ".join(spec.name for spec in self.inputs) or "none"
            raise ArtifactError(f"{self.path}: expected one input tensor, found: {found}.")
        spec = self.inputs[0]
        if any(size <= 0 for size in spec.shape):
            raise ArtifactError(
                f"{self.path}: input {spec.name!r} has the dynamic shape {list(spec.shape)}; "
                "export it with fixed dimensions."
            )
        return spec


def _batch_of_one(spec: TensorSpec) -> TensorSpec:
    """Fix a leading dimension that the file leaves open: edgecnn runs one image at a time."""
    if spec.shape[:1] != (-1,):
        return spec
    return replace(spec, shape=(1, *spec.shape[1:]))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def completed(
    artifact: Artifact,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    labels: tuple[str, ...] | None = None,
) -> Artifact:
    """Give a foreign file the contract that it lacks; a file's own contract is never overruled.

    Args:
        mean: per channel, in units of a pixel (0 to 255); ``std`` likewise.
        labels: one per class; also accepted for a file with a contract.

    Returns:
        the artifact with a contract, or as it is where nothing was given.

    Raises:
        UsageError: preprocessing was given for a file that states its own.
        ArtifactError: some but not all that is missing was given; the message names the flags.
    """
    given = {
        "--mean": mean,
        "--std": std,
        "--crop-pct": crop_pct,
        "--interpolation": interpolation,
    }
    stated = [flag for flag, value in given.items() if value is not None]
    if artifact.contract is not None:
        if stated:
            raise UsageError(
                f"{artifact.path} states its own preprocessing; leave out {', '.join(stated)}."
            )
        return (
            artifact
            if labels is None
            else artifact.with_contract(
                replace(artifact.contract, output=replace(artifact.contract.output, labels=labels))
            )
        )
    if not stated:
        return artifact
    missing = [flag for flag, value in given.items() if value is None]
    if mean is None or std is None or crop_pct is None or interpolation is None:
        raise ArtifactError(
            f"{artifact.path} carries no contract; {', '.join(missing)} must be given too."
        )
    spec = artifact.single_input()
    channels = len(mean)
    if spec.layout is None or sorted(spec.shape) != sorted((1, channels, *spec.shape[2:3] * 2)):
        raise ArtifactError(
            f"{artifact.path}: input {spec.name!r} has the shape {list(spec.shape)}; allowed are "
            f"1 x {channels} x N x N and 1 x N x N x {channels} (a mean for each channel)."
        )
    output = artifact.outputs[0]
    return artifact.with_contract(
        Contract(
            name=artifact.path.stem,
            source=f"foreign:{artifact.path.name}",
            source_sha256=artifact.sha256,
            weights="foreign",
            precision=UNKNOWN_PRECISION,
            input=InputContract(
                name=spec.name,
                shape=spec.shape,
                dtype="float32",
                layout=spec.layout,
                imgsz=spec.shape[2],
                mean=mean,
                std=std,
                crop_pct=crop_pct,
                interpolation=interpolation,
                color=color_of(channels),
            ),
            output=OutputContract(output.name, max(output.shape), labels or ()),
        )
    )
