"""``edgecnn doctor``: what is installed, and what is missing for which command."""

from dataclasses import asdict

import click

from edgecnn.cli._output import common_options, print_json, print_table


@click.command(short_help="What is installed and what is missing.")
@common_options
def command(as_json: bool) -> None:
    """Show what is installed, what is missing for which command, and how to install it."""
    from edgecnn.doctor import examine

    checks = examine()
    if as_json:
        print_json([asdict(check) for check in checks])
        return
    print_table(
        ["", "what", "needed for", "state"],
        [
            [
                "[green]ok[/green]" if check.found else "[red]--[/red]",
                check.what,
                check.needed_for,
                check.detail + (f"\n{check.remedy}" if check.remedy else ""),
            ]
            for check in checks
        ],
        text=["", "what", "needed for", "state"],
    )
