"""Accuracy of a model file on a folder of photographs, and its agreement with a reference file."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn import preprocess, runtimes
from edgecnn.accuracy import Evaluation, Gate, Prediction, Skipped, accuracy, comparison, judge
from edgecnn.artifact import Artifact
from edgecnn.device import LOCAL, Device
from edgecnn.environment import Environment, int8_saturates
from edgecnn.errors import DataError, UnavailableError, UsageError
from edgecnn.images import (
    LabelledImage,
    calibration_subset,
    images_sha256,
    labelled,
    list_images,
)

TOP = 5
DECODERS = 2
QUEUED_PER_DECODER = 4

Progress = Callable[[str, int, int], None]
"""Called with what is being done, images done, and images in all."""


class Classifier:
    """An artifact opened on a runtime: picture in, best classes out."""

    def __init__(
        self, artifact: Artifact, runtime: str | None, device: Device, threads: int
    ) -> None:
        self.contract = artifact.required_contract()
        self.runtime = runtimes.get(runtime) if runtime else own_runtime(artifact, device)
        self._session = runtimes.open_session(self.runtime, artifact, device, threads)

    def prepare(self, image: preprocess.Image) -> NDArray[Any]:
        """Make the input; may be called from several threads."""
        return preprocess.prepare(image, self.contract.input, self._session.inputs[0])

    def best(self, array: NDArray[Any]) -> tuple[int, ...]:
        """Return the indices of the five highest logits, best first; ties by lower index."""
        logits = preprocess.dequantize(self._session.run(array), self._session.outputs[0])
        return tuple(np.argsort(-logits.reshape(-1), kind="stable")[:TOP].tolist())

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()


def own_runtime(artifact: Artifact, device: Device) -> runtimes.Runtime:
    """Return the available runtime that is made for the artifact's format: it reads the fewest.

    Raises:
        UnavailableError: none is available; with the reason of each.
    """
    found = runtimes.available(artifact, device)
    if found:
        return min(found, key=lambda runtime: len(runtime.formats))
    reading = [runtimes.get(name) for name in runtimes.reading(artifact.format)]
    reasons = "".join(f"\n  {r.name}: {r.unavailable(device)}" for r in reading if r.timed)
    raise UnavailableError(f"no runtime for {artifact.format} files on {device}:{reasons}")


def evaluate(
    artifact: Artifact,
    data: Path,
    *,
    runtime: str | None = None,
    device: Device = LOCAL,
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
        runtime: its name; by default the one made for the format. The reference takes the runtime
            made for its own format.
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
    with ExitStack() as stack:
        classifiers = [stack.enter_context(Classifier(artifact, runtime, device, threads))]
        classifiers += [
            stack.enter_context(Classifier(file, None, device, threads)) for file in files[1:]
        ]
        images, classless = _with_classes(chosen, data, artifact, labels_file)
        predictions, unreadable = _predict(images, classifiers, decoders, progress or _silent)
        skipped = (*classless, *unreadable)
        name = classifiers[0].runtime.name
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
        warnings=tuple(_warnings(artifact, name, Environment.now(), listing, calibration)),
        **accuracy(predictions),
        **(comparison(predictions) if reference is not None else {}),
    )
    return judge(result, gate)


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


def _predict(
    images: Sequence[LabelledImage],
    classifiers: Sequence[Classifier],
    decoders: int,
    progress: Progress,
) -> tuple[list[Prediction], tuple[Skipped, ...]]:
    predictions, skipped = [], []
    for done, (image, arrays) in enumerate(_prepared(images, classifiers, decoders)):
        progress("evaluating", done, len(images))
        if isinstance(arrays, DataError):
            skipped.append(Skipped(str(image.path), str(arrays)))
            continue
        best = [c.best(array) for c, array in zip(classifiers, arrays, strict=True)]
        predictions.append(Prediction(image.class_index, best[0], (*best[1:], None)[0]))
    progress("evaluating", len(images), len(images))
    return predictions, tuple(skipped)


Prepared = list[NDArray[Any]] | DataError


def _prepared(
    images: Sequence[LabelledImage], classifiers: Sequence[Classifier], decoders: int
) -> Iterator[tuple[LabelledImage, Prepared]]:
    """Decode and resize in threads, a bounded number of images ahead, and yield in order."""

    def job(image: LabelledImage) -> Prepared:
        try:
            picture = preprocess.read_image(image.path)
        except DataError as error:
            return error
        return [classifier.prepare(picture) for classifier in classifiers]

    waiting: deque[tuple[LabelledImage, Future[Prepared]]] = deque()
    with ThreadPoolExecutor(max(1, decoders)) as pool:
        try:
            for image in images:
                waiting.append((image, pool.submit(job, image)))
                if len(waiting) > decoders * QUEUED_PER_DECODER:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for image, future in waiting:
                yield image, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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
