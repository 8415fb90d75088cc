"""`python -m omnirad`."""

from __future__ import annotations

import sys

import click

from omnirad.commands import export, pack, pretrain, probe
from omnirad.distil_command import distil

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where an error arose")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Pretrain OmniRad encoders, and what goes with it."""
    ctx.obj = {"traceback": traceback}


for command in (pretrain, distil, pack, export, probe):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
