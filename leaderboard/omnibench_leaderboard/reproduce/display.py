"""How a plan and verdicts look on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from omnibench import console
from omnibench_leaderboard import formatting as show
from omnibench_leaderboard.reproduce.judging import Judged, of_cells
from omnibench_leaderboard.reproduce.planning import Plan, Planned
from omnibench_leaderboard.reproduce.verdict import Outcome

ESTIMATED = (
    "forward and backward passes are counted, every one; reading images, metrics and generating "
    "captions come on top, outputs kept on disk save some"
)
METHOD = (
    "matches: within the margin by two one-sided tests at 5 %, whatever printed digits and run "
    "counts allow; differs: by a two-sided test; neither is corrected for their number"
)


def print_plan(plan: Plan) -> None:
    """Print every cell, the estimate, and what is missing."""
    console.print_table(
        ("cell", "tables", "recipe", "done", "PFLOP left", "hours", "missing"),
        [row for run in plan.runs for row in _cells(plan, run)],
        title=f"{plan.study}: cells",
    )
    cells = sum(len(run.job.cells) for run in plan.runs)
    left = sum(run.left for run in plan.runs)
    untold = sum(plan.hours_of(run) is None and run.left > 0 for run in plan.runs)
    told = f"{cells} cells, {left} runs left: {plan.flops / 1e15:,.1f} PFLOP, {plan.hours:,.1f} h"
    console.print_lines([told, *_bases(plan)])
    console.print_lines([f"{untold} more runs cannot be estimated"] if untold else [])
    lacks = plan.lacks
    heading = f"missing ({len(lacks)}), looked for on this machine only:"
    console.print_lines([heading if lacks else "nothing is missing"])
    for lack, waiting in lacks.items():
        console.print_lines(
            [f"  {lack.kind} {lack.what} (cells waiting: {waiting}): {lack.reason}"]
        )
    console.print_lines([f"licence of {name}: {text}" for name, text in plan.licences.items()])


def print_verdicts(judged: Sequence[Judged]) -> None:
    """Print a row for every printed number, and how many there are of each verdict."""
    console.print_table(
        ("cell", "table", "metric", "printed", "own", "n", "diff", "95 %", "TOST p", "verdict"),
        [_verdict(row) for row in judged],
        title="printed numbers beside our own: percent, of splits images",
    )
    # A reason that many share is said once.
    reasons = Counter((row.outcome, row.reason) for row in judged if row.reason)
    for (outcome, reason), number in reasons.items():
        console.print_lines([f"{outcome} ({number}): {reason}"])
    if cells := of_cells(judged):
        console.print_lines([f"cells: {_counts(cells)}"])
    console.print_lines([f"numbers: {_counts(Counter(row.outcome for row in judged))}", METHOD])


def _cells(plan: Plan, run: Planned) -> list[tuple[object, ...]]:
    """Return a row for each cell; those of one run share its cost."""
    missing = ", ".join(sorted({lack.kind for lack in run.lacks}))
    rows: list[tuple[object, ...]] = []
    for number, cell in enumerate(run.job.cells):
        cost = _cost(plan, run) if number == 0 else ("same run", "")
        tables = ", ".join(map(str, cell.tables))
        state = "not comparable" if cell.reason else f"{run.done}/{run.job.seeds}"
        rows.append((cell.key.title, tables, cell.recipe, state, *cost, missing))
    return rows


def _bases(plan: Plan) -> list[str]:
    """Say where the hours come from."""
    open_runs = [run for run in plan.runs if run.left]
    measured = [run.measured for run in open_runs if run.measured is not None]
    lines = []
    if measured:
        lines.append(
            f"measured by `omnibench bench` on this machine: {len(measured)} of {len(open_runs)} "
            f"cells and tunings, {sum(measured):,.1f} h, frozen outputs computed once; images and "
            "metrics come on top"
        )
    if len(measured) < len(open_runs):
        rate = f"{plan.flops_per_second / 1e12:.3g} TFLOP/s ({plan.basis})"
        rest = "the rest" if measured else "all"
        lines.append(f"estimated: {rest}, at {rate}; {ESTIMATED}; --measure measures them")
    return lines


def _cost(plan: Plan, run: Planned) -> tuple[str, str]:
    flops, hours = run.flops_left, plan.hours_of(run)
    if run.job.needless:
        return "–", "–"
    mark = "" if run.measured is not None else "~"
    return (
        "?" if flops is None else f"{flops / 1e15:.3g}",
        "?" if hours is None else f"{mark}{hours:.3g}",
    )


def _verdict(row: Judged) -> tuple[object, ...]:
    value, test = row.value, row.test
    parts = (value.encoder, value.task, value.dataset, value.tuning, value.variant)
    digits = 2 if value.task else 0  # numbers of images are whole
    return (
        " · ".join(part for part in parts if part),
        value.table,
        value.metric or f"images, {value.printed_metric}",
        _mean_sd(value.value, value.sd, digits),
        "–" if row.mean is None else _mean_sd(row.mean, row.sd, digits),
        row.n or "–",
        "–" if test is None else f"{test.difference:+.2f}",
        "–"
        if test is None or test.interval is None
        else "[{:+.2f}, {:+.2f}]".format(*test.interval),
        "–" if test is None else show.p_value(test.equivalence),
        row.outcome.value,
    )


def _mean_sd(mean: float, sd: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")


def _counts(found: Counter[Outcome]) -> str:
    return ", ".join(f"{found[each]} {each.value}" for each in Outcome if found[each]) or "none"
