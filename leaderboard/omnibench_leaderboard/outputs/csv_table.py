"""A board as CSV: one row for every cell of every metric, and for every published value.

Numbers are on the metric's own scale with all their digits; lists are separated by spaces. Costs,
records and the command stand in the headline row of a setting: its other metrics share them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from omnibench_leaderboard.board import Board, Cell, Column, Comparison, Encoder, Published
from omnibench_leaderboard.outputs import inert

Value = str | float | bool | None


def render(board: Board) -> str:
    """Return CSV with a heading."""
    encoders = {encoder.label: encoder for encoder in board.encoders}
    rows = [row for column in board.columns for row in _rows(column, encoders)]
    heading = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, heading, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _shown(value) for name, value in row.items()})
    return text.getvalue()


def _rows(column: Column, encoders: dict[str, Encoder]) -> Iterable[dict[str, Value]]:
    where: dict[str, Value] = {
        **{name: getattr(column.setting, name) for name in column.setting.__dataclass_fields__},
        **{name: getattr(column, name) for name in ("metric", "unit", "higher_is_better")},
        **{name: getattr(column, name) for name in ("headline", "cases", "clusters", "margin")},
        "data_licence": column.dataset.licence,
        "notes": "; ".join(column.notes),
    }
    for cell in column.cells:
        row = where | _cell(cell, encoders[cell.encoder])
        yield row | _origin(cell) if column.headline else row
    for published in column.published:
        yield where | _published(published)


def _cell(cell: Cell, encoder: Encoder) -> dict[str, Value]:
    low, high = cell.interval or (None, None)
    first, last = cell.rank_interval or (None, None)
    return {
        "encoder": cell.encoder,
        "encoder_name": encoder.name,
        "weights": encoder.weights,
        "weights_sha256": encoder.weights_sha256,
        "encoder_licence": encoder.licence,
        "commercial": encoder.commercial,
        "evidence": cell.evidence,
        "mean": cell.mean,
        "sd": cell.sd,
        "n": cell.n,
        "missing": _list(cell.missing),
        "ci_low": low,
        "ci_high": high,
        "rank": cell.rank,
        "tied_with_best": cell.tied,
        "rank_low": first,
        "rank_high": last,
        **_comparison("best", cell.against_best),
        **_comparison("reference", cell.against_reference),
        "flags": "; ".join(cell.flags),
        "seeds": _list(cell.seeds),
        "values": _list(cell.values),
    }


def _origin(cell: Cell) -> dict[str, Value]:
    return {
        "device": cell.device,
        "precision": cell.precision,
        **{name: getattr(cell.cost, name) for name in cell.cost.__dataclass_fields__},
        "records": _list(cell.records),
        "command": cell.command,
    }


def _comparison(name: str, row: Comparison | None) -> dict[str, Value]:
    low, high = (row.interval if row else None) or (None, None)
    return {
        f"{name}": row.other if row else None,
        f"{name}_difference": row.difference if row else None,
        f"{name}_ci_low": low,
        f"{name}_ci_high": high,
        f"{name}_p": row.p if row else None,
        f"{name}_p_holm": row.p_adjusted if row else None,
        f"{name}_verdict": row.verdict if row else None,
    }


def _published(row: Published) -> dict[str, Value]:
    return {
        "encoder": row.encoder,
        "evidence": 0,
        "mean": row.value,
        "sd": row.sd,
        "source": row.source,
        "printed_metric": row.printed_metric,
        "published_metric": row.metric,
        "not_comparable": row.reason,
    }


def _list(values: Iterable[object]) -> str:
    return " ".join(map(str, values))


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return inert.cell(value)
    return repr(value).lower() if isinstance(value, bool) else repr(value)
