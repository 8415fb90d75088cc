"""The commands of `python -m omnirad`; importing them imports neither torch nor numpy."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import click

from omnirad import console
from omnirad.errors import OmniradError

logger = logging.getLogger(__name__)

HEADINGS = ("accuracy", "balanced accuracy", "AUC")


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
            raise SystemExit(error.exit_code) from error


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
    if plan:
        from omnirad.plan import plan as planned

        click.echo(planned(job, world_size=int(os.environ.get("WORLD_SIZE", "1"))))
        return
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one speaks
    for notice in recipe.notices() if first else ():
        logger.info("note: %s", notice)
    with console.progress() as progress:
        from omnirad.loop import pretrain as run

        exported = run(job, progress)
    done = {"run": str(job.out), "encoder": None if exported is None else str(exported)}
    if first:
        click.echo(json.dumps(done))


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--step", type=click.IntRange(0), help="Of the checkpoint; the newest by default")
@click.option("--fp16", is_flag=True, help="Half the size; values are rounded")
@click.option("--tag", default="omnirad-repro", help="Name of the weights in config.json")
@click.option("--licence", default="other", help="Of the weights, as config.json declares it")
def export(run: Path, folder: Path, step: int | None, fp16: bool, tag: str, licence: str) -> None:
    """Write the teacher of RUN into FOLDER, as config.json and model.safetensors."""
    from omnirad.checkpoint_export import export_checkpoint

    target = export_checkpoint(run, folder, step=step, fp16=fp16, tag=tag, licence=licence)
    click.echo(str(target))


@click.command(cls=Command)
@click.option("--data", multiple=True, required=True, metavar="SPEC", help="As in pretrain")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make")
@click.option(
    "--split", "splits", multiple=True, default=("train",), help="Which to read; repeatable"
)
@click.option("--size", type=click.IntRange(1), default=256, help="Pixels of the shorter side")
@click.option("--encoding", type=click.Choice(["png", "raw"]), default="png")
def pack(
    data: tuple[str, ...], out: Path, splits: tuple[str, ...], size: int, encoding: Any
) -> None:
    """Re-encode images once, into shards that are read in one step each."""
    from omnirad.data.packing import pack as write
    from omnirad.data.specs import open_sources

    with console.progress() as progress:
        source = open_sources(data, splits)
        packed = write(source, out, size=size, encoding=encoding, progress=progress)
    click.echo(json.dumps({"packed": str(out), "images": len(packed)}))


@click.command(cls=Command)
@click.option("--weights", metavar="PATH", help="A file or folder, dinov2, published or shipped")
@click.option("--size", metavar="NAME", help="small, base or nano; found out from the weights")
@click.option("--data", required=True, metavar="SPEC", help="Labelled images, such as npz:PATH")
@click.option(
    "--split",
    required=True,
    type=click.Choice(["val", "test"]),
    help="Images asked about; test only once nothing is chosen any more",
)
@click.option(
    "--img-size", type=click.IntRange(14), metavar="PIXELS", help="The size's own by default"
)
@click.option("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:N")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table")
def probe(as_json: bool, **options: Any) -> None:
    """Ask the 20 nearest neighbours in frozen class tokens, beside what needs no training."""
    from omnirad.evaluation import evaluate

    with console.progress() as progress:
        found = evaluate(**options, progress=progress)
    if as_json:
        plain = {n: {m: i._asdict() for m, i in row.items()} for n, row in found.items()}
        click.echo(json.dumps(plain, indent=1))
        return
    width = max(map(len, found))
    click.echo(" " * width + "".join(f"  {name:>22}" for name in HEADINGS))
    for name, row in found.items():
        cells = "".join(
            f"  {f'{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]':>22}" for i in row.values()
        )
        click.echo(f"{name:<{width}}{cells}")
