"""``edgecnn device``: the boards that have a name, and how to reach them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _emulate
from edgecnn.cli._device_board import check, setup
from edgecnn.cli._options import force_option
from edgecnn.cli._output import common_options, print_json, print_table

if TYPE_CHECKING:
    from edgecnn.remote.openssh import Ssh


@click.group(short_help="The boards that `--device` reaches, and their names.")
def command() -> None:
    """Name boards, and look at them. Each of these commands takes --json and --debug."""


command.add_command(_emulate.command)
command.add_command(check)
command.add_command(setup)


@command.command("list", short_help="What `--device` takes, your own names first.")
@common_options
def list_(as_json: bool) -> None:
    """List what `--device` takes: your named boards, this machine, and emulated boards."""
    rows = [*_named(), *_kinds(), *_emulated()]
    if as_json:
        print_json(rows)
        return
    columns = ["device", "what it is"]
    print_table(columns, [[row["name"], row["about"]] for row in rows], text=columns)


@command.command("add", short_help="Name a board, after logging in to it once.")
@click.argument("name")
@click.argument("address")
@click.option("--host-key", metavar="SHA256:...", help="Accept this host key, and no other.")
@click.option("--python", default="python3", show_default=True, help="Python on the board.")
@click.option(
    "--identity",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, resolve_path=True),
    help="The private key to log in with; without it, SSH's configuration and agent decide.",
)
@click.option("--no-connect", is_flag=True, help="Do not log in first to see whether it works.")
@force_option
@common_options
def add(
    name: str,
    address: str,
    host_key: str | None,
    python: str,
    identity: Path | None,
    no_connect: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Name the board at ADDRESS (ssh://user@host[:port]), after logging in to it once.

    A host key that SSH does not know yet is shown, and accepted only when you say so.
    """
    from edgecnn import named
    from edgecnn.remote.openssh import Ssh, parse_address

    place = parse_address(address)
    entry = named.Named(str(place), python, identity)
    named.check_new(name, force)
    ssh = Ssh(place, python, identity)
    if host_key is not None:
        _accept(ssh, host_key)
    board = None if no_connect else _logged_in(ssh)
    named.add(name, entry, force)
    if as_json:
        print_json(_row(name, entry) | {"connected": board is not None, "board": board})
        return
    about = f"Python {board['python']} on {board['machine']}" if board else "not tried yet"
    click.echo(f"{name} is {entry.address}, {about}.")


@command.command("remove", short_help="Forget a name.")
@click.argument("name")
@common_options
def remove(name: str, as_json: bool) -> None:
    """Forget the board called NAME. Its host key stays with SSH."""
    from edgecnn import named

    entry = named.remove(name)
    if as_json:
        print_json(_row(name, entry))
    else:
        click.echo(f"{name} ({entry.address}) is forgotten.")


def _logged_in(ssh: "Ssh") -> dict[str, str]:
    """Log in once, asking about an unknown host key where somebody can answer."""
    from edgecnn.remote import hostkeys

    if _can_ask() and not hostkeys.is_known(ssh.address, ssh.options):
        _ask_about_key(ssh)
    return ssh.probe()


def _ask_about_key(ssh: "Ssh") -> None:
    from edgecnn.errors import UnavailableError
    from edgecnn.remote import hostkeys

    keys = hostkeys.offered(ssh.address, ssh.options)
    click.echo(
        f"The host key of {ssh.where} is not known here. It offers:\n{hostkeys.listing(keys)}\n"
        "The board itself shows its own with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`.",
        err=True,
    )
    if not click.confirm(f"Accept {keys[0].fingerprint}?", default=False, err=True):
        raise UnavailableError("the host key was not accepted; nothing was stored.")
    _accept(ssh, keys[0].fingerprint)


def _accept(ssh: "Ssh", fingerprint: str) -> None:
    from edgecnn.remote import hostkeys

    key = hostkeys.accept(ssh.address, fingerprint, ssh.options)
    click.echo(f"Host key of {ssh.where}: {key}, accepted.", err=True)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _named() -> list[dict[str, Any]]:
    from edgecnn import named

    return [_row(name, entry) for name, entry in named.load().items()]


def _row(name: str, entry: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "named",
        "address": entry.address,
        "python": entry.python,
        "identity": None if entry.identity is None else str(entry.identity),
        "about": entry.address,
    }


def _kinds() -> list[dict[str, Any]]:
    """The kinds of devices, each with the first line of its module's text."""
    from edgecnn import devices

    modules = {name: devices.get(name) for name in devices.names()}
    return [_plain(module.syntax, name, _first_line(module)) for name, module in modules.items()]


def _emulated() -> list[dict[str, Any]]:
    from edgecnn import boards

    return [
        _plain(f"emulated:{name}", "emulated", boards.get(name).title) for name in boards.names()
    ]


def _plain(name: str, kind: str, about: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "address": name, "about": about}


def _first_line(module: object) -> str:
    return (module.__doc__ or "").partition("\n")[0]
