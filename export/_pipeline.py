"""The stages of an export: check, convert, compare, embed the contract, verify."""

import contextlib
import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import edgecnn
from edgecnn import formats, golden, preprocess, runtimes
from edgecnn.artifact import Artifact
from edgecnn.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    Contract,
    Golden,
    InputContract,
    OutputContract,
    Quantization,
    Recipe,
)
from edgecnn.device import LOCAL
from edgecnn.errors import ExportError, UsageError
from edgecnn.export import Conversion, Exporter, Progress, Task, calibration, parity, required
from edgecnn.export._inputs import input_contract
from edgecnn.export._quiet import silenced
from edgecnn.export._reference import open_reference
from edgecnn.export.calibration import ImageSet
from edgecnn.export.parity import Logits
from edgecnn.files import refuse_existing, writing
from edgecnn.runtimes import Session
from edgecnn.sources import Source

_THREADS = 1


def run(task: Task, progress: Progress) -> Artifact:
    """See :func:`edgecnn.export.export`."""
    exporter = required(task.format)
    _check(task, exporter)
    contract = _contract(task, exporter)
    images = _calibration_images(task, contract.input, progress)
    with writing(task.output) as temporary:
        progress(f"converting {task.source.name} to {task.format} {task.recipe}")
        conversion = exporter.convert(
            _simplified(task.source),
            task.recipe,
            temporary,
            calibration=images,
            uint8_input=task.uint8_input,
        )
        contract = replace(contract, quantization=_quantization(conversion, images))
        progress("comparing the file with the original")
        contract = _proven(task, exporter, temporary, contract, images)
        formats.get(task.format).embed(temporary, contract)
        progress("verifying the file")
        _verify(exporter, temporary, contract)
    return Artifact.load(task.output)


def _simplified(source: Source) -> Source:
    if source.module is None:
        return source
    from edgecnn.export._fold import folded

    return replace(source, module=folded(source.module))


def _check(task: Task, exporter: Exporter) -> None:
    """Refuse what is known to be impossible before any work is done."""
    name = str(task.recipe)
    if name not in exporter.precisions:
        raise UsageError(
            f"{task.format} has no precision {name}; allowed: {', '.join(exporter.precisions)}."
        )
    if task.uint8_input and not exporter.takes_uint8:
        raise UsageError(
            f"{task.format} files take no uint8 pixels; leave --uint8-input out, or export to "
            "onnx or tflite."
        )
    if task.recipe.needs_calibration and task.calibration_folder is None:
        calibration.required_images(None)
    if task.labels and len(task.labels) != task.source.num_classes:
        raise UsageError(
            f"{len(task.labels)} labels for {task.source.num_classes} classes; pass a file with "
            "one label per line, in the order of the classes."
        )
    refuse_existing(task.output, task.force)


def _contract(task: Task, exporter: Exporter) -> Contract:
    source = task.source
    return Contract(
        name=source.name,
        source=source.text,
        source_sha256=source.provenance.sha256,
        weights=str(source.provenance),
        precision=str(task.recipe),
        input=_input(task, exporter),
        output=OutputContract(OUTPUT_NAME, source.num_classes, task.labels),
        created_with=_versions(exporter),
    )


def _input(task: Task, exporter: Exporter) -> InputContract:
    if task.uint8_input:
        return input_contract(task.source, "NHWC", "uint8")
    return input_contract(task.source, exporter.layout)


def _versions(exporter: Exporter) -> dict[str, str]:
    """Return the versions of all that made the file."""
    packages = [requirement.partition(">")[0] for requirement in exporter.requires]
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "edgecnn": edgecnn.__version__, **found}


def _calibration_images(task: Task, contract: InputContract, progress: Progress) -> ImageSet | None:
    if task.calibration_folder is None:
        return None
    if not task.recipe.is_quantized:
        count = parity.LIMITS[str(task.recipe)].images
        images = calibration.load(task.calibration_folder, count, contract, force=True)
    else:
        count = task.calibration_images or calibration.DEFAULT_IMAGES
        progress(f"reading {count} calibration images")
        images = calibration.load(
            task.calibration_folder, count, contract, force=task.force_calibration
        )
    for reason in images.skipped:
        progress(f"skipped {reason}")
    return images


def _quantization(conversion: Conversion, images: ImageSet | None) -> Quantization | None:
    if not conversion.scheme:
        return None
    found = Quantization(conversion.scheme, saturation_free=conversion.saturation_free)
    if images is None or not conversion.calibrated:
        return found
    return replace(found, calibration_images=images.chosen, calibration_sha256=images.sha256)


def _proven(
    task: Task, exporter: Exporter, path: Path, contract: Contract, images: ImageSet | None
) -> Contract:
    """Return the contract with the verdict on the file and its golden sample."""
    pictures = _parity_pictures(task, contract.input, images)
    reference = open_reference(task.source, task.recipe)
    original = input_contract(task.source, "NCHW")
    expected = [reference(array) for array in calibration.model_inputs(pictures, original)]
    with _session(exporter, path) as session:
        found = [_logits(session, pixels, contract) for pixels in pictures.pixels]
        sample = _golden(session, contract, task.recipe, found, exporter.runtime)
    inputs = f"{len(pictures)} {pictures.origin}"
    verdict = parity.judge(expected, found, task.recipe, inputs)
    return replace(contract, parity=verdict, golden=sample)


def _parity_pictures(task: Task, contract: InputContract, images: ImageSet | None) -> ImageSet:
    """Take the user's images, else photographs of an installed package, else a synthetic one."""
    count = parity.LIMITS[str(task.recipe)].images
    if images is not None:
        return images.first(count)
    return calibration.photographs(contract, count) or calibration.golden(contract)


@contextlib.contextmanager
def _session(exporter: Exporter, path: Path) -> Iterator[Session]:
    runtime = runtimes.get(exporter.runtime)
    with silenced():
        session = runtimes.open_session(runtime, Artifact.load(path), LOCAL, _THREADS)
    try:
        yield session
    finally:
        session.close()


def _logits(session: Session, pixels: preprocess.Image, contract: Contract) -> Logits:
    array = preprocess.from_pixels(pixels, contract.input, session.inputs[0])
    return preprocess.dequantize(session.run(array), session.outputs[0]).copy()


def _golden(
    session: Session, contract: Contract, recipe: Recipe, outputs: list[Logits], runtime: str
) -> Golden:
    pixels = preprocess.golden_image(preprocess.GOLDEN_RECIPE, contract.input.imgsz)
    expected = _logits(session, pixels, contract).reshape(-1)
    step = parity.lattice_step([*outputs, expected]) or golden.int8_step(recipe, expected)
    return Golden(
        recipe=preprocess.GOLDEN_RECIPE,
        expected=tuple(float(str(value)) for value in expected),
        atol=step or golden.same_runtime_atol(contract.precision, expected),
        runtime=runtime,
        step=step,
    )


def _verify(exporter: Exporter, path: Path, contract: Contract) -> None:
    """Check that the finished file says and computes what its contract says.

    Raises:
        ExportError: it does not; this is a defect of edgecnn or of the runtime.
    """
    artifact = Artifact.load(path)
    if artifact.contract != contract or contract.golden is None:
        raise ExportError(f"{path.name}: the contract read back differs from the one written.")
    names = [spec.name for spec in (*artifact.inputs, *artifact.outputs)]
    if names != [INPUT_NAME, OUTPUT_NAME]:
        raise ExportError(f"{path.name}: its tensors are {names}, not image and logits.")
    with _session(exporter, path) as session:
        check = golden.check(session, contract, exporter.runtime)
    if check is None or not check.passed:
        raise ExportError(f"{path.name}: the finished file computes something else than before.")
