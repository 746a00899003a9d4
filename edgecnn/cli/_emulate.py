"""``edgecnn device emulate``: a board as an SSH server, without the board."""

import signal
from pathlib import Path

import click

from edgecnn.cli._output import common_options, print_json


@click.command("emulate", short_help="Run an emulated board as an SSH server.")
@click.argument("board")
@click.option(
    "--ssh",
    "port",
    type=click.IntRange(1, 65535),
    default=2222,
    show_default=True,
    metavar="PORT",
    help="Where it listens, on 127.0.0.1 alone.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Where its files and its key lie, kept from run to run; by default in the cache.",
)
@common_options
def command(board: str, port: int, folder: Path | None, as_json: bool) -> None:
    """Run BOARD as an SSH server on this machine, until Ctrl-C: a real aarch64 system under QEMU.

    Its results are those of the board; its times mean nothing. It needs root, and is no sandbox.
    What is installed there stays; the key that it takes is new each time.
    """
    from edgecnn.remote.sshd import EmulatedBoard

    # A service manager's stop ends it as Ctrl-C does: through the `with` block.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with EmulatedBoard(board, port, folder) as emulated:
        told = {
            "address": emulated.address,
            "identity": str(emulated.identity_file),
            "known_hosts": str(emulated.known_hosts),
            "ssh_config": str(emulated.ssh_config),
            "host_key": emulated.fingerprint,
        }
        if as_json:
            print_json(told)
        else:
            _print(board, told)
        emulated.wait()


def _print(board: str, told: dict[str, str]) -> None:
    for name, value in told.items():
        click.echo(f"{name:12} {value}")
    click.echo(
        "\nIn another terminal:\n"
        f"  edgecnn device add {board}-emulated {told['address']} --identity {told['identity']} "
        f"--host-key {told['host_key']}\n"
        f"  ssh -F {told['ssh_config']} -p {told['address'].rpartition(':')[2]} 127.0.0.1\n"
        "Ctrl-C ends the board."
    )
