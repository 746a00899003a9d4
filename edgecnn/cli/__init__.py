"""The command line: one file per command, each a thin layer over the library.

A file ``NAME.py`` in this folder holds the click command ``edgecnn NAME`` as ``command``. Such a
file imports nothing heavy at its top, so that ``edgecnn --help`` answers at once.
"""

import os
import sys
import traceback
from typing import cast

import click

from edgecnn import __version__, discovery
from edgecnn.errors import EXIT_INTERRUPTED, EdgecnnError

# Pictures are decoded in parallel; a BLAS that starts threads of its own under each of those
# workers makes every one of them slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _Commands(click.Group):
    """Finds commands by their files and turns errors into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(discovery.names(__name__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            return cast(click.Command, discovery.load(__name__, cmd_name).command)
        except KeyError:
            return None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["edgecnn.command"] = ["edgecnn", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except EdgecnnError as error:
            _fail(ctx, str(error), error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail(ctx, "interrupted", EXIT_INTERRUPTED)
        return None


def _fail(ctx: click.Context, message: str, exit_code: int) -> None:
    if ctx.meta.get("edgecnn.debug"):
        traceback.print_exc(file=sys.stderr)
    click.echo(f"edgecnn: {message}", err=True)
    ctx.exit(exit_code)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgecnn")
def main() -> None:
    """Take a CNN from PyTorch to a device that meets its deadline.

    Exit codes: 0 done and passed; 2 wrong usage; 3 bad input; 4 a verdict failed (parity,
    accuracy, budget), files are kept; 5 device or runtime not available; 130 interrupted.
    """
