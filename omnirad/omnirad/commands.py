"""The commands of `python -m omnirad`; importing them imports neither torch nor numpy."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from omnirad import console
from omnirad.errors import OmniradError

logger = logging.getLogger(__name__)


class Command(click.Command):
    """Shows errors that a user can mend without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        console.setup_logging()
        try:
            return super().invoke(ctx)
        except OmniradError as error:
            if (ctx.find_root().obj or {}).get("traceback"):
                raise
            click.echo(f"error: {console.plain(error)}", err=True)
            ctx.exit(error.exit_code)


@click.command(
    cls=Command,
    epilog="Example: omnibench pretrain --preset scratch --data folder:images --out runs/first",
)
@click.option(
    "--preset", required=True, metavar="NAME", help="paper, paper-literal-hub, scratch, nano"
)
@click.option("--size", metavar="NAME", help="small or base; the preset's own by default")
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="SPEC",
    help="folder:PATH, npz:PATH, dicom:PATH, radimagenet:PATH, packed:PATH or mni152; repeatable",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the run; one that was stopped is continued",
)
@click.option("--init", "initial", metavar="PATH", help="Initial weights: a file, a folder, dinov2")
@click.option(
    "--set", "settings", multiple=True, metavar="K=V", help="Change one field; repeatable"
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of everything that is random")
@click.option(
    "--steps", type=click.IntRange(1), help="Stop after N steps; repeat without it to go on"
)
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes that prepare batches")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
@click.option("--probe", metavar="SPEC", help="Labelled images for a kNN probe of every epoch")
@click.option(
    "--save-every", type=click.IntRange(1), default=500, metavar="N", help="Steps a checkpoint"
)
@click.option("--force", is_flag=True, help="Go on although recipe, images or processes differ")
@click.option("--plan", is_flag=True, help="Say what would be done, and stop")
def pretrain(
    preset: str,
    size: str | None,
    data: tuple[str, ...],
    settings: tuple[str, ...],
    steps: int | None,
    plan: bool,
    **options: Any,
) -> None:
    """Pretrain an encoder on images; alone, or on several GPUs with torchrun."""
    from omnirad import presets
    from omnirad.job import Job
    from omnirad.settings import override

    recipe = override(presets.preset(preset, size), settings)
    job = Job(recipe=recipe, data=data, stop=steps, **options)
    for notice in recipe.notices():
        logger.info("note: %s", notice)
    with console.progress() as progress:
        from omnirad.loop import pretrain as run

        exported = run(job, progress)
    done = {"run": str(job.out), "encoder": None if exported is None else str(exported)}
    click.echo(json.dumps(done))
