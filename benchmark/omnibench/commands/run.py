"""`omnibench run`: names in, records on disk, a table and the next command out."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omnibench import console
from omnibench.commands.options import json_option, names_of, plugin_option, registry_of, request_of

if TYPE_CHECKING:
    from omnibench.interfaces import Progress
    from omnibench.records import RunRecord
    from omnibench.registry import Registry
    from omnibench.store import Store


@click.command(epilog="Every field of a recipe can be changed with --set, e.g. --set lr=3e-4")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=names_of("encoders"),
    help="Encoder name, or timm:ID, open_clip:ARCH/TAG, hf:REPO; repeatable",
)
@click.option(
    "--task", required=True, metavar="NAME", shell_complete=names_of("tasks"), help="Task name"
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=names_of("datasets"),
    help="Dataset name, or folder:PATH; repeatable",
)
@click.option("--recipe", metavar="NAME", help="Named settings; the task's first by default")
@click.option("--tuning", metavar="NAME", help="What is trained: full, head, lora-r8, lora-r16")
@click.option(
    "--set", "settings", multiple=True, metavar="K=V", help="Change one field; repeatable"
)
@click.option("--seeds", type=click.IntRange(1, 1000), help="Run seeds 0 to N-1")
@click.option(
    "--seed", "seed", multiple=True, type=click.IntRange(0), help="Run this seed; repeatable"
)
@click.option("--weights", type=click.Path(path_type=Path), help="Load the encoder from this file")
@click.option("--random-weights", is_flag=True, help="Draw the encoder's weights at random")
@click.option("--label", metavar="NAME", help="How tables name the encoder with --weights")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where datasets lie")
@click.option(
    "--allow-unverified-data",
    "allow_unverified",
    is_flag=True,
    help="Accept files of another digest",
)
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), help="Where records go"
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Where locks of downloads, frozen outputs and, by default, datasets lie",
)
@click.option("--no-cache", is_flag=True, help="Keep no features and decoded images on disk")
@click.option(
    "--cache-limit",
    type=float,
    metavar="GB",
    help="How much they may take; those unused for longest make room",
)
@click.option(
    "--cache-precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    help="fp16 halves their size and rounds features; recorded",
)
@click.option("--offline", is_flag=True, help="Never touch the network")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto")
@click.option("--limit", type=int, metavar="N", help="At most N images a split; marks the record")
@click.option("--keep-weights", is_flag=True, help="Store what was trained beside the records")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    help="Run seeds here, or each as a job on Ray or Slurm",
)
@json_option
@plugin_option
def run(**options: Any) -> None:
    """Run an encoder on a task and a dataset, over several seeds."""
    from omnibench.planning import plan
    from omnibench.store import Store

    as_json, executor = options.pop("as_json"), options.pop("executor")
    registry = registry_of(options["plugins"])
    request = request_of(**options)
    signal.signal(signal.SIGTERM, _terminate)
    finished: list[Any] = []
    with console.progress() as progress:
        cells = plan(request, registry, progress)
        store = Store(request.results)
        total = sum(len(cell.seeds) for cell in cells)
        try:
            finished.extend(_runs(cells, request, executor, progress))
        except KeyboardInterrupt:
            _say_interrupted(finished, total)
            raise
    summaries = _summaries(cells, finished, registry, store)
    _report(summaries, as_json)
    if not as_json:
        console.print_lines(_comparison(summaries, request.results))
    worst = max((summary.exit_code for summary in summaries), default=0)
    if worst:
        raise SystemExit(worst)


def _runs(
    cells: Sequence[Any], request: Any, executor: str, progress: Progress
) -> Iterator[tuple[Any, RunRecord, Path]]:
    """Return the runs of all cells, as they end, here or elsewhere."""
    if executor == "local":
        from omnibench.harness import execute

        return execute(cells, request, progress)
    from omnibench.executors import distribute

    return distribute(cells, request, executor, progress)


def _say_interrupted(finished: Sequence[Any], total: int) -> None:
    done = sum(record.status == "complete" for _, record, _ in finished)
    console.error(
        f"interrupted; {done} of {total} runs are on disk. Repeat the command for the rest."
    )


def _terminate(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _summaries(
    cells: Sequence[Any], finished: Sequence[Any], registry: Registry, store: Store
) -> list[Any]:
    """Group records by cell and variant, in the order of the request."""
    from omnibench.summary import summarise

    published = registry.published()
    summaries = []
    for cell in cells:
        # A paper's value belongs to the encoder and dataset of the plugin that ships it.
        origins = {cell.encoder.plugin.distribution, cell.dataset_origin}
        known = [value.card for value in published if {value.plugin.distribution} == origins]
        mine = [(record, str(path)) for c, record, path in finished if c is cell]
        mine.sort(key=lambda item: cell.seeds.index(item[0].seed))  # whoever ran them, and when
        declared = cell.task.card.variants(cell.recipe)
        seen = {record.identity["task"]["variant"]: None for record, _ in mine}
        variants = [*(v for v in declared if v in seen), *(v for v in seen if v not in declared)]
        for variant in variants:
            chosen = [i for i in mine if i[0].identity["task"]["variant"] == variant]
            headline = cell.task.card.headline(cell.recipe)
            pictures = [path for r, _ in chosen if (path := store.picture(r.run_id)).is_file()]
            summaries.append(summarise(chosen, known, headline, list(map(str, pictures))))
    return summaries


def _report(summaries: Sequence[Any], as_json: bool) -> None:
    from omnibench.summary import as_json as summary_json

    if as_json:
        click.echo(json.dumps([summary_json(s) for s in summaries], indent=1, allow_nan=False))
        return
    for summary in summaries:
        console.print_summary(summary)


def _comparison(summaries: Sequence[Any], results: Path) -> list[str]:
    """Return the command that compares these encoders, where a plugin offers one."""
    root = click.get_current_context().find_root()
    if "leaderboard" not in root.command.list_commands(root):  # type: ignore[attr-defined]
        return []
    labels = list(dict.fromkeys(summary.label for summary in summaries if summary.records))
    command = ["compare", *labels, "--results"] if len(labels) > 1 else ["show"]
    words = ["omnibench", "leaderboard", *command, str(results)]
    return [f"compare: {shlex.join(words)}"] if labels else []
