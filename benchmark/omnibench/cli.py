"""The command line: names in, results out, no logic. Importing it never imports torch."""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from omnibench import bench_command, console
from omnibench.errors import INTERRUPTED, OmnibenchError, SetupError, UsageError

if TYPE_CHECKING:
    from omnibench.interfaces import Progress
    from omnibench.records import RunRecord
    from omnibench.registry import Registry
    from omnibench.store import Store

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def _registry(files: tuple[Path, ...] = ()) -> Registry:
    from omnibench.registry import Registry

    return Registry.discover(files)


class PluginGroup(click.Group):
    """Built-in commands first; plugins are asked for theirs only when it matters."""

    @functools.cached_property
    def _with_plugins(self) -> dict[str, click.Command]:
        added = click.Group()
        _registry().add_commands(added)
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


def _plugin_option(command: F) -> F:
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A Python file that is a plugin, without packaging; repeatable",
    )(command)


def _user_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("omnibench"))


def _complete(kind: str) -> Callable[..., list[str]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        offers = getattr(_registry(), kind)
        return sorted(o.card.name for o in offers if o.card.name.startswith(incomplete))

    return complete


@cli.command(epilog="Every field of a recipe can be changed with --set, e.g. --set lr=3e-4")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=_complete("encoders"),
    help="Encoder name, or timm:ID, open_clip:ARCH/TAG, hf:REPO; repeatable",
)
@click.option(
    "--task", required=True, metavar="NAME", shell_complete=_complete("tasks"), help="Task name"
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=_complete("datasets"),
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
@_plugin_option
def run(**options: Any) -> None:
    """Run an encoder on a task and a dataset, over several seeds."""
    from omnibench.planning import plan
    from omnibench.store import Store

    as_json, executor = options.pop("as_json"), options.pop("executor")
    registry = _registry(options["plugins"])
    request = _request(**options)
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


def _request(**options: Any) -> Any:
    from omnibench.planning import CACHE_LIMIT, RunRequest

    seeds, seed = options.pop("seeds"), options.pop("seed")
    if seeds is not None and seed:
        raise UsageError("--seeds N and --seed K exclude each other")
    settings = {}
    for text in options.pop("settings"):
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: write --set field=value")
        if name.strip() in settings:
            raise UsageError(f"--set {name.strip()} is given twice")
        settings[name.strip()] = value.strip()
    cache = options.pop("cache") or _user_cache()
    limit = options.pop("cache_limit")
    root = options.pop("data_root") or os.environ.get("OMNIBENCH_DATA") or cache / "data"
    return RunRequest(
        **options,
        settings=settings,
        seeds=tuple(dict.fromkeys(seed)) or (tuple(range(seeds)) if seeds else None),
        cache=cache,
        cache_limit=CACHE_LIMIT if limit is None else limit,
        data_root=Path(root),
    )


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
        variants = dict.fromkeys(record.identity["task"]["variant"] for record, _ in mine)
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
    if "leaderboard" not in cli.list_commands(click.get_current_context()):
        return []
    labels = list(dict.fromkeys(summary.label for summary in summaries if summary.records))
    command = ["compare", *labels, "--results"] if len(labels) > 1 else ["show"]
    words = ["omnibench", "leaderboard", *command, str(results)]
    return [f"compare: {shlex.join(words)}"] if labels else []


@cli.command("list")
@click.argument(
    "what", type=click.Choice(["encoders", "tasks", "datasets", "plugins"]), required=False
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
@_plugin_option
def list_(what: str | None, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """List encoders, tasks, datasets or plugins."""
    from omnibench import listing

    registry = _registry(tuple(plugins))
    shown = [what] if what else ["encoders", "tasks", "datasets", "plugins"]
    tables = {name: listing.TABLES[name](registry) for name in shown}
    if as_json:
        click.echo(json.dumps(tables, indent=1))
        return
    for name, rows in tables.items():
        columns = list(rows[0]) if rows else [name]
        console.print_table(columns, [list(row.values()) for row in rows], title=name)
    console.print_lines(registry.not_loaded())
    if click.get_current_context().obj["traceback"]:
        console.print_lines([broken.trace for broken in registry.broken])


@cli.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables")
@_plugin_option
def score(results: Path, as_json: bool, plugins: tuple[Path, ...]) -> None:
    """Recompute every metric of RESULTS from stored predictions."""
    from omnibench.rescoring import rescore

    lines = rescore(results, _registry(tuple(plugins)))
    if as_json:
        click.echo(json.dumps([line.as_json() for line in lines], indent=1, allow_nan=False))
    else:
        rows = [(x.cell, x.seed, "see below" if x.exit_code else x.verdict) for x in lines]
        console.print_table(("record", "seed", "recomputed from predictions"), rows)
        console.print_lines([f"{line.verdict}" for line in lines if line.exit_code])
    worst = max((line.exit_code for line in lines), default=0)
    if worst:
        raise SystemExit(worst)


bench_command.add_to(cli, _request, _registry)


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
