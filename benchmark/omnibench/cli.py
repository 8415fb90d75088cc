"""The command line's group and its end: exit codes. Importing it never imports torch."""

from __future__ import annotations

import functools
import sys

import click

from omnibench import console
from omnibench.commands.audit import audit
from omnibench.commands.bench import bench
from omnibench.commands.check import check
from omnibench.commands.diff import diff
from omnibench.commands.doctor import doctor
from omnibench.commands.list_offers import list_offers
from omnibench.commands.merge import merge
from omnibench.commands.options import registry_of
from omnibench.commands.plugin import plugin
from omnibench.commands.run import run
from omnibench.commands.score import score
from omnibench.commands.status import status
from omnibench.errors import INTERRUPTED, OmnibenchError, SetupError


class PluginGroup(click.Group):
    """Built-in commands first; plugins are asked for theirs only when it matters."""

    @functools.cached_property
    def _with_plugins(self) -> dict[str, click.Command]:
        added = click.Group()
        registry_of().add_commands(added)
        return {name: added.commands[name] for name in added.commands if name not in self.commands}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of built-in and plugin commands."""
        return sorted({*self.commands, *self._with_plugins})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; a built-in name needs no plugin."""
        return self.commands.get(cmd_name) or self._with_plugins.get(cmd_name)


@click.group(
    cls=PluginGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: omnibench run --encoder omnirad-base --task seg --dataset promise12",
)
@click.version_option(package_name="omnibench")
@click.option("--traceback", is_flag=True, help="Show where an error arose")
@click.pass_context
def cli(ctx: click.Context, traceback: bool) -> None:
    """Benchmark radiology foundation encoders."""
    ctx.obj = {"traceback": traceback}


for command in (run, list_offers, score, doctor, diff, bench, check, audit, merge, plugin, status):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors of users get one message and an exit code."""
    console.setup_logging()
    try:
        stopped = cli(standalone_mode=False)  # click returns the code of `ctx.exit(code)`
        if isinstance(stopped, int):
            sys.exit(stopped)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except OmnibenchError as problem:
        if "--traceback" in sys.argv:
            raise
        console.error(str(problem))
        sys.exit(problem.exit_code)
    except OSError as problem:
        if "--traceback" in sys.argv:
            raise
        console.error(f"{problem}; `omnibench --traceback …` shows where")
        sys.exit(SetupError.exit_code)
