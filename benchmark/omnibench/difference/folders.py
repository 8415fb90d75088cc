"""Two results folders, cell by cell: which runs both have, and whether they agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnibench.difference.chosen import Chosen
from omnibench.difference.comparison import Comparison, compare
from omnibench.errors import SetupError
from omnibench.store import Store
from omnibench.summary import cell_names

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CellDifference:
    """One cell of two folders.

    Args:
        cell: Encoder, task, dataset, recipe, tuning and variant.
        equal: Seeds that both have with equal metrics and predictions.
        differing: Seeds that both have with other numbers.
        only_a: Seeds that only A has.
        only_b: Seeds that only B has.
        largest: The largest difference of a metric of the test split, with its id; in points for
            fractions.
        reasons: What can explain the differences.
    """

    cell: str
    equal: tuple[int, ...]
    differing: tuple[int, ...]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    largest: tuple[str, float] | None
    reasons: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def compare_folders(a: Path, b: Path) -> list[CellDifference]:
    """Compare the complete records of two results folders.

    Raises:
        SetupError: If one holds no record.
        IntegrityError: If a record is damaged.
    """
    cells_a, cells_b = _cells(a), _cells(b)
    return [
        _compare_cell(names, cells_a.get(names, []), cells_b.get(names, []))
        for names in sorted({*cells_a, *cells_b})
    ]


def _cells(folder: Path) -> dict[Names, list[Chosen]]:
    """Return the complete records of a folder by the names of their cells."""
    store = Store(folder)
    found = [Chosen(record=store.read(path), path=path) for path in store.paths()]
    if not found:
        raise SetupError(
            f"{folder} holds no records; `omnibench run --results {folder} …` makes them"
        )
    cells: dict[Names, list[Chosen]] = defaultdict(list)
    for chosen in found:
        if chosen.record.status == "complete":
            cells[cell_names(chosen.record)].append(chosen)
    return cells


def _compare_cell(names: Names, a: Sequence[Chosen], b: Sequence[Chosen]) -> CellDifference:
    pairs = list(_pairs(a, b))
    compared = [(x.record.seed, compare(x, y, with_cases=False)) for x, y in pairs]
    paired = {id(chosen) for pair in pairs for chosen in pair}
    unequal = [comparison for _, comparison in compared if not comparison.equal]
    return CellDifference(
        cell=" · ".join(names),
        equal=tuple(sorted(seed for seed, comparison in compared if comparison.equal)),
        differing=tuple(sorted(seed for seed, comparison in compared if not comparison.equal)),
        only_a=tuple(sorted(x.record.seed for x in a if id(x) not in paired)),
        only_b=tuple(sorted(y.record.seed for y in b if id(y) not in paired)),
        largest=_largest(unequal),
        reasons=tuple(dict.fromkeys(reason for c in unequal for reason in c.reasons)),
    )


def _pairs(a: Sequence[Chosen], b: Sequence[Chosen]) -> Iterator[tuple[Chosen, Chosen]]:
    """Yield pairs to compare: equal run ids, and of the rest equal seeds."""
    left, right = list(a), list(b)
    keys: tuple[Callable[[Chosen], object], ...] = (
        lambda chosen: chosen.record.run_id,
        lambda chosen: chosen.record.seed,
    )
    for key in keys:
        for x in list(left):
            y = next((y for y in right if key(x) == key(y)), None)
            if y is not None:
                left.remove(x)
                right.remove(y)
                yield x, y


def _largest(comparisons: Sequence[Comparison]) -> tuple[str, float] | None:
    found = [
        (row.path[1], row.difference)
        for comparison in comparisons
        for row in comparison.rows
        if row.path[0] == "metrics" and row.difference is not None
    ]
    return max(found, key=lambda item: abs(item[1]), default=None)
