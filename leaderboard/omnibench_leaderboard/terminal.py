"""How verdicts and boards look on a terminal; `omnibench.console` does the drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from omnibench import console
from omnibench_leaderboard import formatting as show

if TYPE_CHECKING:
    from omnibench_leaderboard.audit_published import Audited
    from omnibench_leaderboard.board import Across, Board, Column, Comparison, Overall
    from omnibench_leaderboard.compare import Report, Row
    from omnibench_leaderboard.runs import Exclusion
    from omnibench_leaderboard.verify import Verdict

COMPARED = ("difference", "95 %", "p", "p(Holm)", "verdict")


def print_board(board: Board) -> None:
    """Print the headline columns, the rankings across datasets, and what was left out."""
    for column in board.headlines:
        _print_column(column, board.reference)
    for overall in board.overall:
        _print_overall(overall)
    console.print_lines([f"{code}: {meaning}" for code, meaning in board.methods.flags])
    print_unfinished(board.missing)
    print_left_out("left out", board.exclusions)


def print_report(report: Report) -> None:
    """Print encoders beside a reference: a table for each task, recipe and metric."""
    paper = report.stats == "paper"
    family = max((row.comparison.family for row in report.rows), default=0)
    method = "the paper's tests, not corrected" if paper else f"Holm over m = {family}"
    console.print_lines([f"against {report.reference} · {method}", ""])
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in report.rows:
        groups[f"{replace(row.setting, dataset='').title} · {row.metric}"].append(row)
    heading = ["dataset", "encoder", "means", "runs" if paper else "seeds", *COMPARED]
    heading += ["effect g", "test" if paper else "detectable", "flags"]
    for title, rows in groups.items():
        console.print_table(heading, [_report_row(row, paper) for row in rows], title=title)
    _print_across(report.across)


def print_audit(rows: Sequence[Audited]) -> None:
    """Print which run counts explain printed numbers."""
    console.print_table(
        ("encoder", "dataset", "printed accuracy", "cases", "finding", "source"),
        [
            (
                " ".join(part for part in (row.encoder, row.tuning) if part),
                row.dataset,
                f"{row.mean:.2f} ± {row.sd:.2f}",
                row.cases,
                row.verdict,
                row.source,
            )
            for row in rows
        ],
        title="what printed digits allow: arithmetic, which says nothing of why",
    )


def print_verdict(verdict: Verdict) -> None:
    """Print what verifying found: every problem, then counts."""
    print_left_out("problems", verdict.problems)
    print_left_out("not for tables", verdict.notes)
    missing = verdict.collection.missing
    print_unfinished([f"{item.title}: {item.reason}" for item in missing])
    console.print_lines([verdict.summary])


def print_unfinished(texts: Sequence[str]) -> None:
    """Print runs that were begun and not finished."""
    console.print_lines([f"unfinished: {text}" for text in texts])


def print_left_out(title: str, items: Sequence[Exclusion]) -> None:
    """Print what was left out and why, a paragraph each."""
    if items:
        console.print_lines([f"{title} ({len(items)}):"])
    for item in items:
        console.print_lines([f"  {item.kind}: {item.what}", f"    {item.reason}"])
        if item.path and item.path not in item.reason:
            console.print_lines([f"    {item.path}"])


def _print_column(column: Column, reference: str | None) -> None:
    beside = reference or column.best
    arrow = "↑" if column.higher_is_better else "↓"
    heading = ["encoder", f"{column.metric} {arrow}", "n", "95 %", "rank"]
    heading += [f"diff vs {beside}", *COMPARED[1:], "flags"]
    rows = [
        (
            f"{cell.encoder}{' †' if cell.tied and cell.encoder != column.best else ''}",
            show.mean_sd(cell, column.unit),
            show.runs(cell),
            show.interval(cell.interval, column.unit),
            show.rank(cell, column),
            *_compared(cell.against_reference if reference else cell.against_best, column.unit),
            _flags(cell.flags),
        )
        for cell in column.cells
    ]
    console.print_table(heading, rows, title=f"{column.setting.title} · {_cases(column)}")
    lines = [f"published: {text}" for text in _published(column)]
    lines += [f"note: {note}" for note in column.notes]
    console.print_lines([*lines, ""])


def _cases(column: Column) -> str:
    told = f"{column.cases} test cases" if column.cases else "cases unknown"
    if column.clusters is not None:
        told += f" of {column.clusters} groups"
    if column.margin is not None:
        told += f" · margin ±{show.number(column.margin, column.unit)}"
    return told


def _compared(row: Comparison | None, unit: str) -> tuple[str, ...]:
    """Return difference, interval, p, corrected p and verdict."""
    if row is None:
        return ("–",) * len(COMPARED)
    verdict = row.verdict
    if row.within_margin and verdict in ("better", "worse"):
        verdict += ", within margin"
    return (
        show.difference(row.difference, unit),
        show.interval(row.interval, unit, signed=True),
        show.p_value(row.p),
        show.p_value(row.p_adjusted),
        verdict,
    )


def _report_row(row: Row, paper: bool) -> tuple[object, ...]:
    return (
        row.setting.dataset,
        row.encoder,
        f"{show.number(row.mean, row.unit)} vs {show.number(row.reference_mean, row.unit)}",
        row.seeds,
        *_compared(row.comparison, row.unit),
        "–" if row.comparison.effect is None else f"{row.comparison.effect:+.2f}",
        row.comparison.method if paper else _detectable(row),
        _flags(row.comparison.flags),
    )


def _detectable(row: Row) -> str:
    smallest = row.comparison.detectable
    return "–" if smallest is None else show.number(smallest, row.unit)


def _published(column: Column) -> list[str]:
    unit = column.unit
    lines = []
    for row in column.published:
        printed = show.number(row.value, unit)
        if row.sd is not None:
            printed += f" ± {show.number(row.sd, unit)}"
        told = f" ({row.reason})" if row.reason else ""
        lines.append(f"{row.encoder} {printed} {row.printed_metric}, {row.source}{told}")
    return lines


def _print_overall(overall: Overall) -> None:
    rows = [
        (
            row.encoder,
            f"{row.mean_rank:.2f}",
            show.number(row.mean, overall.unit),
            f"{row.rank} ({row.rank_low}–{row.rank_high})",
            f"{row.first:.2f}",
        )
        for row in overall.standings
    ]
    title = f"across {len(overall.datasets)} datasets · {overall.setting.title} · {overall.metric}"
    console.print_table(
        ("encoder", "mean rank", "mean", "rank by mean (95 %)", "P(first)"), rows, title=title
    )
    lines = [f"datasets: {', '.join(overall.datasets)}"]
    if overall.left_out:
        lines.append(f"not complete, so left out: {', '.join(overall.left_out)}")
    if overall.critical_difference is not None:
        lines.append(
            f"Friedman (Iman-Davenport) p {show.p_value(overall.p)}; Nemenyi's critical "
            f"difference of mean ranks {overall.critical_difference:.2f}"
        )
        lines += [f"not separated: {', '.join(clique)}" for clique in overall.cliques]
    console.print_lines([*lines, *overall.flags])
    _print_across(overall.against)
    console.print_lines([""])


def _print_across(rows: Sequence[Across]) -> None:
    """Print encoders beside the reference across datasets."""
    for row in rows:
        console.print_lines(
            [
                f"{row.encoder} vs {row.reference} over {row.datasets} datasets, {row.metric}: "
                f"{row.wins} won, {row.ties} tied, {row.losses} lost; {row.method} "
                f"p {show.p_value(row.p)}, p(Holm) {show.p_value(row.p_adjusted)}: {row.verdict}"
                f" {_flags(row.flags)}".rstrip()
            ]
        )


def _flags(flags: Sequence[str]) -> str:
    return "; ".join(flag.partition(":")[0] for flag in flags)
