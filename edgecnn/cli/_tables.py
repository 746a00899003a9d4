"""What commands that predict with tables share."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecnn.latency import Predictor
    from edgecnn.workload import Workload

FILES = (".onnx", ".tflite")


def check_file(model: str, workload: "Workload", predictor: "Predictor") -> None:
    """Refuse a file of another precision or format than the table's; others than files pass.

    Raises:
        UsageError: the table is of files of another kind.
    """
    if not model.endswith(FILES):
        return
    from edgecnn import runtimes
    from edgecnn.errors import UsageError

    table = predictor.table
    if workload.precision != table.precision:
        raise UsageError(
            f"{model} is {workload.precision}, {predictor.name} is of {table.precision}; take a "
            "table of that precision."
        )
    reads = runtimes.get(table.runtime).formats
    if model.rpartition(".")[2] not in reads:
        raise UsageError(
            f"{table.runtime}, which {predictor.name} is of, does not read {model}; it reads "
            f"{', '.join(reads)}."
        )
