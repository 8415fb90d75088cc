"""The commands this room adds; importing them imports neither pandas nor numpy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from omnibench import console
from omnibench.errors import UsageError
from omnibench_leaderboard.commands_output import build, publish
from omnibench_leaderboard.options import (
    RESULTS,
    answers,
    collected,
    confirm_option,
    discovered,
    json_option,
    metric_option,
    plugin_option,
    reference_option,
    results_argument,
)

NOT_TESTABLE = 6  # exit code under --strict


@click.group()
def leaderboard() -> None:
    """Tables, tests and rankings from records."""


leaderboard.add_command(build)
leaderboard.add_command(publish)


@leaderboard.command(epilog="Example: omnibench leaderboard show results --reference dinov2-small")
@results_argument
@reference_option
@metric_option
@confirm_option
@json_option
@plugin_option
def show(
    results: Sequence[Path],
    reference: str | None,
    metric: str | None,
    confirm: Sequence[Path],
    as_json: bool,
    plugins: Sequence[Path],
) -> None:
    """Show tables of RESULTS (default: results) with intervals, ties and verdicts."""
    from omnibench_leaderboard import board_json, terminal
    from omnibench_leaderboard.build import build as board_of

    registry, kept = discovered(plugins), answers()
    collection = collected(results, registry, kept, confirm)
    board = board_of(collection, registry, reference=reference, metric=metric, cache=kept)
    if as_json:
        click.echo(board_json.to_json(board), nl=False)
    else:
        terminal.print_board(board)


@leaderboard.command(
    epilog="Example: omnibench leaderboard compare omnirad-base dinov2-base --results results"
)
@click.argument("encoders", nargs=-1, required=True, metavar="A [B]…")
@click.option("--reference", metavar="NAME", help="Compare with this encoder; default: the last")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    default=RESULTS,
    help="Where records lie; repeatable",
)
@click.option(
    "--stats",
    type=click.Choice(["crossed", "paper"]),
    default="crossed",
    help="Seeds and cases, or the paper's t-tests over runs",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, min_open=True),
    metavar="POINTS",
    help="Largest difference that counts as none, in percent points (plain for scores)",
)
@metric_option
@click.option("--strict", is_flag=True, help="End with exit code 6 if anything is not testable")
@json_option
@plugin_option
def compare(
    encoders: Sequence[str],
    reference: str | None,
    results: Sequence[Path],
    stats: str,
    margin: float | None,
    metric: str | None,
    strict: bool,
    as_json: bool,
    plugins: Sequence[Path],
) -> None:
    """Compare encoder A with B (the last, or --reference) on every dataset that both have."""
    from omnibench_leaderboard import terminal
    from omnibench_leaderboard.compare import compare as report_on

    if reference is None:
        *encoders, reference = encoders
    if not encoders:
        raise UsageError("one encoder is no comparison; name two, or one and --reference NAME")
    if stats == "paper" and margin is not None:
        raise UsageError("the paper's tests know no margin; drop --margin or --stats paper")
    registry = discovered(plugins)
    collection = collected(results, registry, answers(), ())
    report = report_on(
        collection, registry, encoders, reference, stats=stats, margin=margin, metric=metric
    )
    if as_json:
        left_out = [asdict(item) for item in collection.exclusions]
        click.echo(json.dumps({**report.as_json(), "left_out": left_out}, allow_nan=False))
    else:
        terminal.print_report(report)
        terminal.print_unfinished([f"{m.title}: {m.reason}" for m in collection.missing])
        terminal.print_left_out("left out", collection.exclusions)
    if strict and report.untestable:
        raise SystemExit(NOT_TESTABLE)


@leaderboard.command("audit-summary")
@click.option("--mean", type=float, metavar="PERCENT", help="A printed accuracy")
@click.option("--sd", type=float, metavar="POINTS", help="Its printed SD")
@click.option("--cases", type=click.IntRange(1), metavar="N", help="Number of test cases")
@json_option
@plugin_option
def audit_summary(
    mean: float | None,
    sd: float | None,
    cases: int | None,
    as_json: bool,
    plugins: Sequence[Path],
) -> None:
    """Tell which run counts can have produced a printed accuracy, mean ± SD.

    Without numbers, audits the published tables that plugins bring.
    """
    from omnibench_leaderboard import audit_published, terminal
    from omnibench_leaderboard.audit import audit_accuracy

    if mean is None and sd is None and cases is None:
        rows = audit_published.audit(discovered(plugins))
        if as_json:
            click.echo(json.dumps([asdict(row) for row in rows]))
        else:
            terminal.print_audit(rows)
        return
    if mean is None or sd is None or cases is None:
        raise UsageError("--mean, --sd and --cases go together; without any, tables are audited")
    possible = audit_accuracy(mean, sd, cases).possible
    if as_json:
        told = {"mean": mean, "sd": sd, "cases": cases, "possible": possible}
        click.echo(json.dumps(told))
    else:
        console.print_lines([audit_published.said(possible)])


@click.command()
@click.argument(
    "results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULTS…"
)
@click.option("--seal", is_flag=True, help="If nothing is wrong, write MANIFEST.json")
@json_option
@plugin_option
def verify(results: Sequence[Path], seal: bool, as_json: bool, plugins: Sequence[Path]) -> None:
    """Check schema, digests, recomputed metrics and copies of RESULTS.

    Ends with exit code 4 if a record is damaged, was changed, or is not what it says.
    """
    from omnibench_leaderboard import manifest, terminal
    from omnibench_leaderboard.verify import verify as check

    # A new seal replaces the old one, so what the old one lists is no problem.
    verdict = check(results, discovered(plugins), against_manifest=not seal)
    if as_json:
        click.echo(json.dumps(verdict.as_json(), indent=1, allow_nan=False))
    else:
        terminal.print_verdict(verdict)
    if verdict.exit_code:
        raise SystemExit(verdict.exit_code)
    if seal:
        console.print_lines([f"sealed: {manifest.seal(folder)}" for folder in results])
