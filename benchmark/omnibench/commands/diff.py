"""`omnibench diff A B`: how two records, or two results folders, differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omnibench import console
from omnibench.commands.options import json_option
from omnibench.errors import UsageError

if TYPE_CHECKING:
    from omnibench.difference.cases import CaseDifference
    from omnibench.difference.comparison import Comparison
    from omnibench.difference.fields import Row
    from omnibench.difference.folders import CellDifference

SHOWN = 8  # ids of cases that are listed
WIDTH = 60  # characters of a value that tables show; --json has all
DIGEST = re.compile(r"[0-9a-f]{40,64}")
DIGEST_WIDTH = 13


@click.command(epilog="Exit code 0 whether or not they differ")
@click.argument("a")
@click.argument("b")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    help="Where run ids are looked up",
)
@json_option
def diff(a: str, b: str, results: Path, as_json: bool) -> None:
    """Show how A and B differ: record files, run ids, or two results folders."""
    from omnibench.difference import chosen

    if chosen.is_folder(a) != chosen.is_folder(b):
        raise UsageError(f"{a} and {b}: one is a folder, the other is not; compare like with like")
    if chosen.is_folder(a):
        from omnibench.difference.folders import compare_folders

        cells = compare_folders(Path(a), Path(b))
        if as_json:
            click.echo(json.dumps([cell.as_json() for cell in cells], indent=1, allow_nan=False))
        else:
            _print_folders(cells)
        return
    from omnibench.difference.comparison import compare

    comparison = compare(chosen.one(a, results), chosen.one(b, results))
    if as_json:
        click.echo(json.dumps(comparison.as_json(), indent=1, allow_nan=False))
    else:
        _print_records(comparison)


def _print_records(comparison: Comparison) -> None:
    console.print_lines([comparison.told])
    if comparison.reasons:
        console.print_lines(["What can explain it:"])
        console.print_lines([f"  {reason}" for reason in comparison.reasons])
    for group in dict.fromkeys(row.group for row in comparison.rows):
        rows = [row for row in comparison.rows if row.group == group]
        columns = ("field", "A", "B", "B - A") if group == "metrics" else ("field", "A", "B")
        cells = [_cells(row)[: len(columns)] for row in rows]
        console.print_table(columns, cells, title=f"\n{group}")
    console.print_lines([_case_line(case) for case in comparison.cases])
    console.print_lines([f"note: {note}" for note in comparison.notes])


def _cells(row: Row) -> tuple[str, str, str, str]:
    points = "" if row.difference is None else f"{row.difference:+.4g}"
    return row.name, _short(row.a), _short(row.b), points


def _short(text: str) -> str:
    width = DIGEST_WIDTH if DIGEST.fullmatch(text) else WIDTH
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _case_line(case: CaseDifference) -> str:
    ids = ", ".join(map(str, case.ids[:SHOWN])) + (", …" if len(case.ids) > SHOWN else "")
    parts = [f"{case.split}: {len(case.ids)} of {case.shared} cases differ"]
    if case.ids:
        parts[0] += f" (ids {ids})"
    parts += [f"{name} by at most {value:.4g}" for name, value in case.largest.items()]
    parts += [f"{case.only_a} cases only in A"] if case.only_a else []
    parts += [f"{case.only_b} cases only in B"] if case.only_b else []
    parts += [f"{name} cannot be compared" for name in case.not_comparable]
    return "; ".join(parts)


def _print_folders(cells: list[CellDifference]) -> None:
    columns = ("cell", "seeds equal", "differing", "only in A", "only in B", "largest", "why")
    rows = [
        (
            cell.cell,
            *(_seeds(seeds) for seeds in (cell.equal, cell.differing, cell.only_a, cell.only_b)),
            f"{cell.largest[0]} {cell.largest[1]:+.4g}" if cell.largest else "",
            "; ".join(cell.reasons),
        )
        for cell in cells
    ]
    console.print_table(columns, rows)


def _seeds(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
