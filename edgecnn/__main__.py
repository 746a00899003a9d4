"""``python -m edgecnn``."""

from edgecnn.cli import main

main(prog_name="edgecnn")
