"""Finding out whether a runtime's package is usable, and saying how to get it where it is not."""

import importlib

from edgecnn.device import Device


def import_problem(module: str, *requires: str) -> str | None:
    """Return why ``module`` cannot be imported, with the install line; None where it can.

    The import really takes place: a package that is installed may still lack a shared library.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            return f"not installed. Install it with: {pip_install(*requires)}"
        return f"{module} needs {error.name}. Install it with: {pip_install(*requires)}"
    except (ImportError, OSError) as error:
        return (
            f"{module} is installed but does not load ({error}). Install the library that it "
            f"names, or the package again: {pip_install('--force-reinstall', *requires)}"
        )
    return None


def pip_install(*requires: str) -> str:
    """Return the command that installs ``requires``, ready for a shell."""
    return " ".join(["pip install", *(f'"{r}"' if ">" in r or "<" in r else r for r in requires)])


def other_device_problem(runtime: str, device: Device, *kinds: str) -> str | None:
    """Return why ``runtime``, which runs on ``kinds`` of devices, cannot use ``device``."""
    if device.kind in kinds:
        return None
    return f"{runtime} runs on {' and '.join(kinds)}, not on {device}; pass --device {kinds[0]}."


def jetson_hint(package: str) -> str:
    """Say where a Jetson gets ``package``: the wheels of other ARM machines lack its CUDA."""
    return f"On a Jetson, take the {package} wheel that NVIDIA publishes for its JetPack instead."
