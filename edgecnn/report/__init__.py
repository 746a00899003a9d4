"""One page of a decision, for people who would rather look than read.

The page is made of JSON documents that edgecnn wrote (:mod:`edgecnn.report.documents`), and asks
nothing of the network. :mod:`edgecnn.report.plots` draws single pictures with the same charts.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgecnn.errors import UsageError
from edgecnn.files import refuse_existing, replace_file

MAX_DOCUMENTS = 100


def write(paths: Sequence[Path], output: Path, force: bool = False) -> None:
    """Write the page of the documents ``paths`` to ``output``, in one step.

    Raises:
        UsageError: there is no document, or too many; ``output`` exists and ``force`` is not set.
        DataError: a file is none of edgecnn's documents, or damaged.
        DiskError: the page cannot be written.
    """
    from edgecnn.report.documents import section
    from edgecnn.report.page import page

    if not 0 < len(paths) <= MAX_DOCUMENTS:
        raise UsageError(f"{len(paths)} documents; a page takes 1 to {MAX_DOCUMENTS}.")
    refuse_existing(output, force)
    made = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")
    remake = ("edgecnn", "report", *map(str, paths), "--output", str(output))
    text = page([section(path) for path in paths], made, remake)
    replace_file(output, text.encode())
