"""Accuracy of a model file on a folder of photographs, and its agreement with a reference file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgecnn import devices
from edgecnn.accuracy import Evaluation, Gate, Prediction, Skipped, accuracy, comparison, judge
from edgecnn.artifact import Artifact
from edgecnn.classify import DECODERS, Best
from edgecnn.device import LOCAL, Device
from edgecnn.environment import Environment, int8_saturates
from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.host import Host
from edgecnn.hosted import Hosted
from edgecnn.images import (
    LabelledImage,
    calibration_subset,
    images_sha256,
    labelled,
    list_images,
)

BATCH = 25
"""Photographs whose classes come back together; a lost connection repeats so many at most."""
BATCH_TIMEOUT_S = 600.0

Progress = Callable[[str, int, int], None]
"""Called with what is being done, images done, and images in all."""


def evaluate(
    artifact: Artifact,
    data: Path,
    *,
    runtime: str | None = None,
    device: Device = LOCAL,
    host: Host | None = None,
    threads: int = 1,
    reference: Artifact | None = None,
    gate: Gate | None = None,
    labels_file: Path | None = None,
    limit: int | None = None,
    exclude: Iterable[Path] = (),
    decoders: int = DECODERS,
    progress: Progress | None = None,
) -> Evaluation:
    """Run a file over the photographs of ``data``; see :func:`edgecnn.images.labelled` for classes.

    Images that calibrated the artifact or the reference are left out. An image that cannot be
    decoded is skipped and named in the result.

    Args:
        runtime: its name; by default the one made for the format.
        host: where ``device`` is, if it is connected already.
        reference: a file to agree with; it runs on this machine, on its format's own runtime.
        gate: limits that decide ``passed``.
        limit: at most so many images, evenly spread.
        exclude: images to leave out besides.
        decoders: threads that decode and resize.

    Raises:
        DataError: no images, none that can be decoded, or class folders that are not known.
        UsageError: the gate asks for what cannot be told.
        UnavailableError: the runtime is not available.
    """
    gate = gate or Gate()
    files = [artifact] if reference is None else [artifact, reference]
    _check_gate(gate, reference)
    listing = list_images(data)
    calibration = calibration_images(listing, files)
    left_out = {*calibration, *exclude}
    chosen = _chosen([path for path in listing if path not in left_out], limit, data)
    images, classless = _with_classes(chosen, data, artifact, labels_file)
    with ExitStack() as stack:
        where = host or stack.enter_context(devices.connect(device, f"evaluate {artifact.name}"))
        classifiers = [_opened(stack, where, artifact, runtime, device, threads)]
        if reference is not None:
            here = stack.enter_context(devices.connect(LOCAL))
            classifiers.append(_opened(stack, here, reference, None, LOCAL, threads))
        name = classifiers[0].opened["runtime"]
        environment = Environment.from_dict(classifiers[0].ask("environment", BATCH_TIMEOUT_S))
        found = _predict(images, classifiers, decoders, progress or _silent)
        predictions, skipped = found.predictions, (*classless, *found.skipped)
    if not predictions:
        raise DataError(
            f"{data}: none of {len(images)} images can be used, e.g. {skipped[0].reason}"
        )
    result = Evaluation(
        artifact=str(artifact.path),
        sha256=artifact.sha256,
        data=str(data),
        runtime=name,
        device=str(device),
        threads=threads,
        images=len(predictions),
        reference=None if reference is None else str(reference.path),
        calibration_left_out=len(calibration),
        skipped=skipped,
        stopped=found.stopped,
        warnings=tuple(_warnings(artifact, name, environment, listing, calibration)),
        **accuracy(predictions),
        **(comparison(predictions) if reference is not None else {}),
    )
    return judge(result, gate)


def _opened(
    stack: ExitStack,
    host: Host,
    artifact: Artifact,
    runtime: str | None,
    device: Device,
    threads: int,
) -> Hosted:
    artifact.required_contract()
    classifier = stack.enter_context(Hosted(host, artifact, runtime, device, threads))
    classifier.open()
    return classifier


def calibration_images(listing: Sequence[Path], files: Sequence[Artifact]) -> tuple[Path, ...]:
    """Return those of ``listing`` that calibrated one of ``files``.

    Export's choice is repeated on this listing and counts where its digest is the one in the file.
    """
    found: dict[Path, None] = {}
    for file in files:
        quantization = file.contract.quantization if file.contract else None
        if quantization is None or not quantization.calibration_images:
            continue
        subset = calibration_subset(listing, quantization.calibration_images)
        if images_sha256(subset) == quantization.calibration_sha256:
            found |= dict.fromkeys(subset)
    return tuple(found)


def kernel_warning(artifact: Artifact, runtime: str, environment: Environment) -> str | None:
    """Say where this machine's int8 kernels compute something else than those of other machines.

    onnxruntime on x86 without VNNI adds pairs of u8 x s8 products in 16 bits, which can overflow
    unless the weights were rounded so that they cannot.
    Source: onnxruntime's documentation, "Quantize ONNX models", on reduce_range and U8S8.
    """
    if runtime != "ort" or not int8_saturates(environment.machine, environment.isa):
        return None
    quantization = artifact.contract.quantization if artifact.contract else None
    if quantization is not None and quantization.saturation_free:
        return None
    if not _has_int8_activations(artifact):
        return None
    return (
        "this processor has no VNNI instructions, and the file does not say that its weights allow "
        "for that: onnxruntime's int8 kernels may saturate here, so these figures may be worse "
        "than on other machines."
    )


def _has_int8_activations(artifact: Artifact) -> bool:
    if artifact.recipe is not None and artifact.recipe.activation_bits > 8:
        return False
    return artifact.format == "onnx" and b"QuantizeLinear" in artifact.path.read_bytes()


def _check_gate(gate: Gate, reference: Artifact | None) -> None:
    if gate.max_drop is not None and reference is None:
        raise UsageError("--max-drop compares with a reference: pass --reference ARTIFACT.")


def _chosen(paths: Sequence[Path], limit: int | None, data: Path) -> tuple[Path, ...]:
    if not paths:
        raise DataError(
            f"{data}: all its images were used to calibrate the file, or are left out. Pass --data "
            "a folder with others."
        )
    return tuple(paths) if limit is None else calibration_subset(paths, limit)


def _with_classes(
    paths: Sequence[Path], data: Path, artifact: Artifact, labels_file: Path | None
) -> tuple[tuple[LabelledImage, ...], tuple[Skipped, ...]]:
    """Return the images to use: all where there are no class folders, else those in one."""
    output = artifact.required_contract().output
    images = labelled(
        paths, data, classes=output.classes, labels=output.labels, labels_file=labels_file
    )
    in_class = tuple(image for image in images if image.class_index is not None)
    if not in_class:
        return images, ()
    beside = (image.path for image in images if image.class_index is None)
    return in_class, tuple(Skipped(str(path), "lies beside the class folders") for path in beside)


@dataclass(frozen=True)
class _Found:
    """What is known of the images; ``stopped`` says why it is not all of them."""

    predictions: list[Prediction]
    skipped: list[Skipped]
    stopped: str | None = None


def _predict(
    images: Sequence[LabelledImage],
    classifiers: Sequence[Hosted],
    decoders: int,
    progress: Progress,
) -> _Found:
    """Classify batch by batch; where a board goes away for good, what came until then counts."""
    predictions: list[Prediction] = []
    skipped: list[Skipped] = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        progress("evaluating", start, len(images))
        try:
            found = [_classified(classifier, batch, decoders) for classifier in classifiers]
        except UnavailableError as error:
            if not predictions:
                raise
            return _Found(predictions, skipped, f"stopped after {start} of {len(images)}: {error}")
        for image, *results in zip(batch, *found, strict=True):
            problem = next((result for result in results if isinstance(result, str)), None)
            if problem is not None:
                skipped.append(Skipped(str(image.path), problem))
                continue
            best = [result for result in results if not isinstance(result, str)]
            predictions.append(Prediction(image.class_index, best[0], (*best[1:], None)[0]))
    progress("evaluating", len(images), len(images))
    return _Found(predictions, skipped)


def _classified(
    classifier: Hosted, images: Sequence[LabelledImage], decoders: int
) -> list[Best | str]:
    """Return the best classes of each photograph, or why it cannot be used."""
    paths = classifier.staged_all([image.path for image in images])
    found = classifier.ask("classify", BATCH_TIMEOUT_S, paths=paths, decoders=decoders)["best"]
    return [
        one.replace(path, str(image.path)) if isinstance(one, str) else tuple(one)
        for image, path, one in zip(images, paths, found, strict=True)
    ]


def _warnings(
    artifact: Artifact,
    runtime: str,
    environment: Environment,
    listing: Sequence[Path],
    calibration: Sequence[Path],
) -> Iterator[str]:
    saturation = kernel_warning(artifact, runtime, environment)
    if saturation is not None:
        yield saturation
    quantization = artifact.contract.quantization if artifact.contract else None
    count = quantization.calibration_images if quantization else 0
    if count and not calibration:
        yield (
            f"the {count} calibration images were not taken from exactly these {len(listing)} "
            "images; if some of them are here, the accuracy is flattered."
        )


def _silent(what: str, done: int, total: int) -> None:
    return
